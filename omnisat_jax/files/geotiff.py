"""GeoTIFF from outside: north up whatever its rows, and with everything it says about its values.

Only GDAL's GeoTIFF driver is used and only regular files are opened: other formats (a VRT among them) may lead to any file or address.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import xml.etree.ElementTree
from collections.abc import Callable

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # GDAL's own errors, which rasterio lets through in places
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from omnisat_jax.errors import DataError, reason
from omnisat_jax.files.paths import need_file
from omnisat_jax.missing import FILL

LARGEST = 2**31  # bytes of one read, and of one block of a file
LARGEST_XML = 2**24  # bytes of metadata beside a file
SQUARE = 1e-6  # relative difference of width and height of a pixel that is rounding
SUFFIXES = (".tif", ".tiff")
# What GDAL reads beside a GeoTIFF: a mask of any format, metadata, and where it lies.
MASKS = (".msk", ".MSK")
SIDECARS = (*MASKS, ".aux.xml", ".AUX.XML")
FAILURES = (rasterio.errors.RasterioError, CPLE_BaseError, OSError, ValueError, TypeError, UnicodeError, OverflowError, MemoryError)
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of TIFF and BigTIFF


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Where an image lies: its reference system, the bounds (left, bottom, right, top) in its units, and the side of a pixel."""

    crs: rasterio.crs.CRS
    bounds: tuple[float, float, float, float]
    pixel: float

    def __str__(self):
        left, bottom, right, top = (f"{number:.10g}" for number in self.bounds)
        return f"x {left} to {right}, y {bottom} to {top} in {self.crs.to_string()}"

    def differs(self, other: "Footprint", tolerance: float) -> str:
        """In what `other` lies elsewhere, in words; "" where no edge is further away than `tolerance` units of this system."""
        if other.crs != self.crs:
            return f"{other}, another reference system"
        away = max(abs(a - b) for a, b in zip(self.bounds, other.bounds, strict=True))
        return f"{other}, up to {away:.10g} away" if away > tolerance else ""

    def longitude_latitude(self) -> np.ndarray:
        """(2,) float64 of the centre, degrees."""
        left, bottom, right, top = self.bounds
        (x,), (y,) = rasterio.warp.transform(self.crs, "EPSG:4326", [(left + right) / 2], [(bottom + top) / 2])
        return np.array([x, y])


