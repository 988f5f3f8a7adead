"""What was cut, and how it is printed."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from data.tiles.grid import TileGrid
from data.tiles.values import Storage
from omnisat_jax.errors import printable
from omnisat_jax.rasters.offset import BASELINE_OFFSET
from omnisat_jax.types import StrPath


@dataclasses.dataclass
class SensorReport:
    """What was cut of a sensor.

    Attributes:
      storage: how it is stored.
      covered: tiles that have it.
      outside: tiles that lack it, as not all of its files cover them completely.
      narrowest: which file covers the fewest tiles, in words.
      empty: tiles that lack it, as they have no known pixel.
      unknown: share of unknown values in the tiles that have it.
    """

    storage: Storage
    covered: int = 0
    outside: int = 0
    narrowest: str = ""
    empty: int = 0
    unknown: float = 0.0


@dataclasses.dataclass
class LabelReport:
    """What was cut of the labels.

    Attributes:
      pixels: (K,) int64 pixels of each class.
      unknown: unknown pixels.
      tiles: that have labels.
    """

    pixels: np.ndarray
    unknown: int = 0
    tiles: int = 0


@dataclasses.dataclass
class CutReport:
    """What was cut.

    Attributes:
      grid: of the tiles.
      folds: number of folds.
      labels: LabelReport.
      sensors: name -> SensorReport.
    """

    grid: TileGrid
    folds: int
    labels: LabelReport
    sensors: dict[str, SensorReport]


def print_report(console: Console, report: CutReport, classes: Sequence[str], out: StrPath) -> None:
    """Prints a table of the sensors, and remarks.

    Args:
      console: where to.
      report: what was cut.
      classes: names of the classes.
      out: folder of the tiles.
    """
    folds = _count(report.folds, "fold")
    console.print(f"{_count(len(report.grid.tiles), 'tile')} in {folds} written to {printable(str(out))}", soft_wrap=True)
    table = Table()
    headings = ("sensor", "dates", "tiles covered", "not covered", "all unknown", "dtype", "scale", "unknown", "S2 baselines", "bands")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("sensor", "S2 baselines", "bands") else "right")
    for name, entry in report.sensors.items():
        storage = entry.storage
        scales = " ".join(dict.fromkeys(f"{scale:g}" for scale in storage.scale))
        table.add_row(
            name, str(len(storage.source.dates) or "-"), str(entry.covered), str(entry.outside), str(entry.empty), str(storage.dtype), scales,
            f"{100 * entry.unknown:.2f} %", storage.baselines, " ".join(storage.source.bands),
        )  # fmt: skip
    console.print(table)
    for line in _label_remarks(report, classes):
        console.print(printable(line, None), soft_wrap=True)
    for name, entry in report.sensors.items():
        for line in _sensor_remarks(entry):
            console.print(printable(f"{name}: {line}", None), soft_wrap=True)


def _label_remarks(report: CutReport, classes: Sequence[str]) -> Iterator[str]:
    labels, tiles = report.labels, len(report.grid.tiles)
    if labels.tiles:
        yield f"labels: {100 * labels.unknown / (int(labels.pixels.sum()) + labels.unknown):.2f} % unknown"
    unseen = [name for name, count in zip(classes, labels.pixels, strict=True) if not count]
    if unseen:
        yield f"labels: no pixel of {', '.join(unseen)}"
    if labels.tiles < tiles:
        yield f"labels: {labels.tiles} of {_count(tiles, 'tile')} have some; the others serve pre-training, with data.unlabelled=pretrain"
    rows, columns = report.grid.left_over
    if rows or columns:
        yield (
            f"{'labels' if classes else 'grid'}: {_count(rows, 'row')} at the bottom and {_count(columns, 'column')} at the right do not fill a tile and were not cut"
        )


def _sensor_remarks(entry: SensorReport) -> Iterator[str]:
    storage = entry.storage
    if entry.outside:
        which = f"which not every date covers completely ({entry.narrowest})" if storage.source.dates else "which it does not cover completely"
        yield f"{_count(entry.outside, 'tile')} without it, {which}"
    if entry.empty:
        yield f"{_count(entry.empty, 'tile')} without it, for lack of a known pixel"
    if any(storage.subtracted):
        files = f"{sum(map(bool, storage.subtracted))} of {_count(len(storage.subtracted), 'file')}"
        yield f"{BASELINE_OFFSET:,} was subtracted from the values of {files} (baseline 04.00 and later)"
    elif any(map(any, storage.added)):
        yield "offsets of the files were added, so that all dates have offset 0"
    if not storage.added and any(scale != 1 for layer in storage.source.layers for scale in layer.scales):
        yield "scale and offset of the files were applied"
    yield from storage.source.remarks


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
