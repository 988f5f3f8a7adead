"""What every raw dataset offers to preparation: an index, one tile at a time, and errors that name the file."""

import collections
import dataclasses
import datetime
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from omnisat_jax.errors import DataError, Finding
from omnisat_jax.files import paths
from omnisat_jax.missing import FILL, NO_DATA_INT16

EPOCH = datetime.date(1970, 1, 1)
YEARS = (1970, 2100)  # of images that anybody has
LOOKED_AT = 64  # tiles that decide which size is usual

SIMULATED = "SIMULATED.txt"  # the file by which a simulated folder says so, where its layout has no place for it


@dataclasses.dataclass(frozen=True)
class RawModality:
    """How one modality is stored.

    Attributes:
      kind: "series", "image" or "location".
      shape: (H, W, C) of a frame, of which a series has T; (2,) of a location, longitude and latitude.
      dtype: of the values.
      bands: names of the C bands; "R", "G", "B" or "B04", "B03", "B02" among them are shown as true colour.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    bands: tuple[str, ...]


def location_modality() -> RawModality:
    """Longitude and latitude of the tile's centre, degrees."""
    return RawModality("location", (2,), "float32", ("longitude", "latitude"))


def no_remarks(tile: str):
    """The `inspect` of a dataset whose readers see all there is to see."""
    return ()


@dataclasses.dataclass(frozen=True)
class RawDataset:
    """A raw folder, indexed but not read. Everything in it can be sent to another process.

    Attributes:
      name: dataset name.
      root: the folder.
      simulated: whether it says of itself that nothing in it was measured.
      citation: where it comes from and its licence.
      task: "segment" or "classify".
      classes: names of the classes that are predicted, in order.
      ignore: label value that is void, or -1 (segment only).
      background: class that is no label of a tile where tile labels are made from dense ones, or -1 (segment only).
      label_side: pixels a side of dense labels; 0 where labels are of the tile.
      modalities: name -> RawModality, only what the folder holds.
      parts: part name (fold or split) -> tile ids.
      readers: modality name -> function from a tile id to that modality, see `read`.
      labels: function from a tile id to {"labels"} or {"labels", "parcels"}, see `read`.
      path_of: (tile id, modality name) -> where the modality is, or would be.
      inspect: tile id -> `Finding`s about readable but unusual files, for `data.verify`.
      unscored: classes that are predicted but do not enter mean scores.
      colours: of the classes in pictures, "#rrggbb" each; () = a default palette.
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
    readers: Mapping[str, Callable[[str], dict]]
    labels: Callable[[str], dict]
    path_of: Callable[[str, str], pathlib.Path]
    inspect: Callable[[str], Iterable[Finding]] = no_remarks
    unscored: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()

    def read(self, tile: str, on_error: Callable[[str, DataError], dict] | None = None) -> dict:
        """One tile as stored in records.

        Args:
          tile: its id.
          on_error: called with "labels" or a modality's name and what is wrong with it; returns what to take instead. None = raise.

        Returns:
          {"tile_id": str, series: {"values" (T,H,W,C), "dates" (T,) int32 days since 1970-01-01 ascending,
          "valid" (T,) bool}, image: {"values" (0|1,H,W,C)}, location: {"values" (0|1,2) degrees}, and "labels" (H,W) uint8 with "parcels" (H,W) int64,
          or "labels" (K,) float32, "remarks": {modality: why it counts as absent although there is a file}}. T = 0, or no image, means the tile lacks
          the modality.

        Raises:
          DataError: a file that is broken.
        """

        def attempt(name, reader):
            try:
                return reader(tile)
            except DataError as error:
                if on_error is None:
                    raise
                return on_error(name, error)

        example = {name: attempt(name, reader) for name, reader in self.readers.items()}
        remarks = {name: remark for name, entry in example.items() if (remark := entry.pop("remark", ""))}
        return {"tile_id": tile} | example | attempt("labels", self.labels) | {"remarks": remarks}


def spread(items: Iterable) -> list:
    """At most LOOKED_AT of them, spread evenly."""
    items = list(items)
    return items[:: max(1, len(items) // LOOKED_AT)][:LOOKED_AT]


def usual(tiles: Iterable[str], size_of: Callable[[str], int]) -> int:
    """What `size_of` gives of most tiles, of LOOKED_AT that are spread evenly: neither an odd nor a broken file decides for the others.

    Raises:
      DataError: that of the first tile, where none can be read.
    """
    tiles = list(tiles)
    first, counts, wanted = None, collections.Counter(), spread(tiles)
    for tile in (*wanted, *tiles):
        if counts.total() == len(wanted):
            break
        try:
            counts[size_of(tile)] += 1
        except DataError as error:
            first = first or error
    if not counts:
        raise first
    return counts.most_common(1)[0][0]


def day_of(text: str) -> datetime.date:
    """The date of YYYYMMDD.

    Raises:
      ValueError: no such day, or one of a year outside YEARS.
    """
    match = re.fullmatch(r"([0-9]{4})([0-9]{2})([0-9]{2})", text)
    if not match:
        raise ValueError(f"{text[:20]!r} is no date YYYYMMDD")
    day = datetime.date(*map(int, match.groups()))
    if not YEARS[0] <= day.year <= YEARS[1]:
        raise ValueError(f"the year {day.year} is not from {YEARS[0]} to {YEARS[1]}")
    return day


def day_number(text: str) -> int:
    """Days since 1970-01-01 of a date YYYYMMDD; raises as `day_of`."""
    return (day_of(text) - EPOCH).days


def files_in(folder) -> dict[str, pathlib.Path]:
    """{name with its suffix in small letters: path} of what a folder holds: NAME.TIF is the file of NAME.tif.

    Raises:
      DataError: both of them are there.
    """
    found = {}
    for path in paths.entries(folder):
        name = f"{path.stem}{path.suffix.lower()}"
        if name in found:
            raise DataError(
                tile="-", path=path, expected="one file of that name, whatever its capitals", found=f"{found[name].name} as well",
                advice="Remove one of them.",
            )  # fmt: skip
        found[name] = path
    return found


def absent(modality: RawModality, remark: str = "") -> dict:
    """What a tile holds of a modality that it lacks.

    Args:
      remark: why, where there is a file all the same, such as one without a known pixel. It is counted in records and a finding of `data.verify`.
    """
    entry = {"values": np.zeros((0, *modality.shape), modality.dtype)}
    if modality.kind == "series":
        entry |= {"dates": np.zeros(0, np.int32), "valid": np.zeros(0, bool)}
    return entry | ({"remark": remark} if remark else {})


def sort_by_date(tile, path, values, dates, *more):
    """Orders images, dates and anything else by date, ascending (stable).

    Raises:
      DataError: different numbers of images and dates, or no date at all.
    """
    dates = np.asarray(dates, np.int32)
    if len(dates) != len(values):
        raise DataError(
            tile=tile, path=path, expected=f"{len(dates)} images (one for each date of the metadata)", found=f"{len(values)} images",
            advice="Images and dates no longer match: restore the file or the metadata.",
        )  # fmt: skip
    if not len(dates):
        raise DataError(
            tile=tile, path=path, expected="at least one date", found="an empty series",
            advice="Remove the file to declare the modality missing.",
        )  # fmt: skip
    if (np.diff(dates) < 0).any():
        order = np.argsort(dates, kind="stable")
        values, dates, *more = (entry[order] for entry in (values, dates, *more))
    return values, dates, *more


def known_values(values: np.ndarray) -> np.ndarray:
    """Which numbers are measurements, as bool of the same shape: no data and fill values are not."""
    if values.dtype == np.int16:
        return values != NO_DATA_INT16
    if values.dtype.kind == "f":
        # False for NaN. Two bytes hold no such fill values.
        return np.abs(values) <= FILL if values.dtype.itemsize > 2 else np.isfinite(values)
    return np.ones(values.shape, bool)


def to_int16(values: np.ndarray, known: np.ndarray, tile: str, path) -> np.ndarray:
    """Known numbers as int16, rounded and neither wrapped nor clipped. Those that are not known mean nothing, see `mask_integers`.

    Args:
      values: (T,H,W,C), integers or floats.
      known: (T,H,W) or (T,H,W,C) bool.

    Raises:
      DataError: a known number that int16 cannot hold.
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
            tile=tile, path=path, expected=f"numbers from {-limit:,} to {limit:,}",
            found=f"{values[first]:,} in image {first[0]} by date, one of {int(wrong.sum()):,} beyond them",
            advice="Reflectance is stored x 10,000: scale the numbers, or store unknown ones as 0.",
        )  # fmt: skip
    return np.where(known, values, 0).astype(np.int16)


