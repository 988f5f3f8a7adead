"""TPU topologies by name."""

import math
import re

from omnisat_jax.errors import UserError
from omnisat_jax.parallel.chips import CHIPS, Chip


def parse_topology(name: str) -> tuple[Chip, int]:
    """The chip and the number of chips of a topology such as v5e:4x4 or v4:2x2x1.

    Raises:
      UserError: another form, or an unknown chip.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)+)", name)
    if not match or match[1] not in CHIPS:
        raise UserError(f"--compile_for: expected CHIP:AxB or CHIP:AxBxC with a chip of {', '.join(CHIPS)}, found {name!r}")
    return CHIPS[match[1]], math.prod(int(side) for side in match[2].split("x"))
