"""The device mesh: built here and nowhere else.

Axes are Auto: Flax Linen does not run under JAX's default, Explicit axes.
"""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from omnisat_jax import schema

BATCH_AXES = ("data", "fsdp")  # the batch is cut over every device


def make_mesh(settings: schema.Mesh, devices=None) -> jax.sharding.Mesh:
    """A ("data", "fsdp") mesh over all devices.

    Raises:
      ValueError: axis sizes that do not multiply to the number of devices.
    """
    devices = list(devices if devices is not None else jax.devices())
    data = settings.data if settings.data > 0 else len(devices) // max(settings.fsdp, 1)
    if settings.fsdp < 1 or data * settings.fsdp != len(devices):
        raise ValueError(
            f"mesh.data x mesh.fsdp must be the number of devices, {len(devices)}; found {settings.data} x {settings.fsdp}"
        )
    grid = np.asarray(devices).reshape(data, settings.fsdp)
    return jax.sharding.Mesh(grid, BATCH_AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def batch_sharding(mesh) -> NamedSharding:
    """Samples cut over all devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh) -> NamedSharding:
    """The same everywhere."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch_size(name: str, size: int, mesh):
    """Refuses a batch that the devices cannot share equally.

    Raises:
      ValueError: naming the setting and the number of devices.
    """
    if size % mesh.size:
        raise ValueError(f"{name} {size} must be a multiple of the number of devices, {mesh.size}")
