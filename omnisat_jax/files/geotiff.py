"""Reading of GeoTIFF files: always north up, and with everything the file declares about its values.

Only GDAL's GeoTIFF driver is used and only regular files are opened, as other formats, such as VRT, may refer to any file or address.

Letters: C bands, H W pixels.
"""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # GDAL's own errors, some of which rasterio does not convert
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from omnisat_jax.errors import DataError, reason
from omnisat_jax.files.formats import unreadable
from omnisat_jax.files.geotiff_sidecars import need_mask, need_sidecars
from omnisat_jax.files.paths import need_file
from omnisat_jax.missing import FILL
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

LARGEST = 2**31  # bytes of one read, and of one block of the file
SQUARE = 1e-6  # largest relative difference between width and height of a square pixel, from rounding
SUFFIXES = (".tif", ".tiff")
FAILURES = (RasterioError, CPLE_BaseError, OSError, ValueError, TypeError, UnicodeError, OverflowError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Footprint:
    """The area that an image covers.

    Attributes:
      crs: the coordinate reference system.
      bounds: left, bottom, right and top, in units of the reference system.
      pixel: side of a pixel, in the same units.
    """

    crs: CRS
    bounds: tuple[float, float, float, float]
    pixel: float

    def __str__(self) -> str:
        left, bottom, right, top = (f"{number:.10g}" for number in self.bounds)
        return f"x {left} to {right}, y {bottom} to {top} in {self.crs.to_string()}"

    def differs(self, other: "Footprint", tolerance: float) -> str:
        """Describes how `other` differs; "" if no edge is further away than `tolerance`, in units of the reference system."""
        if other.crs != self.crs:
            return f"{other}, another reference system"
        distance = max(abs(a - b) for a, b in zip(self.bounds, other.bounds, strict=True))
        return f"{other}, up to {distance:.10g} away" if distance > tolerance else ""


class GeoTIFF:
    """An open file; see `open_geotiff`.

    Attributes:
      path: the file.
      tile: ID of the tile, for messages.
      tags: metadata of the file.
      bands: one-based indices of the bands with values, without alpha channels.
      has_alpha: whether there is an alpha channel.
      has_colour_table: whether the numbers of a band stand for colors of a table.
      height: pixels.
      width: pixels.
      dtypes: one per band.
      names: one description per band, "" if it has none.
      scales: one per band; a value is stored * scale + offset.
      offsets: one per band.
      declares_unknown: whether the file declares that pixels may be unknown: by a nodata value within the range of its dtype, a mask, or
        an alpha channel.
      transform: affine transform of the north-up image, even if the rows of the file run northwards.
      crs: the coordinate reference system, or None.
      block: rows and columns of the rectangles in which the file stores pixels: strips or squares.
    """

    def __init__(self, source: Any, path: pathlib.Path, tile: str, bands: int | Callable[[dict], int] | None, advice: str):
        """Wraps an open rasterio dataset; see `open_geotiff` for the arguments."""
        self._advice, self._source, self.path, self.tile, self.tags = advice, source, path, tile, source.tags()
        alpha = {i + 1 for i, kind in enumerate(source.colorinterp) if kind == ColorInterp.alpha}
        # GDAL takes the last of four uint8 bands for alpha. If the file has exactly the expected bands, all of them hold values.
        self._alpha_is_measured = bool(alpha) and source.count == (bands(self.tags) if callable(bands) else bands)
        alpha = set() if self._alpha_is_measured else alpha
        self._alpha, self.has_alpha = tuple(sorted(alpha)), bool(alpha)
        self.has_colour_table = ColorInterp.palette in source.colorinterp
        self.bands = tuple(i for i in range(1, source.count + 1) if i not in alpha)
        self.height, self.width, self.crs = source.height, source.width, source.crs
        self.block: tuple[int, int] = max(source.block_shapes, key=math.prod, default=(1, 1))
        self.dtypes = tuple(source.dtypes[i - 1] for i in self.bands)
        self.names = tuple(source.descriptions[i - 1] or "" for i in self.bands)
        self.scales = tuple(float(source.scales[i - 1]) for i in self.bands)
        self.offsets = tuple(float(source.offsets[i - 1]) for i in self.bands)
        self._nodata = tuple(source.nodatavals[i - 1] for i in self.bands)
        ignored = MaskFlags.alpha if self._alpha_is_measured else None
        # No flag at all stands for a mask of each band.
        masked = any((MaskFlags.per_dataset in flags or not flags) and ignored not in flags for flags in source.mask_flag_enums)
        self.declares_unknown = bool(alpha) or masked or any(_holds(*pair) for pair in zip(self.dtypes, self._nodata, strict=True))
        found = source.transform
        self._placed = not found.is_identity
        self._south_up = self._placed and found.e > 0
        self.transform = (
            rasterio.Affine(found.a, -found.b, found.b * source.height + found.c, found.d, -found.e, found.e * source.height + found.f)
            if self._south_up
            else found
        )

    def error(self, expected: str, found: str, advice: str = "", kind: str = "unreadable") -> DataError:
        """Returns the error to raise if the file is not what is expected."""
        return DataError(tile=self.tile, path=self.path, expected=expected, found=found, advice=advice, kind=kind)

    def form(self) -> str:
        """Describes bands, dtype and size in words."""
        return f"{number_of(len(self.bands), 'band')}{' and alpha' if self.has_alpha else ''} of {' and '.join(sorted(set(self.dtypes)))}, {self.height}x{self.width} px"

    def need(self, *, bands: int | None = None, side: int | None = None, dtype: str | None = None, what: str = "") -> None:
        """Checks the header before any pixel is read.

        Args:
          bands: the expected number of bands; None allows any.
          side: the expected height and width in pixels; None allows any square.
          dtype: the expected dtype of all bands; None allows any.
          what: what the file is, for messages.

        Raises:
          DataError: the header differs.
        """
        fits = (bands is None or len(self.bands) == bands) and self.height == self.width and (side is None or self.width == side)
        if fits and (dtype is None or set(self.dtypes) == {dtype}):
            return
        size = f"{side}x{side} px" if side else "a square image"
        parts = [number_of(bands, 'band') if bands is not None else "", dtype or "", size]
        raise self.error(" ".join([what, *filter(None, parts)]).strip(), self.form())

    def need_plain(self) -> None:
        """Refuses a file whose bands have a scale or an offset, for readers that do not apply them.

        Raises:
          DataError: a band has one.
        """
        for name, scale, offset in zip(self.names, self.scales, self.offsets, strict=True):
            if (scale, offset) != (1.0, 0.0):
                raise self.error(
                    "plain values, without scale and offset", f"scale {scale:g} and offset {offset:g} of band {name or '1'}",
                    "Apply them first (gdal_translate -unscale -ot Float32).",
                )  # fmt: skip

    def need_declarations(self) -> None:
        """Refuses what a file declares about unknown pixels if GDAL would make something else of it, or nothing.

        Raises:
          DataError: a nodata value between the integers that pixels can be, or a mask beside the file that is not one of the image.
        """
        for dtype, nodata in zip(self.dtypes, self._nodata, strict=True):
            whole = nodata is None or not math.isfinite(nodata) or nodata == int(nodata)
            if not whole and not dtype.startswith("complex") and np.dtype(dtype).kind in "iu":
                raise self.error(f"a nodata value that pixels of {dtype} can have", f"{nodata:.10g}", "Correct it (gdal_edit.py -a_nodata).")
        used = any(MaskFlags.per_dataset in flags or not flags for flags in self._source.mask_flag_enums)
        need_mask(self.path.resolve(), self.tile, (self.height, self.width), used)

    def need_grid(self, what: str = "", *, square: bool = True) -> None:
        """Refuses a file without a georeference, or with pixels that are not square, rotated or mirrored.

        Args:
          what: what the file is, for messages.
          square: if false, pixels may have any shape but a degenerate one.

        Raises:
          DataError: the grid cannot be used.
        """
        t = self.transform
        if self.crs is None or not self._placed:
            expected = f"{what} with a coordinate reference system and a position in it".strip()
            if self._source.gcps[0]:
                found, advice = "ground control points only", "Warp it first (gdalwarp -t_srs)."
            elif self._placed:
                found, advice = "a position only", "Assign the system (gdal_edit.py -a_srs EPSG:CODE); a .prj file is not read."
            else:
                found, advice = "none" if self.crs is None else "a system only", "Assign them (gdal_edit.py -a_srs -a_ullr)."
            raise self.error(expected, found, advice, kind="georeference")
        if not square and all(map(math.isfinite, t[:6])) and not t.is_degenerate:
            return
        if not all(map(math.isfinite, t[:6])) or t.b or t.d or t.a <= 0 or t.e >= 0 or abs(t.a + t.e) > SQUARE * t.a:
            found = f"pixels of {t.a:.10g} x {t.e:.10g}, rotated by {t.b:.10g}, {t.d:.10g}"
            raise self.error(
                f"{what} with square pixels, north up".strip(), found, "Warp it first (gdalwarp -tr SIDE SIDE).", kind="georeference"
            )

    @property
    def footprint(self) -> Footprint | None:
        """The area that the image covers, or None if the file has no georeference.

        Raises:
          DataError: see `need_grid`.
        """
        if self.crs is None or not self._placed:
            return None
        self.need_grid()
        t = self.transform
        return Footprint(self.crs, (t.c, t.f + t.e * self.height, t.c + t.a * self.width, t.f), t.a)

    def read(self, window: tuple[int, int, int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Reads the stored values of all bands, and which of them are measurements.

        Args:
          window: first row, first column, rows and columns, counted from the north-west corner; None reads everything.

        Returns:
          The values (C,H,W) of one dtype, without scale and offset applied, and a bool mask (C,H,W) that is False for nodata, masked and fully
          transparent pixels, non-finite numbers, and fill values beyond FILL.

        Raises:
          DataError: more than LARGEST bytes, complex numbers, or unreadable pixels.
        """
        row, column, rows, columns = window or (0, 0, self.height, self.width)
        if any(np.dtype(kind).kind == "c" for kind in self.dtypes if not kind.startswith("complex_int")) or any(
            kind.startswith("complex") for kind in self.dtypes
        ):
            raise self.error("real numbers", "complex numbers", "Compute an intensity first.")
        size = len(self.bands) * rows * columns * max(np.dtype(kind).itemsize for kind in self.dtypes)
        if size > LARGEST:
            raise self.error(f"at most {LARGEST:,} bytes at a time", f"{size:,} ({self.form()})")
        if self._south_up:
            row = self.height - row - rows
        area = Window(column, row, columns, rows)  # pyright: ignore[reportCallIssue]  # an attrs class
        try:
            values, flags = self._source.read(self.bands, window=area), {flag for band in self._source.mask_flag_enums for flag in band}
            masked = any(MaskFlags.all_valid not in band for band in self._source.mask_flag_enums)
            masks = np.ones(values.shape, bool)
            if masked and not (self._alpha_is_measured and MaskFlags.alpha in flags):
                masks &= self._source.read_masks(self.bands, window=area) > 0
                if MaskFlags.per_dataset in flags:
                    masks &= self._source.dataset_mask(window=area)[None] > 0
            for band in self._alpha:
                masks &= self._source.read(band, window=area)[None] > 0
        except FAILURES as error:
            raise self.error("pixels that can be read", f"truncated or damaged ones ({reason(error)})", self._advice) from error
        for band, nodata in enumerate(self._nodata):
            if nodata is not None and nodata == nodata:
                masks[band] &= values[band] != nodata
        if values.dtype.kind == "f":
            for band, mask in zip(values, masks):  # one by one, as images can be large
                mask &= np.isfinite(band)
                with np.errstate(invalid="ignore"):
                    mask &= np.abs(band) < FILL
        if self._south_up:
            values, masks = values[:, ::-1], masks[:, ::-1]
        return np.ascontiguousarray(values), np.ascontiguousarray(masks)


def _holds(dtype: str, nodata: float | None) -> bool:
    """Whether a nodata value can occur in an array of this dtype."""
    kind = np.dtype(dtype) if not dtype.startswith("complex") else np.dtype(float)
    if nodata is None or kind.kind not in "iu":
        return nodata is not None
    return math.isfinite(nodata) and nodata == int(nodata) and np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max


def is_geotiff(path: StrPath) -> bool:
    """Whether a file name ends like that of a GeoTIFF, in any case of its letters."""
    return pathlib.Path(path).suffix.lower() in SUFFIXES


@contextlib.contextmanager
def open_geotiff(
    path: StrPath,
    *,
    tile: str = "-",
    what: str = "a GeoTIFF",
    root: StrPath | None = None,
    bands: int | Callable[[dict], int] | None = None,
    advice: str = "Restore it from the archive.",
) -> Iterator[GeoTIFF]:
    """Opens a file while the body runs.

    Args:
      path: the file.
      tile: ID of the tile, for messages.
      what: what the file is, for messages.
      root: see `need_file`.
      bands: the number of bands with values, if known, or a function that derives it from the tags. A file with exactly as many bands has no
        alpha channel, however its bands are labeled.
      advice: what to do about a file that is missing or damaged, for messages.

    Raises:
      DataError: the file is missing, not a GeoTIFF, or has blocks that are too large for memory.
    """
    path = need_file(path, what=what, tile=tile, root=root, advice=advice)
    with contextlib.ExitStack() as stack:
        try:
            # Look for accompanying files by name instead of listing the folder, which may be large.
            stack.enter_context(rasterio.Env(GDAL_NUM_THREADS=1, GDAL_DISABLE_READDIR_ON_OPEN="TRUE"))
            need_sidecars(path.resolve(), tile)
            source = stack.enter_context(rasterio.open(path.resolve(), driver="GTiff"))
            opened = GeoTIFF(source, path, tile, bands, advice)
            images = len(source.subdatasets)
            blocks = max(rows * columns for rows, columns in source.block_shapes)
            block = blocks * max(np.dtype(kind).itemsize for kind in source.dtypes if not kind.startswith("complex_int")) if source.count else 0
        except DataError:
            raise
        except FAILURES as error:
            found, todo = unreadable(path, error, "it is a TIFF image", advice)
            expected = what if "GeoTIFF" in what else f"{what}: a GeoTIFF"
            raise DataError(tile=tile, path=path, expected=expected, found=found, advice=todo) from error
        if images > 1:
            raise opened.error("one image", f"{images} in one file", "Only the first would be read: store each in a file of its own (gdal_translate).")
        opened.need_declarations()
        if not opened.bands:
            raise opened.error("at least one band of values", "none")
        if block > LARGEST:
            raise opened.error(f"blocks of at most {LARGEST:,} bytes", f"{block:,}")
        yield opened


@dataclasses.dataclass(frozen=True)
class ImageForm:
    """The expected form of a square uint8 image.

    Attributes:
      bands: number of bands.
      side: height and width in pixels; None allows any.
      crop: side in pixels of the central square to read; None reads everything.
    """

    bands: int
    side: int | None = None
    crop: int | None = None


def read_image(
    path: StrPath, form: ImageForm, *, tile: str, what: str, root: StrPath | None = None
) -> tuple[np.ndarray, Footprint | None]:
    """Reads a square uint8 image.

    Pixels that the file declares unknown become 0, the value that PASTIS-HD, TreeSatAI and FLAIR use for them.

    Args:
      path: the file.
      form: its expected form, and the part to read.
      tile: ID of the tile, for messages.
      what: what the image is, for messages.
      root: see `need_file`.

    Returns:
      The image (H,W,C), north up, and the footprint of the whole file or None.

    Raises:
      DataError: the file is unreadable or of another form.
    """
    with open_geotiff(path, tile=tile, what=what, root=root, bands=form.bands) as source:
        source.need(bands=form.bands, side=form.side, dtype="uint8", what=what)
        source.need_plain()
        crop = form.crop
        if crop and source.height < crop:
            raise source.error(f"{what} of at least {crop}x{crop} px", source.form())
        first = (source.height - crop) // 2 if crop else 0
        values, known = source.read((first, first, crop, crop) if crop else None)
        if not known.all():
            values = np.where(known, values, 0)
        return np.ascontiguousarray(values.transpose(1, 2, 0)), source.footprint