class GeoTIFF:
    """An open file; see `open_geotiff`.

    Attributes:
      path, tile: for messages.
      tags: of the file.
      bands: positions (from 1) of the bands that hold values, without an alpha channel.
      has_alpha: whether there is such a channel.
      height, width: in pixels.
      dtypes: of the bands.
      names: descriptions of the bands, "" where there is none.
      scales, offsets: of the bands: a value is stored * scale + offset.
      declares_unknown: whether the file says that pixels may be unknown: a nodata value that its dtype holds, a mask, or an alpha channel.
      transform: north up, also where the rows of the file run to the north.
      crs: or None.
    """

    def __init__(self, source, path, tile, bands=None):
        self._source, self.path, self.tile, self.tags = source, path, tile, source.tags()
        alpha = {i + 1 for i, kind in enumerate(source.colorinterp) if kind == ColorInterp.alpha}
        # Where the expected bands are all there are, the one that is called alpha is one of them: GDAL calls the last of four bytes so.
        self._alpha_is_measured = bool(alpha) and source.count == (bands(self.tags) if callable(bands) else bands)
        alpha = set() if self._alpha_is_measured else alpha
        self._alpha, self.has_alpha = tuple(sorted(alpha)), bool(alpha)
        self.bands = tuple(i for i in range(1, source.count + 1) if i not in alpha)
        self.height, self.width, self.crs = source.height, source.width, source.crs
        self.dtypes = tuple(source.dtypes[i - 1] for i in self.bands)
        self.names = tuple(source.descriptions[i - 1] or "" for i in self.bands)
        self.scales = tuple(float(source.scales[i - 1]) for i in self.bands)
        self.offsets = tuple(float(source.offsets[i - 1]) for i in self.bands)
        self._nodata = tuple(source.nodatavals[i - 1] for i in self.bands)
        ignored = MaskFlags.alpha if self._alpha_is_measured else None
        masked = any(MaskFlags.per_dataset in flags and ignored not in flags for flags in source.mask_flag_enums)
        self.declares_unknown = bool(alpha) or masked or any(_holds(*pair) for pair in zip(self.dtypes, self._nodata, strict=True))
        found = source.transform
        self._placed = not found.is_identity
        self._south_up = self._placed and found.e > 0
        self.transform = (
            rasterio.Affine(found.a, found.b, found.c, found.d, -found.e, found.f + found.e * source.height) if self._south_up else found
        )

    def error(self, expected, found, advice="", kind="unreadable") -> DataError:
        """What to raise where the file is not what is expected."""
        return DataError(tile=self.tile, path=self.path, expected=expected, found=found, advice=advice, kind=kind)

    def form(self) -> str:
        """Bands, dtype and size in words."""
        return f"{len(self.bands)} bands{' and alpha' if self.has_alpha else ''} of {' and '.join(sorted(set(self.dtypes)))}, {self.height}x{self.width} px"

    def need(self, *, bands: int | None = None, side: int | None = None, dtype: str | None = None, what: str = "") -> None:
        """Compares what the header says with what is expected, before anything is read.

        Raises:
          DataError: another number of bands, another size than side x side pixels (None: any square), or another dtype.
        """
        fits = (bands is None or len(self.bands) == bands) and self.height == self.width and (side is None or self.width == side)
        if fits and (dtype is None or set(self.dtypes) == {dtype}):
            return
        size = f"{side}x{side} px" if side else "a square image"
        parts = [f"{bands} bands" if bands is not None else "", dtype or "", size]
        raise self.error(" ".join([what, *filter(None, parts)]).strip(), self.form())

    def need_plain(self) -> None:
        """Refuses a file whose bands have a scale or an offset, where nothing applies them.

        Raises:
          DataError: one of them does.
        """
        for name, scale, offset in zip(self.names, self.scales, self.offsets, strict=True):
            if (scale, offset) != (1.0, 0.0):
                raise self.error(
                    "values as they are, without scale and offset", f"scale {scale:g} and offset {offset:g} of band {name or '1'}",
                    "Apply them first (gdal_translate -unscale -ot Float32).",
                )  # fmt: skip

    def need_grid(self, what: str = "") -> None:
        """Refuses pixels that are not square, or lie turned or mirrored on the ground.

        Raises:
          DataError: they are, or there is no reference system.
        """
        t = self.transform
        if self.crs is None or not self._placed:
            points, advice = bool(self._source.gcps[0]), "Warp it first (gdalwarp -t_srs)."
            expected, found = f"{what} with a coordinate reference system and a place in it", "ground control points only" if points else "none"
            raise self.error(expected.strip(), found, advice if points else "", kind="georeference")
        if not all(map(math.isfinite, t[:6])) or t.b or t.d or t.a <= 0 or t.e >= 0 or abs(t.a + t.e) > SQUARE * t.a:
            found = f"pixels of {t.a:.10g} x {t.e:.10g}, turned by {t.b:.10g}, {t.d:.10g}"
            raise self.error(
                f"{what} with square pixels, north up".strip(), found, "Warp it first (gdalwarp -tr SIDE SIDE).", kind="georeference"
            )

    @property
    def footprint(self) -> Footprint | None:
        """Where it lies; None for a file without a reference system or a place in it.

        Raises:
          DataError: see `need_grid`.
        """
        if self.crs is None or not self._placed:
            return None
        self.need_grid()
        t = self.transform
        return Footprint(self.crs, (t.c, t.f + t.e * self.height, t.c + t.a * self.width, t.f), t.a)

    def read(self, window: tuple[int, int, int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Stored values of all bands, and which of them are measurements.

        Args:
          window: (first row, first column, rows, columns) from the north-west corner; None = everything.

        Returns:
          values (C,H,W) of one dtype, without scale and offset; known (C,H,W) bool: False for nodata, masked and wholly transparent pixels,
          numbers that are not finite, and fill values beyond FILL.

        Raises:
          DataError: more than LARGEST bytes, complex numbers, or pixels that cannot be read.
        """
        row, column, rows, columns = window or (0, 0, self.height, self.width)
        if any(np.dtype(kind).kind == "c" for kind in self.dtypes if not kind.startswith("complex_int")) or any(
            kind.startswith("complex") for kind in self.dtypes
        ):
            raise self.error("real numbers", "complex ones", "Compute an intensity first.")
        size = len(self.bands) * rows * columns * max(np.dtype(kind).itemsize for kind in self.dtypes)
        if size > LARGEST:
            raise self.error(f"at most {LARGEST:,} bytes at a time", f"{size:,} ({self.form()})")
        if self._south_up:
            row = self.height - row - rows
        place = Window(column, row, columns, rows)
        try:
            values, flags = self._source.read(self.bands, window=place), {flag for band in self._source.mask_flag_enums for flag in band}
            masks = np.ones(values.shape, bool)
            if flags - {MaskFlags.all_valid} and not (self._alpha_is_measured and MaskFlags.alpha in flags):
                masks &= self._source.read_masks(self.bands, window=place) > 0
                if MaskFlags.per_dataset in flags:
                    masks &= self._source.dataset_mask(window=place)[None] > 0
            for band in self._alpha:
                masks &= self._source.read(band, window=place)[None] > 0
        except FAILURES as error:
            raise self.error("pixels that can be read", reason(error), "It is truncated or damaged: restore it.") from error
        for band, nodata in enumerate(self._nodata):
            if nodata is not None and nodata == nodata:
                masks[band] &= values[band] != nodata
        if values.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                masks &= np.isfinite(values) & (np.abs(values) < FILL)
        if self._south_up:
            values, masks = values[:, ::-1], masks[:, ::-1]
        return np.ascontiguousarray(values), np.ascontiguousarray(masks)


def _holds(dtype, nodata):
    kind = np.dtype(dtype) if not dtype.startswith("complex") else np.dtype(float)
    if nodata is None or kind.kind not in "iu":
        return nodata is not None
    return math.isfinite(nodata) and nodata == int(nodata) and np.iinfo(kind).min <= nodata <= np.iinfo(kind).max


def _need_sidecars(path, tile):
    """Refuses files beside a GeoTIFF that would hang, or lead elsewhere as a VRT does."""
    for suffix in SIDECARS:
        beside = path.with_name(path.name + suffix)
        if not os.path.lexists(beside):
            continue
        need_file(beside, what="a file beside a GeoTIFF", tile=tile, advice="Restore it, or remove it.")
        if suffix in MASKS:
            with open(beside, "rb") as source:
                start = source.read(4)
            if start not in MAGIC:
                raise DataError(
                    tile=tile, path=beside, expected="a mask that is a TIFF", found="a file of another kind", advice="Remove it."
                )
        else:  # of one that it cannot read, GDAL says nothing, and what it declares is lost
            try:
                if beside.stat().st_size > LARGEST_XML:
                    raise ValueError(f"{beside.stat().st_size:,} bytes")
                xml.etree.ElementTree.parse(beside)
            except (xml.etree.ElementTree.ParseError, ValueError, LookupError, OSError) as error:
                raise DataError(
                    tile=tile, path=beside, expected="metadata of an image in XML", found=reason(error), advice="Restore it, or remove it."
                ) from error


def is_geotiff(path) -> bool:
    """Whether a file's name says that it is a GeoTIFF, in small letters or capitals."""
    return pathlib.Path(path).suffix.lower() in SUFFIXES


@contextlib.contextmanager
def open_geotiff(path, *, tile: str = "-", what: str = "a GeoTIFF", root=None, bands: int | Callable[[dict], int] | None = None):
    """Yields a `GeoTIFF`.

    Args:
      path: regular file.
      tile, what: for messages.
      root: see `need_file`.
      bands: how many hold values, if known, or what tells it from the tags; a file of so many has no alpha channel, whatever it calls them.

    Raises:
      DataError: missing, no GeoTIFF, or one whose blocks do not fit into memory.
    """
    path = need_file(path, what=what, tile=tile, root=root)
    with contextlib.ExitStack() as stack:
        try:
            # Files beside it are asked for by name, not looked up in a folder of many.
            stack.enter_context(rasterio.Env(GDAL_NUM_THREADS=1, GDAL_DISABLE_READDIR_ON_OPEN="TRUE"))
            _need_sidecars(path.resolve(), tile)
            source = stack.enter_context(rasterio.open(path.resolve(), driver="GTiff"))
            opened = GeoTIFF(source, path, tile, bands)
            images = len(source.subdatasets)
            blocks = max(rows * columns for rows, columns in source.block_shapes)
            block = blocks * max(np.dtype(kind).itemsize for kind in source.dtypes if not kind.startswith("complex_int")) if source.count else 0
        except DataError:
            raise
        except FAILURES as error:
            raise DataError(
                tile=tile, path=path, expected=what if "GeoTIFF" in what else f"{what}: a GeoTIFF",
                found=f"an unreadable file of {path.stat().st_size} bytes ({reason(error)})", advice="Restore it from the archive.",
            ) from error  # fmt: skip
        if images > 1:
            raise opened.error("one image", f"{images} in one file", "Only the first would be read: store each in a file of its own (gdal_translate).")
        if not opened.bands:
            raise opened.error("at least one band of values", "none")
        if block > LARGEST:
            raise opened.error(f"blocks of at most {LARGEST:,} bytes", f"{block:,}")
        yield opened


def read_image(
    path, *, tile: str, bands: int, side: int | None, what: str, root=None, crop: int | None = None
) -> tuple[np.ndarray, Footprint | None]:
    """A square uint8 image (H,W,bands), north up, and where all of it lies.

    Pixels that the file declares unknown become 0, as PASTIS-HD, TreeSatAI and FLAIR store them.

    Args:
      side: of the image, pixels; None = any.
      crop: side of the central square that is read; None = all.

    Raises:
      DataError: an unreadable file, or other bands, numbers or size than expected.
    """
    with open_geotiff(path, tile=tile, what=what, root=root, bands=bands) as source:
        source.need(bands=bands, side=side, dtype="uint8", what=what)
        source.need_plain()
        if crop and source.height < crop:
            raise source.error(f"{what} of at least {crop}x{crop} px", source.form())
        first = (source.height - crop) // 2 if crop else 0
        values, known = source.read((first, first, crop, crop) if crop else None)
        if not known.all():
            values = np.where(known, values, 0)
        return np.ascontiguousarray(values.transpose(1, 2, 0)), source.footprint


def bounds_in(footprint: Footprint, crs) -> tuple[float, float, float, float]:
    """The bounds of a footprint in another reference system."""
    return transform_bounds(footprint.crs, crs, *footprint.bounds)
