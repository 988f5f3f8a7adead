"""What accelerators can do at best, per chip, from the vendors' documentation."""

import dataclasses

import jax


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak numbers of one TPU chip or GPU.

    Attributes:
      accelerator: of a TPU, its name in TPU_ACCELERATOR_TYPE; of a GPU, the name that JAX gives it.
      cores: of a TPU, units per chip that its name counts; of a GPU, multiprocessors.
      memory: bytes.
      flops: bfloat16 operations per second.
      bandwidth: bytes per second from memory.
      interconnect: bytes per second to its neighbors, over all links together.
      network: bytes per second to other slices of TPUs, its share of the data-centre network; 0 = not documented, and for GPUs.
      matrix_unit: side of the matrix units of a TPU, to which products are padded; 1 for GPUs, whose units are small.
      clock: cycles per second of a TPU, at which all its matrix units together reach `flops`; 0 for GPUs.
    """

    accelerator: str
    cores: int
    memory: float
    flops: float
    bandwidth: float
    interconnect: float
    network: float = 0.0
    matrix_unit: int = 1
    clock: float = 0.0


CHIPS = {
    "v4": Chip("v4", 2, 32 * 2**30, 275e12, 1228e9, 300e9, 0.0, 128, 1.05e9),
    "v5e": Chip("v5litepod", 1, 16 * 2**30, 197e12, 819e9, 200e9, 25e9 / 8, 128, 1.5e9),
    "v5p": Chip("v5p", 2, 95 * 2**30, 459e12, 2765e9, 600e9, 50e9 / 8, 128, 1.75e9),
    "v6e": Chip("v6e", 1, 32 * 2**30, 918e12, 1640e9, 448e9, 100e9 / 8, 256, 1.75e9),
}

GPUS = {
    "a100": Chip("NVIDIA A100-SXM4-80GB", 108, 80 * 2**30, 312e12, 2039e9, 600e9),
    "h100": Chip("NVIDIA H100 80GB HBM3", 132, 80 * 2**30, 989e12, 3352e9, 900e9),
    "h200": Chip("NVIDIA H200", 132, 140 * 2**30, 989e12, 4800e9, 900e9),
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
    "NVIDIA A100-SXM4-40GB": GPUS["a100"].flops,
    **{chip.accelerator: chip.flops for chip in GPUS.values()},
}


def peak_flops(mesh: jax.sharding.Mesh) -> float:
    """bfloat16 operations per second of all devices of a mesh together, 0 where the device is not known."""
    return mesh.size * PEAKS.get(mesh.devices.flat[0].device_kind, 0.0)
