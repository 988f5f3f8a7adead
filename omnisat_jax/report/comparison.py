"""Methods beside each other: joined scores with their uncertainty, and differences on the same tiles and the same parcels."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from omnisat_jax.errors import UserError, printable
from omnisat_jax.files.working_copy import place_of
from omnisat_jax.metrics.intervals import LEVEL, Parcels, Resampled, Tiles, bootstrap, interval
from omnisat_jax.metrics.parcels import UnitCounts
from omnisat_jax.report import tables
from omnisat_jax.report.contributions import TILES, read_parcels, read_tiles
from omnisat_jax.report.run_files import Results

# Keys of the protocol without which scores measure something else, and those that say what a method was trained with.
TESTED = ("dataset", "simulated", "classes", "unscored", "test")
TRAINED = (
    "protocol", "void_test_parcels", "label_share", "validation", "train_tiles", "test_tiles", "fingerprint", "broken", "missing_modalities",
)  # fmt: skip
UNORDERED = ("test", "unscored", "missing_modalities")


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
        """The scored test tiles of all folds for a subset of modalities; None without one, or where the runs did not keep them, as those of probes."""
        if not all((pathlib.Path(folder) / TILES).is_file() for folder in self.runs):
            return None
        found = [read_tiles(folder, results, position) for folder, results in self.runs.items()]
        names = tuple(name for tiles in found for name in tiles.names)
        if not names:
            return None
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


def check(methods: Sequence[Method]) -> list[str]:
    """Checks that methods were tested alike, and says where they were not trained alike.

    Args:
      methods: the first is the one that the others are compared with.

    Returns:
      One sentence per method whose protocol differs from that of the first.

    Raises:
      UserError: methods whose scores measure different things: other data, classes or test tiles.
    """
    names, sentences = titles(methods), []
    for name, method in zip(names[1:], methods[1:]):
        for key in TESTED:
            wanted, found = _value(methods[0], key), _value(method, key)
            if wanted != found:
                raise UserError(f"{name}: expected the same {key} as {names[0]}, {_short(wanted)}, found {_short(found)}; their scores cannot be compared")
        pairs = {key: (_value(method, key), _value(methods[0], key)) for key in TRAINED}
        differing = [f"{key} is {_short(found)}, not {_short(wanted)}" for key, (found, wanted) in pairs.items() if found != wanted]
        if differing:
            sentences.append(f"{name} has another protocol than {names[0]}, so they differ in more than the method: {'; '.join(differing)}.")
    return sentences


def titles(methods: Sequence[Method]) -> list[str]:
    """The names of methods; those of the same name with the folder of their first run."""
    names = [str(method.joined["name"]) for method in methods]
    return [name if names.count(name) == 1 else f"{name} ({place_of(next(iter(method.runs)))})" for name, method in zip(names, methods, strict=True)]


def _value(method, key):
    """What the protocol of a method says; parts, classes out of the mean and missing modalities in alphabetical order."""
    value = method.joined["protocol"].get(key)
    return sorted(value) if key in UNORDERED and value else value


def _short(value):
    return printable(repr(value), 60)


def show(console: Console, methods: Sequence[Method], resamples: int) -> None:
    """Prints every subset of every method with intervals, and its difference to the same subset of the first method.

    Args:
      console: of the user.
      methods: the first is the one that the others are compared with.
      resamples: of the bootstrap.

    Raises:
      UserError: see `check`.
    """
    remarks = check(methods)
    over = ["over tiles", "over parcels"]
    rows = list(_rows(methods, resamples))
    scores = [title for _, title in tables.columns(methods[0].joined)]
    if len(methods) > 1:
        _print(console, "test scores", scores, [(row.method, row.modalities, row.scores) for row in rows])
    _print(console, f"mIoU with bootstrap intervals of {LEVEL} %", ["mIoU", *over], [(row.method, row.modalities, [row.scores[0], *row.intervals]) for row in rows])
    if len(methods) > 1:
        others = [(row.method, row.modalities, row.difference) for row in rows if row.difference]
        _print(console, f"mIoU, difference to {titles(methods)[0]} with intervals of {LEVEL} %", ["difference", *over], others)
    paired = " Differences are on the same resampled tiles and parcels." if len(methods) > 1 else ""
    remarks.append(
        f"Intervals: {resamples} resamples of the test tiles, and of their parcels (what lies outside parcels is one unit per tile); they do not "
        f"cover other seeds, nor that neighbors are alike, and a resample without a class is scored on the others.{paired}"
    )
    for line in remarks:
        console.print(line, markup=False, emoji=False, highlight=False)


def _print(console, title, headers, rows):
    """Prints a table of methods; columns of numbers are never cut, names are folded where a terminal is narrow."""
    table = Table(title=Text(title), title_justify="left")
    table.add_column("method", overflow="fold")
    table.add_column("modalities", overflow="fold")
    for header in headers:
        table.add_column(header.replace(" ", "\n"), justify="right", no_wrap=True)
    for method, modalities, cells in rows:
        table.add_row(Text(method), Text(modalities), *cells)
    console.print(table)


@dataclasses.dataclass(frozen=True)
class _Row:
    """A subset of modalities of a method, as text.

    Attributes:
      method, modalities: names.
      scores: in the order of `tables.columns`.
      intervals: of mIoU, over tiles and over parcels.
      difference: in mIoU to the first method, and its two intervals; () of the first method.
    """

    method: str
    modalities: str
    scores: Sequence[str]
    intervals: Sequence[str]
    difference: Sequence[str]


def _rows(methods: Sequence[Method], resamples: int) -> Iterator[_Row]:
    """Yields each subset of each method."""
    keys = [key for key, _ in tables.columns(methods[0].joined)]
    kinds: list[Callable[[Method, int], Resampled | None]] = [Method.tiles, Method.parcels]
    base: dict[tuple[str, ...], tuple[Results, list]] = {}
    for title, method in zip(titles(methods), methods, strict=True):
        for position, entry in enumerate(method.joined["subsets"]):
            found = [_drawn(kind(method, position), resamples) for kind in kinds]
            subset, difference = tuple(sorted(entry["modalities"])), []
            if method is methods[0]:
                base[subset] = entry, found
            else:
                difference = _difference(entry, found, *base.get(subset, (None, [])))
            scores, intervals = [tables.shown(tables.score(entry, key)) for key in keys], [_ends(draws) for _, draws in found]
            yield _Row(title, "+".join(entry["modalities"]), scores, intervals, difference)


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
