"""What the reports of `--compile_for` for several topologies predict of scaling."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_CAPTION = (
    "Predicted from the compiled steps: a step is the longest of compute at peak, memory traffic at full bandwidth, and all operations one after another, plus "
    "communication that overlaps with none of them. "
    "Efficiency: tiles per second and chip, relative to the first topology. Growth: exponent of FLOPs per chip in the number of chips, where the tiles per chip are "
    "those of the first topology; 0 is perfect weak scaling."
)


def scaling(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per stage and topology that fits, in the order of `reports`.

    Args:
      reports: of `compile_for`, for one configuration.

    Returns:
      Dicts of "stage", "topology", "chips", "tiles" per step, "seconds" of a step, "tiles_per_second", "flops" per chip, "efficiency" (relative to the first row
      of the stage) and "growth" (None for the first row, or where tiles per chip differ from it).
    """
    rows, first = [], {}
    for stage in dict.fromkeys(name for report in reports for name in report["stages"]):
        for report in reports:
            facts = report["stages"].get(stage)
            if facts is None or "seconds" not in facts:
                continue
            chips, seconds = report["chips"], facts["seconds"]["step"]
            row = {
                "stage": stage, "topology": report["topology"], "chips": chips, "tiles": facts["batch_size"], "seconds": seconds,
                "tiles_per_second": facts["batch_size"] / seconds, "flops": facts["flops"],
            }  # fmt: skip
            reference = first.setdefault(stage, row)
            row["efficiency"] = row["tiles_per_second"] / chips / (reference["tiles_per_second"] / reference["chips"])
            comparable = chips != reference["chips"] and row["tiles"] * reference["chips"] == reference["tiles"] * chips
            row["growth"] = math.log(row["flops"] / reference["flops"]) / math.log(chips / reference["chips"]) if comparable else None
            rows.append(row)
    return rows


def show_scaling(console: Console, reports: Sequence[dict[str, Any]]) -> None:
    """Prints `scaling` as a table."""
    table = Table("stage", "topology", "chips", "tiles per step", "step", "tiles/s", "efficiency", "growth", title="scaling", caption=_CAPTION, title_justify="left")
    for row in scaling(reports):
        growth = "-" if row["growth"] is None else f"{row['growth']:+.2f}"
        numbers = (f"{row['chips']}", f"{row['tiles']:,}", f"{1000 * row['seconds']:.1f} ms", f"{row['tiles_per_second']:,.0f}", f"{100 * row['efficiency']:.0f} %")
        table.add_row(row["stage"], row["topology"], *numbers, growth)
    console.print(table)
