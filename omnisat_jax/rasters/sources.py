"""The files of each sensor, and what each file declares about its bands and values."""

import contextlib
import dataclasses
import datetime
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from omnisat_jax.dates import find_date
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files.geotiff import SUFFIXES, GeoTIFF, is_geotiff, open_geotiff
from omnisat_jax.files.paths import check_names, entries, is_stray, need_file, need_folder
from omnisat_jax.files.tiff_structure import read_structure
from omnisat_jax.modalities import check_sensor_name
from omnisat_jax.rasters.bands import BandNames
from omnisat_jax.rasters.file_names import ADVICE, date_of, format_advice, series_dates
from omnisat_jax.rasters.grid import RasterError, RasterGrid, raster_grid
from omnisat_jax.words import number_of

# Files beside GeoTIFFs that are no images.
_BESIDE = (".xml", ".msk", ".ovr", ".tfw", ".tifw", ".wld", ".tab", ".prj", ".txt", ".md", ".json", ".csv", ".md5", ".qml", ".pdf", ".html")


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is allowed of the files of a sensor.

    Attributes:
      warped: whether files will be brought to another grid, so that they may have any grid, and a date several files.
      skip_bad: whether files that cannot be opened are left out and remarked on, instead of refused.
    """

    warped: bool = False
    skip_bad: bool = False


STRICT = Rules()


@dataclasses.dataclass(frozen=True)
class Product:
    """What metadata beside a file say about the product that it is part of.

    Attributes:
      sentinel_2: whether it is a product of Sentinel-2.
      baseline: its processing baseline, 509 for 05.09; None = not stated.
      harmonised: whether the offset of baseline 04.00 has been removed from its values already.
    """

    sentinel_2: bool
    baseline: int | None = None
    harmonised: bool = False


@dataclasses.dataclass(frozen=True)
class Layer:
    """One file of a sensor.

    Attributes:
      grid: where it lies.
      day: YYYYMMDD, or "" for an image.
      order: positions of the sensor's bands in the file.
      described: whether the file names its bands.
      dtype: of its pixels.
      scales, offsets: of the sensor's bands, in their order; a physical value is stored * scale + offset.
      declares_unknown: whether the file declares that pixels may be unknown.
      count: number of bands with values, if given by the user (GDAL may call the fourth band of uint8 alpha); or None.
      product: takes the place of the name of the file; None = the name says what is known.
      block: rows and columns of the rectangles in which the file stores pixels.
    """

    grid: RasterGrid
    day: str
    order: tuple[int, ...]
    described: bool
    dtype: np.dtype
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    declares_unknown: bool
    count: int | None = None
    product: Product | None = None
    block: tuple[int, int] = (1, 1)

    @property
    def path(self) -> pathlib.Path:
        """The file."""
        return self.grid.path

    @property
    def is_scaled(self) -> bool:
        """Whether the file declares a scale or an offset."""
        return any(scale != 1 for scale in self.scales) or any(self.offsets)

    @property
    def text(self) -> str:
        """The file and its date, if any, for messages."""
        return f"{self.path} ({self.day})" if self.day else f"{self.path}"


@dataclasses.dataclass(frozen=True)
class Source:
    """One sensor.

    Attributes:
      name: of the sensor.
      kind: "series" or "image".
      layers: its files in the order of dates, then of names; without dates for an image.
      bands: names of its bands.
      remarks: what the user should know, in words.
    """

    name: str
    kind: str
    layers: tuple[Layer, ...]
    bands: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def dates(self) -> tuple[str, ...]:
        """YYYYMMDD of each date, in order; () for an image."""
        return tuple(dict.fromkeys(layer.day for layer in self.layers if layer.day))


def series(name: str, folder: str | os.PathLike, bands: Sequence[str] = (), rules: Rules = STRICT) -> Source:
    """A series from the GeoTIFFs in a folder.

    Args:
      name: of the sensor.
      folder: of GeoTIFFs whose names contain their date.
      bands: names of the bands; () = as the files describe them.
      rules: what is allowed of the files.

    Raises:
      UserError: no file, a file without a date in its name, two files of one date unless `rules.warped`, or files that do not fit together.
    """
    files, remarks = _geotiffs(f"series {name}", need_folder(folder, what=f"a folder of GeoTIFFs of series {name}", advice="Check the path."))
    dated = series_dates(files, one_file_per_date=not rules.warped)
    return _source(name, "series", sorted(dated), bands, remarks, rules)


def image(name: str, path: str | os.PathLike, bands: Sequence[str] = (), rules: Rules = STRICT) -> Source:
    """One image.

    Args:
      name: of the sensor.
      path: GeoTIFF; if `rules.warped`, also a folder of GeoTIFFs that are parts of the image.
      bands: names of the bands; () = as the file describes them.
      rules: what is allowed of the files.

    Raises:
      UserError: an unusable file.
    """
    if pathlib.Path(path).is_dir() and not rules.warped:
        raise RasterError(f"{path}: expected one GeoTIFF of the image {name}, found a folder; name a file, or use --series for dated files")
    files, remarks = _geotiffs(name, pathlib.Path(path)) if rules.warped and pathlib.Path(path).is_dir() else ([pathlib.Path(path)], [])
    return _source(name, "image", [("", file) for file in files], bands, remarks, rules)


def _geotiffs(what: str, folder: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
    """The GeoTIFFs in a folder, and what is said about other files.

    Raises:
      RasterError: there is none.
    """
    files = entries(folder)
    found = [path for path in files if is_geotiff(path)]
    others = [path for path in files if not is_geotiff(path) and path.suffix.lower() not in _BESIDE]
    # Those of macOS, ._NAME, are no images.
    hidden = sorted(path for path in folder.iterdir() if is_geotiff(path) and is_stray(path.name) and not path.name.startswith("._"))
    if not found:
        instead = ", ".join(f"the folder {path.name}" if path.is_dir() else path.name for path in (*others, *hidden)[:3]) or "none"
        advice = next((f". {text}" for path in others if (text := format_advice(path)) != ADVICE), "")
        raise RasterError(f"{folder}: expected GeoTIFFs of {what} ({' or '.join(SUFFIXES)}), found {instead}{advice}")
    remarks = []
    for noun, paths in (("file", [path for path in others if not path.is_dir()]), ("folder", [path for path in others if path.is_dir()])):
        remarks += [f"not read, as they are not GeoTIFFs: {number_of(len(paths), noun)} in {folder}, such as {paths[0].name}"] if paths else []
    remarks += [f"not read, as they are hidden: {number_of(len(hidden), 'file')} in {folder}, such as {hidden[0].name}"] if hidden else []
    return found, remarks


def parse_source(text: str, kind: str, rules: Rules = STRICT) -> Source:
    """Parses NAME=PATH or NAME=PATH:BAND,BAND,... and reads the headers of the files.

    Args:
      text: value of --series or --image.
      kind: "series" or "image".
      rules: what is allowed of the files.

    Raises:
      UserError: another form, or files that do not fit together.
    """
    name, equals, rest = text.partition("=")
    if not equals or not rest:
        raise RasterError(f"--{kind}: expected NAME=PATH or NAME=PATH:BAND,BAND, found {text!r}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise RasterError(f"--{kind}: expected a sensor name of lower-case letters, digits and _, found {name!r}")
    make = series if kind == "series" else image
    path, colon, bands = rest.rpartition(":")
    # A colon may be part of a path, as in C:\data.
    if not colon or not path or re.search(r"[/\\]", bands) and "," not in bands or pathlib.Path(rest).exists():
        return make(name, rest, (), rules)
    names = bands.split(",")
    if not all(band.strip() for band in names):
        raise RasterError(f"--{kind}: expected names of bands after the colon, joined by commas, found {text!r}")
    return make(name, path, tuple(band.strip() for band in names), rules)


def _source(
    name: str, kind: str, dated: Sequence[tuple[str, pathlib.Path]], bands: Sequence[str], remarks: Sequence[str], rules: Rules
) -> Source:
    """A source from its files (day, path), sorted."""
    check_sensor_name(name)
    headers, bad = [], []
    for day, path in dated:
        try:
            headers.append((day, read_header(path, len(bands) or None, not rules.warped)))
        except DataError as error:
            bad.append(error)
            if not rules.skip_bad or len(bad) == len(dated):
                raise
    remarks = [*remarks, *(f"left out: {error}" for error in bad)]
    first = next((header for _, header in headers if any(header.names)), headers[0][1])
    names = BandNames(first.grid.path, first.names, bands)
    check_names(names.names, what="band", path=first.grid.path)
    layers = []
    for day, header in headers:
        order = names.order(header.grid.path, header.names)
        layers.append(
            Layer(
                grid=header.grid,
                day=day,
                order=order,
                described=any(header.names),
                dtype=header.dtype,
                scales=tuple(header.scales[position] for position in order),
                offsets=tuple(header.offsets[position] for position in order),
                declares_unknown=header.declares_unknown,
                count=len(bands) or None,
                block=header.block,
            )
        )
    if any(header.has_alpha for _, header in headers):
        remarks = [*remarks, "its alpha channel marks unknown pixels; if that band was measured, name all bands with NAME=PATH:BAND,BAND"]
    if any(header.has_colour_table for _, header in headers):
        remarks = [*remarks, "its numbers are those of a color table; if they are no measurements, expand the colors first (gdal_translate -expand rgb)"]
    turned = [layer for layer in layers if list(layer.order) != sorted(layer.order)]
    if turned:
        silent = [layer for layer in layers if not layer.described]
        if silent and not bands:
            raise RasterError(
                f"{silent[0].path}: expected descriptions of its bands, as {turned[0].path} describes its own in another order than "
                f"{first.grid.path}, found none; describe them (rasterio: dataset.descriptions), or name the bands with NAME=PATH:BAND,BAND"
            )
        remarks = [*remarks, f"bands of {len(turned)} of {number_of(len(layers), 'file')} were put in the order {', '.join(names.names)}, by their descriptions"]
    return Source(name, kind, tuple(layers), names.names, tuple(remarks))


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file declares about itself.

    Attributes:
      grid: where it lies.
      names, scales, offsets: of its bands in their order in the file; names are "" where there are none.
      dtype: of its pixels.
      declares_unknown: whether it declares that pixels may be unknown.
      has_alpha: whether it has an alpha channel.
      has_colour_table: whether its numbers stand for colors of a table.
      block: rows and columns of the rectangles in which it stores pixels.
    """

    grid: RasterGrid
    names: tuple[str, ...]
    dtype: np.dtype
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    declares_unknown: bool
    has_alpha: bool
    has_colour_table: bool
    block: tuple[int, int]


