"""The interface between raw datasets and everything that uses them: an index, one tile at a time, and errors that name the file.

Shapes: T dates, H x W pixels, C bands, K classes.
"""

import collections
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from data.reading import contract
from omnisat_jax.dates import EPOCH, parse_date
from omnisat_jax.errors import DataError, Finding
from omnisat_jax.files import fetching, paths
from omnisat_jax.missing import NO_DATA_INT16, measured
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

SAMPLE = 64  # tiles that decide which size is usual

UNLABELLED = ("refuse", "pretrain")  # what becomes of tiles without labels
# Of an error about labels that are not there.
LABEL_ADVICE = (
    "Restore them; or, if such tiles never had labels, set data.unlabelled=pretrain (--unlabelled pretrain): they then serve pre-training only."
)
SIMULATED = "SIMULATED.txt"  # marks a simulated folder whose layout has no other place for it

Entry = dict[str, Any]  # one modality of a tile, or its labels, see `RawDataset.read`
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class RawModality:
    """How one modality is stored.

    Attributes:
      kind: "series", "image" or "location".
      shape: (H, W, C) of a frame (a series has T of them); (2,) for a location, longitude and latitude.
      dtype: of the values.
      bands: names of the C bands; "R", "G", "B" or "B04", "B03", "B02" among them are shown as true color.
      scale, offset: of each band, a physical value is stored * scale + offset; () where the dataset does not declare them.
      resolution: m per pixel on the ground; 0 where it is not known, and of a location.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    bands: tuple[str, ...]
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    resolution: float = 0.0


def location_modality() -> RawModality:
    """Longitude and latitude of the center of the tile, degrees."""
    return RawModality("location", (2,), "float32", ("longitude", "latitude"))


def no_remarks(tile: str) -> Iterable[Finding]:
    """The `inspect` function of a dataset whose reader has nothing to add."""
    return ()


@dataclasses.dataclass(frozen=True)
class RawDataset:
    """A raw folder, indexed but not read. Everything in it can be sent to another process.

    Attributes:
      name: name of the dataset.
      root: the folder.
      simulated: whether the folder declares that nothing in it was measured.
      citation: source and license.
      task: "segment" or "classify".
      classes: names of the predicted classes, in order.
      ignore: label value of void pixels, or -1 (segment only).
      background: class that is no label of a tile where tile labels are made from dense ones, or -1 (segment only).
      label_side: pixels per side of dense labels; 0 for tile labels.
      modalities: name -> RawModality, only those that the folder holds.
      parts: name of a part -> tile ids.
      readers: name of a modality -> function that reads it for a tile id, see `read`.
      labels: function that reads the labels of a tile id, see `read`.
      path_of: (tile id, name of a modality) -> its file, whether or not it exists.
      inspect: tile id -> findings about files that are readable but unusual, for `data.verify`.
      unscored: classes that are predicted but excluded from mean scores.
      colours: "#rrggbb" for each class in pictures; () = a default palette.
      unlabelled: ids of the tiles that have no labels and need none, as only pre-training uses them. Without labels in any tile, `classes` may
        be ().
      copies: of the files that are read, where the folder is one of placeholders for the objects of a bucket.
    """

    name: str
    root: pathlib.Path
    simulated: bool
    citation: str
    task: str
    classes: tuple[str, ...]
    ignore: int
    background: int
    label_side: int
    modalities: Mapping[str, RawModality]
    parts: Mapping[str, tuple[str, ...]]
    readers: Mapping[str, Callable[[str], Entry]]
    labels: Callable[[str], Entry]
    path_of: Callable[[str, str], pathlib.Path]
    inspect: Callable[[str], Iterable[Finding]] = no_remarks
    unscored: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    unlabelled: frozenset[str] = frozenset()
    copies: fetching.FetchedFolder | None = None

    @property
    def tiles(self) -> tuple[str, ...]:
        """Ids of all tiles, part by part."""
        return tuple(tile for tiles in self.parts.values() for tile in tiles)

    def read(self, tile: str, on_error: Callable[[str, DataError], Entry] | None = None) -> dict[str, Any]:
        """Reads one tile in the form in which records store it.

        Args:
          tile: its id.
          on_error: called with "labels" or the name of a modality and the error; returns a replacement. None = raise.

        Returns:
          A dictionary with these keys. T = 0, or no image, means that the tile lacks the modality.

          - "tile_id": str
          - each series: {"values" (T,H,W,C), "dates" (T,) int32 days since 1970-01-01, ascending, "valid" (T,) bool}
          - each image: {"values" (0|1,H,W,C)}
          - the location: {"values" (0|1,2) degrees}
          - "labels": (H,W) uint8, with "parcels" (H,W) int64; or (K,) float32. Of an unlabeled tile, see `no_labels`.
          - "labelled": bool
          - "remarks": {modality: why it counts as absent although there is a file}

        Raises:
          DataError: a broken file.
        """

        def attempt(name: str, reader: Callable[[str], Any]) -> Any:
            try:
                return reader(tile)
            except DataError as error:
                told = fetching.renamed(error)
                if on_error is None:
                    raise told from error.__cause__
                return on_error(name, told)

        if self.copies:
            self.copies.fetch_all({self.path_of(tile, name) for name in self.readers}, tile)

        example = {name: attempt(name, functools.partial(self.read_modality, name)) for name in self.readers}
        remarks = {name: remark for name, entry in example.items() if (remark := entry.pop("remark", ""))}
        labelled = tile not in self.unlabelled
        labels = attempt("labels", self.read_labels) if labelled else self.no_labels()
        return {"tile_id": tile} | example | labels | {"labelled": labelled, "remarks": remarks}

    def read_modality(self, name: str, tile: str) -> Entry:
        """Reads one modality of a tile; see `read`.

        Raises:
          DataError: a broken file, or a reader that fails or returns another form than its RawModality says: records would cast it.
        """
        return contract.read_modality(self, name, tile)

    def read_labels(self, tile: str) -> Entry:
        """Reads the labels of a tile that has some; see `read`.

        Raises:
          DataError: a broken file, or a reader that fails or returns labels of another form than this object says.
        """
        return contract.read_labels(self, tile)

    def no_labels(self) -> Entry:
        """What stands in the place of labels in records of an unlabeled tile: void everywhere, or no label of the tile."""
        if self.task != "segment":
            return {"labels": np.zeros(len(self.classes), np.float32)}
        shape = (self.label_side,) * 2
        return {"labels": np.full(shape, max(self.ignore, 0), np.uint8), "parcels": np.zeros(shape, np.int64)}


def need_labels(path: StrPath, tile: str) -> None:
    """Checks that there is a file of labels, even if it cannot be read.

    Raises:
      DataError: there is none; says how tiles without labels are declared.
    """
    if not os.path.lexists(path):
        raise DataError(tile=tile, path=path, expected="labels", found="no such file", advice=LABEL_ADVICE)


def sample_evenly(items: Iterable[T]) -> list[T]:
    """At most SAMPLE of the items, evenly spread."""
    items = list(items)
    return items[:: max(1, -(-len(items) // SAMPLE))]


def usual_size(tiles: Iterable[str], size_of: Callable[[str], int]) -> int:
    """The most frequent size among SAMPLE evenly spread tiles, so that one odd or broken file does not decide for all others.

    Args:
      tiles: ids.
      size_of: reads the size of a tile; broken tiles are replaced by others.

    Raises:
      DataError: of the first tile, where none can be read.
    """
    tiles = list(tiles)
    first, counts, wanted = None, collections.Counter(), sample_evenly(tiles)
    for tile in (*wanted, *tiles):
        if counts.total() == len(wanted):
            break
        try:
            counts[size_of(tile)] += 1
        except DataError as error:
            first = first or error
    if not counts:
        raise first or ValueError("no tiles")
    return counts.most_common(1)[0][0]


def parse_day_number(text: str) -> int:
    """Days since 1970-01-01 of a date YYYYMMDD.

    Raises:
      ValueError: see `dates.parse_date`.
    """
    return (parse_date(text) - EPOCH).days


def files_by_name(folder: StrPath) -> dict[str, pathlib.Path]:
    """{name with a lower-case suffix: path} of the files in a folder, so that NAME.TIF is found as NAME.tif.

    Raises:
      DataError: two files that differ only in the case of their suffix.
    """
    found = {}
    for path in paths.entries(folder):
        name = f"{path.stem}{path.suffix.lower()}"
        if name in found:
            raise DataError(
                tile="-", path=path, expected="one file of that name, in upper or lower case", found=f"{found[name].name} as well",
                advice="Remove one of them.",
            )  # fmt: skip
        found[name] = path
    return found


def absent(modality: RawModality, remark: str = "") -> Entry:
    """The entry of a modality that a tile lacks.

    Args:
      modality: which one.
      remark: why, if there is a file all the same, such as one without a known pixel. Records count it and `data.verify` reports it.
    """
    entry: Entry = {"values": np.zeros((0, *modality.shape), modality.dtype)}
    if modality.kind == "series":
        entry |= {"dates": np.zeros(0, np.int32), "valid": np.zeros(0, bool)}
    return entry | ({"remark": remark} if remark else {})


def sort_by_date(tile: str, path: StrPath, values: np.ndarray, dates: ArrayLike, *more: np.ndarray) -> tuple[Any, ...]:
    """Sorts images, dates and further arrays by date, ascending and stable.

    Raises:
      DataError: different numbers of images and dates, or no date.
    """
    days = np.asarray(dates, np.int32)
    if len(days) != len(values):
        raise DataError(
            tile=tile, path=path, expected=f"{number_of(len(days), 'image')} (one for each date of the metadata)", found=number_of(len(values), 'image'),
            advice="Images and dates no longer match: restore the file or the metadata.",
        )  # fmt: skip
    if not len(days):
        raise DataError(
            tile=tile, path=path, expected="at least one date", found="an empty series",
            advice="Remove the file to declare the modality missing.",
        )  # fmt: skip
    arrays = values, days, *more
    if (np.diff(days) < 0).any():
        order = np.argsort(days, kind="stable")
        arrays = tuple(array[order] for array in arrays)
    return arrays


def known_values(values: np.ndarray) -> np.ndarray:
    """Which values are measurements, not no-data or fill values; bool of the same shape."""
    return measured(values)


def to_int16(values: np.ndarray, known: np.ndarray, tile: str, path: StrPath) -> np.ndarray:
    """Converts known values to int16, rounded, without wrapping or clipping. Unknown values are undefined, see `mask_integers`.

    Args:
      values: (T,H,W,C), integers or floats.
      known: (T,H,W) or (T,H,W,C) bool.
      tile, path: for messages.

    Raises:
      DataError: a known value outside the range of int16.
    """
    known = known if known.ndim == values.ndim else known[..., None]
    if values.dtype.kind == "f":
        values = np.rint(values)
    if values.dtype == np.int16:
        return values
    limit = np.iinfo(np.int16).max
    wrong = known & ~((values >= -limit) & (values <= limit))
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0])
        raise DataError(
            tile=tile, path=path, expected=f"values from {-limit:,} to {limit:,}",
            found=f"{values[first]:,} in image {first[0]} by date, one of {int(wrong.sum()):,} out of range",
            advice="Reflectance is stored x 10,000: scale the values, or store unknown ones as 0.",
        )  # fmt: skip
    return np.where(known, values, 0).astype(np.int16)


def mask_integers(values: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int16 (T,H,W,C) with the `missing` pixels (T,H,W) or values (T,H,W,C) set to no data, and which dates still have a known value (T,)."""
    missing = missing if missing.ndim == values.ndim else missing[..., None]
    values = np.where(missing, np.int16(NO_DATA_INT16), values)
    return values, np.any(known_values(values), axis=(1, 2, 3))


