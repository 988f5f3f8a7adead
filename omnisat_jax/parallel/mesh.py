"""The device mesh: built here and nowhere else.

Axes are Auto: Flax Linen does not run under JAX's default, Explicit axes.
"""

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError

# Whole copies on slices that are joined by the data-centre network | copies within a slice | parameters cut.
AXES = ("replica", "data", "fsdp")
BATCH_AXES = AXES  # the batch is cut over every device


def usable_devices(settings: schema.MeshConfig, sizes: dict[str, int], devices=None) -> list:
    """All devices; or, in a single process whose mesh.data is left open, the most of them that every batch can be cut over.

    Args:
      settings: of the mesh.
      sizes: {setting: tiles that are cut over the devices at a time}.
      devices: to choose from, by default all.
    """
    devices = list(devices if devices is not None else jax.devices())
    slices = {getattr(device, "slice_index", 0) for device in devices}
    if settings.data > 0 or jax.process_count() > 1 or len(slices) > 1:
        return devices
    copies = max(settings.replica, 1) * settings.fsdp
    counts = [n for n in range(1, len(devices) + 1) if n % copies == 0 and not any(size % n for size in sizes.values())]
    return devices[: max(counts, default=len(devices))]


def make_mesh(settings: schema.MeshConfig, devices=None) -> jax.sharding.Mesh:
    """A ("replica", "data", "fsdp") mesh over all devices, neighbours in the mesh close to each other in the network.

    Raises:
      UserError: axis sizes that do not multiply to the number of devices, or that do not fit the slices.
    """
    devices = list(devices if devices is not None else jax.devices())
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    replica = settings.replica if settings.replica > 0 else slices
    data = settings.data if settings.data > 0 else len(devices) // max(replica * settings.fsdp, 1)
    shape = (replica, data, settings.fsdp)
    if settings.fsdp < 1 or replica * data * settings.fsdp != len(devices):
        raise UserError(
            f"mesh.replica x mesh.data x mesh.fsdp must be the number of devices, {len(devices)}; "
            f"found {settings.replica} x {settings.data} x {settings.fsdp}"
        )
    if replica % slices:
        raise UserError(f"mesh.replica must be a multiple of the number of slices, {slices}; found {replica}")
    if slices > 1:
        grid = mesh_utils.create_hybrid_device_mesh((replica // slices, data, settings.fsdp), (slices, 1, 1), devices)
    else:
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return jax.sharding.Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def batch_sharding(mesh) -> NamedSharding:
    """Samples cut over all devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh) -> NamedSharding:
    """The same everywhere."""
    return NamedSharding(mesh, PartitionSpec())


def local_rows(mesh, batch_size: int) -> tuple[int, ...]:
    """Rows of a global batch that lie on this process's devices, ascending; the ones it has to read."""
    indices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,)).values()
    return tuple(sorted({row for (rows,) in indices for row in range(*rows.indices(batch_size))}))


def check_batch_size(name: str, size: int, mesh, parts: int = 1):
    """Refuses a batch that the devices cannot share equally, part by part.

    Raises:
      UserError: naming the setting and the number of devices.
    """
    if size % (mesh.size * parts):
        devices = f"the number of devices, {mesh.size}" + (f", times {parts} parts" if parts > 1 else "")
        unit = mesh.size * parts
        raise UserError(f"{name} {size} must be a multiple of {devices}: set --config.{name}={-(-size // unit) * unit}")
