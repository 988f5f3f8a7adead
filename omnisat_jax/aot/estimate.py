"""How long a compiled step takes at least, from the operations that it consists of and what a chip can do."""

from collections.abc import Sequence

from omnisat_jax.aot.collectives import KINDS, between_slices, totals
from omnisat_jax.aot.hlo import Operation, traffic
from omnisat_jax.parallel.chips import Chip

_ELSEWHERE = {*KINDS, "send", "recv"}  # counted as communication


def seconds(found: Sequence[Operation], padded_flops: float, chip: Chip) -> dict[str, float]:
    """Estimates of a step in seconds. All but communication overlap at best, so the longest of them counts.

    Args:
      found: `hlo.operations` of the program.
      padded_flops: operations of its products per chip, with the padding to matrix units.
      chip: that it was compiled for.

    Returns:
      "compute" of all products at the peak; "memory": all traffic at full bandwidth; "operations": see `one_after_another`; "communication", which overlaps with
      none of them; and "step", the longest of the first three plus the last.
    """
    sent = totals(found)
    # An all-reduce over a ring of chips sends everything around twice, the other collectives once.
    communication = (sum(sent.values()) + sent["all-reduce"]) / chip.interconnect
    if far := between_slices(found):
        communication += far / chip.network
    parts = {"compute": padded_flops / chip.flops, "memory": traffic(found) / chip.bandwidth, "operations": one_after_another(found, chip)}
    return parts | {"communication": communication, "step": max(parts.values()) + communication}


def one_after_another(found: Sequence[Operation], chip: Chip) -> float:
    """Seconds of all operations, none of which overlaps with another, as on a TPU.

    An operation takes as long as its memory traffic at full bandwidth, or as many cycles as the compiler expects where that is longer. The TPU compiler says them
    for fusions and counts all units of the chip: matrix, vector, and memory below its full bandwidth. Asynchronous copies run beside other operations and
    are left out, as are collectives, which `seconds` counts as communication.
    """
    total = 0.0
    for operation in found:
        if operation.kind not in _ELSEWHERE and not operation.kind.endswith(("-start", "-done")):
            cycles = operation.cycles / chip.clock if chip.clock else 0.0
            total += operation.times * max(cycles, operation.moved / chip.bandwidth)
    return total