def mask_floats(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (T,H,W,C) with everything that is not a measurement set to NaN, and which dates still have a known value (T,)."""
    known = known_values(values)
    return np.where(known, values, np.nan).astype(np.float32, copy=False), np.any(known, axis=(1, 2, 3))


def series(modality: RawModality, values: np.ndarray, dates: ArrayLike, *, tile: str, path: StrPath, known: np.ndarray | None = None) -> Entry:
    """The entry of a series for `RawDataset.read`: sorted by date, unknown pixels set to no data, absent if nothing is known.

    Args:
      modality: of dtype int16 or float32.
      values: (T,H,W,C) of any dtype.
      dates: (T,) days since 1970-01-01.
      tile, path: for messages.
      known: (T,H,W) bool, measured pixels, or (T,H,W,C), measured values; required for int16.

    Raises:
      DataError: values outside the range of int16, different numbers of images and dates, or no date.
    """
    if modality.dtype == "int16":
        assert known is not None
        values, dates, pixels = sort_by_date(tile, path, values, dates, known)
        values, valid = mask_integers(to_int16(values, pixels, tile, path), ~pixels)
    else:
        values, dates = sort_by_date(tile, path, values, dates)
        values, valid = mask_floats(values)
    if not valid.any():
        return absent(modality, f"no known pixel in its {number_of(len(values), 'image')}")
    return {"values": values, "dates": dates, "valid": valid}


def image(modality: RawModality, values: np.ndarray) -> Entry:
    """The entry of a uint8 image (H,W,C); absent if all pixels are 0, which means unknown in such images."""
    return {"values": values[None]} if values.any() else absent(modality, "all of its pixels are 0: nothing was recorded")


def is_simulated(root: pathlib.Path) -> bool:
    """Whether a folder declares that nothing in it was measured."""
    return (root / SIMULATED).is_file()
