"""What is measured at several sizes, and the power law that fits it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one size costs.

    Attributes:
      seconds: CPU time, or time of the best repetition of a compiled step.
      mib: memory above that at the start, or the temporary memory that XLA plans.
    """

    seconds: float
    mib: float


def announce(what: str, size: int, of: str, cost: Cost) -> Cost:
    """Prints what one size costs as soon as it is known, as larger ones may take long; returns the cost."""
    print(f"{what}, {size:,} {of}: {cost.seconds:.3g} s, {cost.mib:.0f} MiB", flush=True)
    return cost


@dataclasses.dataclass(frozen=True)
class Growth:
    """Something that is measured at several sizes.

    Attributes:
      what: is measured.
      of: what the sizes count.
      costs: {size: its cost}, ascending.
      start: what a start costs without any work, which no exponent should see.
    """

    what: str
    of: str
    costs: dict[int, Cost]
    start: Cost = Cost(0.0, 0.0)

    def exponent(self, of: str) -> float:
        """The exponent of "seconds" or "mib"; see `exponent`."""
        return exponent(list(self.costs), [getattr(cost, of) - getattr(self.start, of) for cost in self.costs.values()])


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent p of the power law c * size ** p that fits best by least squares of logarithms.

    Args:
      sizes: above 0.
      values: one per size; those of 0 or less, such as memory that did not grow, do not count.

    Returns:
      p; nan with fewer than two values above 0.
    """
    size, value = np.asarray(sizes, float), np.asarray(values, float)
    known = value > 0
    if known.sum() < 2:
        return float("nan")
    return float(np.polyfit(np.log(size[known]), np.log(value[known]), 1)[0])


def table(found: Sequence[Growth]) -> Table:
    """One row per measurement."""
    result = Table(box=None)
    for heading in ("what", "sizes", "seconds", "exponent", "MiB", "exponent"):
        result.add_column(heading, justify="left" if heading in ("what", "sizes") else "right")
    for growth in found:
        costs = growth.costs.values()
        result.add_row(
            growth.what,
            f"{' / '.join(f'{size:,}' for size in growth.costs)} {growth.of}",
            " / ".join(f"{cost.seconds:.3g}" for cost in costs),
            f"{growth.exponent('seconds'):.2f}",
            " / ".join(f"{cost.mib:,.0f}" for cost in costs),
            f"{growth.exponent('mib'):.2f}",
        )
    return result
