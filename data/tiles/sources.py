"""The rasters that are cut: which files a sensor has, and what each of them says of its bands and values."""

import dataclasses
import datetime
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from data.tiles.bands import BandNames
from data.tiles.description import check_names, check_sensor_name
from data.tiles.grid import CutError, Place, place_of
from data.tiles.layout import KINDS, parse_day
from omnisat_jax.errors import UserError
from omnisat_jax.files.geotiff import SUFFIXES, is_geotiff, open_geotiff
from omnisat_jax.files.paths import entries, need_file, need_folder

_DATE = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)", re.ASCII)
# Files beside GeoTIFFs that hold no dates of their own.
_BESIDE = (".xml", ".msk", ".ovr", ".tfw", ".tifw", ".wld", ".prj", ".txt", ".md", ".json", ".csv", ".md5", ".qml", ".pdf", ".html")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One file of a sensor.

    Attributes:
      place: where it lies.
      day: YYYYMMDD, or "" for an image.
      order: positions in the file of the sensor's bands.
      described: whether it names its bands.
      dtype: of its pixels.
      scales, offsets: of the sensor's bands, in their order: a physical value is stored * scale + offset.
      declares_unknown: whether it says that pixels may be unknown.
      count: bands that hold values, where the user says so: a fourth band of bytes may be called alpha; or None.
    """

    place: Place
    day: str
    order: tuple[int, ...]
    described: bool
    dtype: np.dtype
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    declares_unknown: bool
    count: int | None = None

    @property
    def path(self) -> pathlib.Path:
        """The file."""
        return self.place.path

    @property
    def text(self) -> str:
        """The file, and its date if it has one, for messages."""
        return f"{self.path} ({self.day})" if self.day else f"{self.path}"


@dataclasses.dataclass(frozen=True)
class Source:
    """One sensor: the files of its dates in order (one without a date for an image), and the names of its bands."""

    name: str
    kind: str
    layers: tuple[Layer, ...]
    bands: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def dates(self) -> tuple[str, ...]:
        """YYYYMMDD of each file; () for an image."""
        return tuple(layer.day for layer in self.layers if layer.day)


def series(name: str, folder: str | os.PathLike, bands: Sequence[str] = ()) -> Source:
    """A series from the GeoTIFFs of a folder.

    Raises:
      UserError: no file, one without a date in its name or two of one date, or files that do not fit together.
    """
    folder = need_folder(folder, what=f"a folder of GeoTIFFs of series {name}")
    files = [path for path in entries(folder) if is_geotiff(path) or path.is_file()]
    dated = {}
    for path in filter(is_geotiff, files):
        day = date_of(path)
        if day is None:
            raise CutError(f"{path}: expected a date in the file's name (YYYYMMDD or YYYY-MM-DD), found none that exists")
        if day in dated:
            raise CutError(f"{path}: expected one file per date, found {dated[day].name} of the same date; join them first")
        dated[day] = path
    others = [path for path in files if not is_geotiff(path) and path.suffix.lower() not in _BESIDE]
    if not dated:
        found = f"{', '.join(path.name for path in others[:3])}" if others else "none"
        raise CutError(f"{folder}: expected GeoTIFFs of series {name} ({' or '.join(SUFFIXES)}), found {found}")
    remarks = [f"not read, as they are no GeoTIFF: {len(others)} in {folder}, such as {others[0].name}"] if others else []
    return _source(name, "series", dict(sorted(dated.items())), bands, remarks)


def image(name: str, path: str | os.PathLike, bands: Sequence[str] = ()) -> Source:
    """One image.

    Raises:
      UserError: a file that cannot be used.
    """
    return _source(name, "image", {"": pathlib.Path(path)}, bands, [])


def date_of(path: str | os.PathLike) -> str | None:
    """YYYYMMDD of the first date that exists in a file's name."""
    days = ("".join(match.groups()) for match in _DATE.finditer(pathlib.Path(path).stem))
    return next((day for day in days if parse_day(day)), None)