def read_header(path: pathlib.Path, count: int | None, square: bool) -> Header:
    """Reads what a GeoTIFF declares.

    Args:
      path: the file.
      count: number of bands with values, if known.
      square: whether pixels must be square and not rotated.

    Raises:
      DataError: no GeoTIFF, no georeference, or values that cannot be used.
    """
    with _opened(path, "a raster: a GeoTIFF", count) as source:
        dtype = np.dtype(source.dtypes[0]) if not any(kind.startswith("complex") for kind in source.dtypes) else np.dtype(complex)
        if dtype.kind == "c":
            raise source.error("real numbers", f"complex ones ({source.form()})", "Compute an intensity first.")
        for scale, offset in zip(source.scales, source.offsets, strict=True):
            if not np.isfinite([scale, offset]).all() or scale == 0:
                raise source.error("a finite scale other than 0 and a finite offset", f"scale {scale:g} and offset {offset:g}")
        return Header(
            raster_grid(source, square=square), source.names, dtype, source.scales, source.offsets, source.declares_unknown, source.has_alpha,
            source.has_colour_table, source.block,
        )  # fmt: skip


@contextlib.contextmanager
def _opened(path: pathlib.Path, what: str, count: int | None = None) -> Iterator[GeoTIFF]:
    """Opens a file whose pixels will be needed, all of which it must store, or declare as unknown.

    Raises:
      DataError: no GeoTIFF, one that is cut off, or one that leaves out pixels.
    """
    need_file(path, what=what, advice=format_advice(path))
    size, structure = path.stat().st_size, read_structure(path)
    if size < structure.size:
        raise DataError(
            tile="-", path=path, expected=f"at least {structure.size:,} bytes, as its header declares", found=f"{size:,}", advice=f"It is cut off. {format_advice(path)}"
        )
    with open_geotiff(path, what=what, bands=count, advice=format_advice(path)) as source:
        if structure.missing and not source.declares_unknown:
            raise source.error(
                "pixels everywhere, or a nodata value for the missing ones", f"{structure.missing:,} of {number_of(structure.blocks, 'block')} of pixels not stored",
                "They would be read as 0: if they are unknown, declare it (gdal_edit.py -a_nodata 0); if they are 0, store them (gdal_translate).",
            )  # fmt: skip
        yield source


