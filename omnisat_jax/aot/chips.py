"""TPU chips by name: what fits and how fast they are at best (per chip, from the Cloud TPU documentation)."""

import dataclasses
import math
import re

from omnisat_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak numbers of one chip.

    Attributes:
      accelerator: what TPU_ACCELERATOR_TYPE calls it; cores: that name counts this many units a chip.
      memory: bytes.
      flops: bfloat16 operations a second.
      bandwidth: bytes a second from memory.
      interconnect: bytes a second to its neighbours, all links together.
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


# bfloat16 operations a second by what jax calls the device.
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


def parse_topology(name: str) -> tuple[Chip, int]:
    """(chip, number of chips) of a topology such as v5e:4x4 or v4:2x2x1.

    Raises:
      UserError: another form, or an unknown chip.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)+)", name)
    if not match or match[1] not in CHIPS:
        raise UserError(f"--compile_for: expected CHIP:AxB or CHIP:AxBxC with a chip of {', '.join(CHIPS)}, found {name!r}")
    return CHIPS[match[1]], math.prod(int(side) for side in match[2].split("x"))
