"""The statistics of the training tiles as an argument of compiled programs. Letters: C channels."""

import jax
import numpy as np
from jax.sharding import Mesh

from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.types import Statistics


def on_host(statistics: Statistics) -> dict[str, dict[str, np.ndarray]]:
    """{modality: {"mean" (C,), "std" (C,)}} as float32 arrays, without what else is known of a modality."""
    return {name: {key: np.asarray(known[key], np.float32) for key in ("mean", "std")} for name, known in statistics.items()}


def place(statistics: Statistics, mesh: Mesh) -> Statistics:
    """The same on every device of a mesh."""
    return jax.device_put(on_host(statistics), meshes.replicated(mesh))


def abstract(statistics: Statistics, mesh: Mesh) -> Statistics:
    """ShapeDtypeStructs of what `place` returns."""
    everywhere = meshes.replicated(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), on_host(statistics))
