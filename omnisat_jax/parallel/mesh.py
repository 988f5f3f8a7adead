"""The device mesh: built here and nowhere else.

The axes are Auto, because Flax Linen does not run under JAX's default of Explicit axes.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError

# Whole copies on slices that are joined by the data-centre network, copies within a slice, and parameters that are cut.
AXES = ("replica", "data", "fsdp")
BATCH_AXES = AXES  # the batch is cut over every device


def usable_devices(mesh_config: schema.MeshConfig, sizes: dict[str, int], devices: Sequence[Any] | None = None) -> list[Any]:
    """The devices of the mesh: all of them or, in a single process whose mesh.data is -1, as many as every batch can be cut over.

    Args:
      mesh_config: sizes of the axes.
      sizes: {key of the configuration: tiles that are cut over the devices at a time}.
      devices: jax.Devices to choose from, by default all.
    """
    devices = list(devices if devices is not None else jax.devices())
    slices = {getattr(device, "slice_index", 0) for device in devices}
    if mesh_config.data > 0 or jax.process_count() > 1 or len(slices) > 1:
        return devices
    copies = max(mesh_config.replica, 1) * mesh_config.fsdp
    counts = [n for n in range(1, len(devices) + 1) if n % copies == 0 and not any(size % n for size in sizes.values())]
    return devices[: max(counts, default=len(devices))]


def make_mesh(mesh_config: schema.MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Builds a ("replica", "data", "fsdp") mesh in which neighbors are close to each other in the network.

    Args:
      mesh_config: sizes of the axes; -1 is whatever is left.
      devices: jax.Devices of the mesh, by default all.

    Raises:
      UserError: the axis sizes do not multiply to the number of devices, or do not fit the slices.
    """
    devices = list(devices if devices is not None else jax.devices())
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    replica = mesh_config.replica if mesh_config.replica > 0 else slices
    data = mesh_config.data if mesh_config.data > 0 else len(devices) // max(replica * mesh_config.fsdp, 1)
    shape = (replica, data, mesh_config.fsdp)
    if mesh_config.fsdp < 1 or replica * data * mesh_config.fsdp != len(devices):
        raise UserError(
            f"mesh.replica x mesh.data x mesh.fsdp must be the number of devices, {len(devices)}; "
            f"found {mesh_config.replica} x {mesh_config.data} x {mesh_config.fsdp}"
        )
    if replica % slices:
        raise UserError(f"mesh.replica must be a multiple of the number of slices, {slices}; found {replica}")
    if slices > 1:
        grid = mesh_utils.create_hybrid_device_mesh((replica // slices, data, mesh_config.fsdp), (slices, 1, 1), devices)
    else:
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: samples are cut over all devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device has a copy of."""
    return NamedSharding(mesh, PartitionSpec())


def local_rows(mesh: Mesh, batch_size: int) -> tuple[int, ...]:
    """Rows of a global batch that lie on the devices of this process and that it has to read, ascending."""
    indices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,)).values()
    return tuple(sorted({row for index in indices if index for row in range(*index[0].indices(batch_size))}))


def check_batch_size(name: str, size: int, mesh: Mesh, num_microbatches: int = 1) -> None:
    """Refuses a batch whose microbatches cannot be cut equally over the devices.

    Args:
      name: key of the configuration.
      size: tiles per step.
      mesh: the devices.
      num_microbatches: into which the batch is divided.

    Raises:
      UserError: naming the key and the number of devices.
    """
    unit = mesh.size * num_microbatches
    if size % unit:
        devices = f"the number of devices, {mesh.size}" + (f", times {num_microbatches} microbatches" if num_microbatches > 1 else "")
        raise UserError(f"{name} {size} must be a multiple of {devices}: set --config.{name}={-(-size // unit) * unit}")
