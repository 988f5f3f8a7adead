"""How parameters are sharded: one ordered table. The first rule whose pattern matches the path of a parameter decides.

"replicate"  a copy on every device
"fsdp"       cut over the fsdp axis along its largest divisible dimension, unless it is small
"""

import re
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from omnisat_jax.types import PyTree

RULES = (
    (r"(^|/)(bias|scale|query|modality_\w+|log)$", "replicate"),
    (r".*", "fsdp"),
)


def partition_spec(path: str, shape: Sequence[int], fsdp: int, min_size: int) -> PartitionSpec:
    """The spec of one parameter.

    Args:
      path: names joined by "/".
      shape: of the parameter.
      fsdp: devices along the fsdp axis.
      min_size: elements below which a parameter is not cut.
    """
    action = next(action for pattern, action in RULES if re.search(pattern, path))
    if action == "replicate" or fsdp == 1 or np.prod(shape, dtype=int) < min_size:
        return PartitionSpec()
    divisible = [axis for axis, size in enumerate(shape) if size % fsdp == 0]
    if not divisible:
        return PartitionSpec()
    cut = max(divisible, key=lambda axis: shape[axis])
    return PartitionSpec(*("fsdp" if axis == cut else None for axis in range(cut + 1)))


def shardings(tree: PyTree, mesh: Mesh, min_size: int) -> PyTree:
    """NamedShardings of any tree of (abstract) arrays. Optimizer moments follow their parameters, as their paths end alike."""

    def one(path, leaf):
        return NamedSharding(mesh, partition_spec(_name(path), np.shape(leaf), mesh.shape["fsdp"], min_size))

    return jax.tree_util.tree_map_with_path(one, tree)


def abstract_like(tree: PyTree, shardings: PyTree) -> PyTree:
    """ShapeDtypeStructs of a tree of (abstract) arrays with the given shardings."""
    return jax.tree.map(lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree, shardings)


def abstract(tree: PyTree, mesh: Mesh, min_size: int) -> PyTree:
    """ShapeDtypeStructs of a tree of (abstract) arrays with the shardings of these rules."""
    return abstract_like(tree, shardings(tree, mesh, min_size))


def describe(tree: PyTree) -> str:
    """One line per array with a sharding: its path, shape and how it is cut, "copied" where every device has all of it."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    cuts = [(path, leaf, leaf.sharding.spec) for path, leaf in leaves]
    return "\n".join(f"{_name(path)} {tuple(leaf.shape)}: {spec if any(spec) else 'copied'}" for path, leaf, spec in cuts)


def _name(path):
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)
