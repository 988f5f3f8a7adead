"""What accelerators can do at best, per chip, from the vendors' documentation."""

import dataclasses

import jax


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak numbers of one TPU chip.

    Attributes:
      accelerator: name in TPU_ACCELERATOR_TYPE.
      cores: units per chip that this name counts.
      memory: bytes.
      flops: bfloat16 operations per second.
      bandwidth: bytes per second from memory.
      interconnect: bytes per second to its neighbours, over all links together.
    """

    accelerator: str
    cores: int
    memory: float
    flops: float
    bandwidth: float
    interconnect: float


CHIPS = {
    "v4": Chip("v4", 2, 32 * 2**30, 275e12, 1228e9, 300e9),
    "v5e": Chip("v5litepod", 1, 16 * 2**30, 197e12, 819e9, 200e9),
    "v5p": Chip("v5p", 2, 95 * 2**30, 459e12, 2765e9, 600e9),
    "v6e": Chip("v6e", 1, 32 * 2**30, 918e12, 1640e9, 448e9),
}

# bfloat16 operations per second by the name that JAX gives a device.
PEAKS = {
    "TPU v4": CHIPS["v4"].flops,
    "TPU v5 lite": CHIPS["v5e"].flops,
    "TPU v5e": CHIPS["v5e"].flops,
    "TPU v5": CHIPS["v5p"].flops,
    "TPU v5p": CHIPS["v5p"].flops,
    "TPU v6 lite": CHIPS["v6e"].flops,
    "TPU v6e": CHIPS["v6e"].flops,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


def peak_flops(mesh: jax.sharding.Mesh) -> float:
    """bfloat16 operations per second of all devices of a mesh together, 0 where the device is not known."""
    return mesh.size * PEAKS.get(mesh.devices.flat[0].device_kind, 0.0)
