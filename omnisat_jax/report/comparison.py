"""Methods beside each other: joined scores with their uncertainty, and differences on the same tiles and the same parcels."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from omnisat_jax.metrics.intervals import LEVEL, Parcels, Resampled, Tiles, bootstrap, interval
from omnisat_jax.metrics.parcels import UnitCounts
from omnisat_jax.report import tables
from omnisat_jax.report.contributions import TILES, read_parcels, read_tiles
from omnisat_jax.report.run_files import Results


@dataclasses.dataclass(frozen=True)
class Method:
    """The runs of a method, one per fold.

    Attributes:
      runs: {folder: its results}.
      joined: their results, joined.
    """

    runs: Mapping[str, Results]
    joined: Results

    def tiles(self, position: int) -> Tiles | None:
        """The test tiles of all folds for a subset of modalities; None where the runs did not keep them, as those of probes."""
        if not all((pathlib.Path(folder) / TILES).is_file() for folder in self.runs):
            return None
        found = [read_tiles(folder, results, position) for folder, results in self.runs.items()]
        names = tuple(name for tiles in found for name in tiles.names)
        counts = np.concatenate([tiles.counts for tiles in found if tiles.counts is not None])
        return dataclasses.replace(found[0], names=names, counts=counts, unscored=self._unscored(position))

    def parcels(self, position: int) -> Parcels | None:
        """The parcels of all folds for a subset of modalities, each once; None where there are none, or the runs did not keep them."""
        if self.tiles(position) is None:
            return None
        found = [parcels for folder, results in self.runs.items() if (parcels := read_parcels(folder, results, position))]
        if len(found) < len(self.runs):
            return None
        return Parcels.of(UnitCounts.joined(parcels.counts for parcels in found), found[0].classes, self._unscored(position))

    def _unscored(self, position: int) -> tuple[str, ...]:
        """Classes outside the mean: those of the protocol, and those that the joined scores leave out as too rare."""
        iou = self.joined["subsets"][position]["scores"]["iou"]
        return (*self.joined["protocol"]["unscored"], *(name for name, value in iou.items() if value is None))


def show(console: Console, methods: Sequence[Method], resamples: int) -> None:
    """Prints every subset of every method with intervals, and its difference to the same subset of the first method.

    Args:
      console: of the user.
      methods: the first is the one that the others are compared with.
      resamples: of the bootstrap.
    """
    titles = [title for _, title in tables.columns(methods[0].joined)]
    over = [f"{LEVEL} % over tiles", f"{LEVEL} % over parcels"]
    table = Table(title=Text("mIoU with bootstrap intervals"), title_justify="left")
    table.add_column("method")
    table.add_column("modalities")
    for title in (*titles, *over, *(["difference", *over] if len(methods) > 1 else [])):
        table.add_column(title, justify="right")
    for name, modalities, cells in _rows(methods, resamples):
        table.add_row(Text(name), Text(modalities), *cells)
    console.print(table)
    others = " Differences are to the first method, on the same resampled tiles and parcels." if len(methods) > 1 else ""
    console.print(
        f"Intervals: {resamples} resamples of the test tiles, and of their parcels (what lies outside parcels is one unit per tile); they do not "
        f"cover other seeds, nor that neighbours are alike, and a resample without a class is scored on the others.{others}",
        markup=False, emoji=False, highlight=False,
    )  # fmt: skip


def _rows(methods: Sequence[Method], resamples: int) -> Iterator[tuple[str, str, list[str]]]:
    """(method, modalities, cells) of each subset of each method."""
    keys = [key for key, _ in tables.columns(methods[0].joined)]
    kinds: list[Callable[[Method, int], Resampled | None]] = [Method.tiles, Method.parcels]
    base: dict[tuple[str, ...], tuple[Results, list]] = {}
    for method in methods:
        for position, entry in enumerate(method.joined["subsets"]):
            found = [_drawn(kind(method, position), resamples) for kind in kinds]
            cells = [*(tables.shown(tables.score(entry, key)) for key in keys), *(_ends(draws) for _, draws in found)]
            subset = tuple(sorted(entry["modalities"]))
            if method is methods[0]:
                base[subset] = entry, found
                cells += [tables.NONE] * (3 if len(methods) > 1 else 0)
            else:
                cells += _difference(entry, found, *base.get(subset, (None, [])))
            yield str(method.joined["name"]), "+".join(entry["modalities"]), cells


def _drawn(units: Resampled | None, resamples: int):
    """(names of the units, scores of resampled test sets); both None where the units are not known."""
    return (None, None) if units is None else (units.names, bootstrap([units], resamples))


def _ends(draws, form=".1f"):
    if draws is None or not np.isfinite(draws).any():
        return tables.NONE
    low, high = interval(draws)
    return f"[{low:{form}}, {high:{form}}]"


def _difference(entry, found, base, base_found):
    """Three cells: the difference in mIoU, and its intervals over units that both were tested on."""
    mine, other = entry["scores"]["miou"], base["scores"]["miou"] if base else None
    if mine is None or other is None:
        return [tables.NONE] * 3
    pairs = zip(found, base_found)
    return [f"{mine - other:+.1f}", *(_ends(a - b, "+.1f") if names and names == others else tables.NONE for (names, a), (others, b) in pairs)]
