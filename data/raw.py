"""What every raw dataset offers to preparation: an index, one tile at a time, and errors that name the file."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import rasterio

from omnisat_jax.errors import DataError

# Stored in place of a measurement that is missing; readers set it, normalisation turns it into "nothing known".
NO_DATA_INT16 = np.iinfo(np.int16).min

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
      inspect: tile id -> (kind, path, expected, found) of what is odd though it can be read, for `data.verify`.
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
    inspect: Callable[[str], Iterable[tuple]] = no_remarks
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


def load_array(path: pathlib.Path, *, tile, rank: int, what: str) -> np.ndarray:
    """np.load without pickles and with errors a person can act on."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(tile=tile, path=path, expected=what, found="no such file", advice="Restore it from the archive.") from None
    except (ValueError, EOFError, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise DataError(
            tile=tile, path=path, expected=f"{what} (a complete .npy array)",
            found=f"an unreadable file of {size} bytes ({error})",
            advice="It is truncated, empty or holds Python objects: restore it from the archive.",
        ) from error  # fmt: skip
    if not isinstance(array, np.ndarray) or array.ndim != rank:
        raise DataError(tile=tile, path=path, expected=f"{what} ({rank} dimensions)", found=f"shape {np.shape(array)}")
    return array


def load_geotiff(path: pathlib.Path, *, tile, bands: int, resolution: str) -> np.ndarray:
    """A uint8 GeoTIFF as (H,W,bands).

    Raises:
      DataError: an unreadable file, or other bands or numbers than expected.
    """
    try:
        with rasterio.open(path) as source:
            image = source.read()
    except rasterio.errors.RasterioError as error:
        raise DataError(
            tile=tile, path=path, expected=f"a GeoTIFF of {bands} bands", found=f"an unreadable file ({error})",
            advice="Restore it from the archive.",
        ) from error  # fmt: skip
    if image.shape[0] != bands or image.dtype != np.uint8:
        raise DataError(
            tile=tile, path=path, expected=f"{bands} uint8 bands at {resolution}", found=f"{image.dtype} {image.shape} (bands, rows, columns)"
        )  # fmt: skip
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def first_readable(tiles, read: Callable[[str], object]):
    """What `read` gives of the first tile that it can read: one broken file does not make a folder unusable.

    Raises:
      DataError: that of the first tile, where none can be read.
    """
    first = None
    for tile in tiles:
        try:
            return read(tile)
        except DataError as error:
            first = first or error
    raise first


def absent(modality: RawModality, remark: str = "") -> dict:
    """What a tile holds of a modality that it lacks.

    Args:
      remark: why, where there is a file all the same, such as one without a known pixel. It is counted in records and a finding of `data.verify`.
    """
    entry = {"values": np.zeros((0, *modality.shape), modality.dtype)}
    if modality.kind == "series":
        entry |= {"dates": np.zeros(0, np.int32), "valid": np.zeros(0, bool)}
    return entry | ({"remark": remark} if remark else {})


def sort_by_date(tile, path, values, dates):
    """Orders images and dates together, dates ascending (stable).

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
    order = np.argsort(dates, kind="stable")
    return values[order], dates[order]


def mask_integers(values, missing):
    """int16 (T,H,W,C) with `missing` (T,H,W) pixels set to no data, and which dates keep a pixel (T,)."""
    values = np.where(missing[..., None], np.int16(NO_DATA_INT16), values)
    return values, ~missing.all(axis=(1, 2))


def mask_floats(values):
    """float32 (T,H,W,C) with every non-finite number set to NaN (no data), and which dates keep a number (T,)."""
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    return values, np.isfinite(values).any(axis=(1, 2, 3))


def is_simulated(root: pathlib.Path) -> bool:
    """Whether a folder says of itself that nothing in it was measured."""
    return (root / SIMULATED).is_file()