def parse_source(text: str, kind: str) -> Source:
    """NAME=PATH or NAME=PATH:BAND,BAND,... as a Source.

    Raises:
      UserError: another form, or files that do not fit together.
    """
    name, equals, rest = text.partition("=")
    if not equals or not rest:
        raise CutError(f"--{kind}: expected NAME=PATH or NAME=PATH:BAND,BAND, found {text!r}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise CutError(f"--{kind}: expected a sensor's name of small letters, digits and _, found {name!r}")
    path, colon, bands = rest.rpartition(":")
    # A colon may be part of a path, as in C:\data.
    if not colon or not path or re.search(r"[/\\]", bands) and "," not in bands or pathlib.Path(rest).exists():
        return _MAKERS[kind](name, rest)
    names = bands.split(",")
    if not all(band.strip() for band in names):
        raise CutError(f"--{kind}: expected names of bands after the colon, joined by commas, found {text!r}")
    return _MAKERS[kind](name, path, tuple(band.strip() for band in names))


_MAKERS = dict(zip(KINDS, (series, image), strict=True))


def _source(name, kind, dated, bands, remarks):
    check_sensor_name(name)
    headers = {day: _header(path, len(bands) or None) for day, path in dated.items()}
    first = next((header for header in headers.values() if any(header["names"])), next(iter(headers.values())))
    names = BandNames(first["place"].path, first["names"], bands)
    check_names(names.names, what="band", path=first["place"].path)
    layers = []
    for day, header in headers.items():
        order = names.order(header["place"].path, header["names"])
        pick = lambda values, order=order: tuple(values[position] for position in order)  # noqa: E731
        layers.append(
            Layer(
                header["place"], day, order, any(header["names"]), header["dtype"], pick(header["scales"]), pick(header["offsets"]),
                header["declares_unknown"], len(bands) or None,
            )
        )  # fmt: skip
    if any(header["alpha"] for header in headers.values()):
        remarks = [*remarks, "its alpha channel says which pixels are unknown; if that band was measured, name all bands with NAME=PATH:BAND,BAND"]
    turned = [layer for layer in layers if list(layer.order) != sorted(layer.order)]
    if turned:
        silent = [layer for layer in layers if not layer.described]
        if silent and not bands:
            raise CutError(
                f"{silent[0].path}: expected descriptions of its bands, as {turned[0].path} describes its own in another order than "
                f"{first['place'].path}, found none; describe them (gdal_edit.py), or name the bands with NAME=PATH:BAND,BAND"
            )
        remarks = [*remarks, f"bands of {len(turned)} of {len(layers)} files were put in the order {', '.join(names.names)}, by their descriptions"]
    return Source(name, kind, tuple(layers), names.names, tuple(remarks))


def _header(path, count):
    need_file(path, what="a raster: a GeoTIFF", advice="Check the path.")
    with open_geotiff(path, what="a raster: a GeoTIFF", bands=count) as source:
        dtype = np.dtype(source.dtypes[0]) if not any(kind.startswith("complex") for kind in source.dtypes) else np.dtype(complex)
        if dtype.kind == "c":
            raise source.error("real numbers", f"complex ones ({source.form()})", "Compute an intensity first.")
        for scale, offset in zip(source.scales, source.offsets, strict=True):
            if not np.isfinite([scale, offset]).all() or scale == 0:
                raise source.error("a finite scale other than 0 and a finite offset", f"scale {scale:g} and offset {offset:g}")
        return {
            "place": place_of(source), "names": source.names, "dtype": dtype, "scales": source.scales, "offsets": source.offsets,
            "declares_unknown": source.declares_unknown, "alpha": source.has_alpha,
        }  # fmt: skip


def read_labels_header(path: pathlib.Path) -> Place:
    """Where the labels lie.

    Raises:
      UserError: not one band of integers.
    """
    need_file(path, what="labels: a GeoTIFF", advice="Check the path.")
    with open_geotiff(path, what="labels: a GeoTIFF") as source:
        if len(source.bands) != 1 or np.dtype(source.dtypes[0]).kind not in "iu":
            raise source.error("one band of integers, such as uint8", source.form())
        source.need_plain()
        return place_of(source)


def sensing_date(layer: Layer) -> datetime.date | None:
    """The date of a file, or that in the name of an image."""
    day = layer.day or date_of(layer.path)
    return parse_day(day) if day else None


def need_sources(sources: Sequence[Source]) -> None:
    """Raises UserError where there is no sensor, two of one name, or a name that is none."""
    names = [check_sensor_name(source.name) for source in sources]
    if not names:
        raise CutError("expected at least one --series or --image, found none")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"expected a name of its own for every sensor, found {', '.join(twice)} more than once")