def mask_integers(values, missing):
    """int16 (T,H,W,C) with `missing` (T,H,W) pixels set to no data, and which dates keep a pixel (T,)."""
    values = np.where(missing[..., None], np.int16(NO_DATA_INT16), values)
    return values, known_values(values).any(axis=(1, 2, 3))


def mask_floats(values):
    """float32 (T,H,W,C) with every number that is no measurement set to NaN (no data), and which dates keep a number (T,)."""
    known = known_values(values)
    return np.where(known, values, np.nan).astype(np.float32, copy=False), known.any(axis=(1, 2, 3))


def series(modality: RawModality, values, dates, *, tile: str, path, known=None) -> dict:
    """A series as `RawDataset.read` returns it: ascending dates, no data where nothing is known, absent where nothing is known at all.

    Args:
      modality: of dtype int16 or float32.
      values: (T,H,W,C) numbers of any dtype.
      dates: (T,) days since 1970-01-01.
      known: (T,H,W) bool, pixels that were measured; needed for int16.

    Raises:
      DataError: numbers that int16 cannot hold, other numbers of images and dates, no date.
    """
    if modality.dtype == "int16":
        values, dates, known = sort_by_date(tile, path, values, dates, known)
        values, valid = mask_integers(to_int16(values, known, tile, path), ~known)
    else:
        values, dates = sort_by_date(tile, path, values, dates)
        values, valid = mask_floats(values)
    if not valid.any():
        return absent(modality, f"none of its {len(dates)} images holds a known pixel")
    return {"values": values, "dates": dates, "valid": valid}


def image(modality: RawModality, values) -> dict:
    """A uint8 image (H,W,C) as `RawDataset.read` returns it; absent where all of it is 0, which stands for unknown in such images."""
    return {"values": values[None]} if values.any() else absent(modality, "all of its pixels are 0: nothing was recorded")


def is_simulated(root: pathlib.Path) -> bool:
    """Whether a folder says of itself that nothing in it was measured."""
    return (root / SIMULATED).is_file()