def read_labels_grid(path: pathlib.Path) -> RasterGrid:
    """The grid of the labels, from their header.

    Raises:
      UserError: not a single band of integers.
    """
    with _opened(path, "labels: a GeoTIFF") as source:
        if len(source.bands) != 1 or np.dtype(source.dtypes[0]).kind not in "iu":
            raise source.error("one band of integers, such as uint8", source.form())
        source.need_plain()
        return raster_grid(source, square=True)


def read_grid(path: pathlib.Path) -> RasterGrid:
    """The grid of any raster, from its header.

    Raises:
      UserError: pixels that are not square, or no reference system.
    """
    with open_geotiff(path, what="a raster: a GeoTIFF", advice=format_advice(path)) as source:
        return raster_grid(source, square=True)


def sensing_date(layer: Layer) -> datetime.date | None:
    """The date of a file of a series, or the one in the name of an image."""
    day = layer.day or date_of(layer.path)
    return find_date(day) if day else None


def need_sources(sources: Sequence[Source]) -> None:
    """Checks the names of sensors.

    Raises:
      UserError: no sensor, two of one name, or an invalid name.
    """
    names = [check_sensor_name(source.name) for source in sources]
    if not names:
        raise RasterError("expected at least one --series or --image, found none")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"expected a distinct name for every sensor, found {', '.join(twice)} more than once")
