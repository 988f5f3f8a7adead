"""What `python -m data.prepare` prints when it is done."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from omnisat_jax.errors import printable
from omnisat_jax.records.info import DatasetInfo
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of


def print_report(console: Console, info: DatasetInfo, summaries: dict[str, dict[str, Any]], folder: StrPath) -> None:
    """Prints a table of the parts, broken tiles, and the options to train with.

    Args:
      console: where to.
      info: description of the records.
      summaries: part -> its summary.
      folder: of the records.
    """
    console.print(_table(info, summaries, folder))
    for name in info.modalities:
        if unknown := sum(summary["wholly_unknown"][name] for summary in summaries.values()):
            text = f"{name}: wholly unknown in {number_of(unknown, 'tile')}, whose files have no known value; it counts as absent there"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    for entry in (entry for summary in summaries.values() for entry in summary["bad"]):
        console.print(f"{entry['action']}: {entry['message']}", markup=False, highlight=False, soft_wrap=True)
    tiles = sum(len(summary["tiles"]) for summary in summaries.values())
    if without := sum(len(summary.get("unlabelled", ())) for summary in summaries.values()):
        text = f"{number_of(tiles - without, 'tile')} with labels; {number_of(without, 'tile')} without, only for pre-training"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    size = sum(summary["bytes"] for summary in summaries.values())
    made = info.made_with
    # A run declares which records it expects; only what is not a default must be set.
    options = {
        "prepared_dir": folder, "nomenclature": made.nomenclature, "on_bad": made.on_bad, "float16": made.float16, "unlabelled": made.unlabelled,
    }  # fmt: skip
    flags = " ".join(f"--config.data.{name}={value}" for name, value in options.items() if value not in ("", "raise", False, "refuse"))
    text = f"{number_of(tiles, 'tile')}, {size / 1e6 / max(tiles, 1):.2f} MB per tile. Train on them with {flags}"
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _table(info: DatasetInfo, summaries: dict[str, dict[str, Any]], folder: StrPath) -> Table:
    title = f"{folder}: {info.dataset}{' (simulated)' if info.simulated else ''}"
    table = Table(title=Text(printable(title, None)), title_justify="left")
    some = any(summary.get("unlabelled", ()) for summary in summaries.values())
    for heading in ("part", "tiles", *(("labeled tiles",) if some else ()), *info.modalities, "labels", "MB", "seconds"):
        table.add_column(heading, justify="left" if heading == "part" else "right", overflow="fold", no_wrap=heading == "part")
    for part, summary in summaries.items():
        cells = []
        for name, modality in info.modalities.items():
            dates = f" ({number_of(summary['dates'][name], 'date')})" if modality.kind == "series" else ""
            cells.append(f"{summary['present'][name]}{dates}")
        labels = sum(count for counts in summary["labels"] for count in counts)
        size = f"{summary['bytes'] / 1e6:,.1f}"
        tiles = [len(summary["tiles"])]
        tiles += [tiles[0] - len(summary.get("unlabelled", ()))] if some else []
        table.add_row(part, *map(str, tiles), *cells, f"{labels:,}", size, f"{summary['seconds']:.1f}")
    return table
