"""What a map is made from: the files of each sensor, and the area of interest.

A region is given by options of the command line, or by a JSON file:

    {"series": {"s2": {"path": "imagery/s2", "bands": ["B02", "B03"], "scl": "imagery/scl"}, "s1a": "imagery/s1"},
     "image": {"spot": "spot.tif"},
     "stac": {"path": "items.json", "sensors": {"s1d": "sentinel-1-rtc,sat:orbit_state=descending"}, "scl": {}},
     "cube": {"path": "cube.zarr", "sensors": {"planet": "reflectance"}, "scl": {}},
     "aoi": "area.geojson"}

Paths are relative to the file. A sensor is a path alone, or an object with path and, if the files do not describe their bands, bands; scl names a
folder of scene classifications of the same dates. Sensors of STAC items and of a cube are written as for --stac_sensor, --cube_sensor and --scl.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from omnisat_jax.errors import UserError
from omnisat_jax.files.addresses import need_local
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.predict.area import Area, read_area
from omnisat_jax.predict.cube import parse_cube
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.sensors import Scaling, Sensor, bind
from omnisat_jax.predict.stac import parse_stac
from omnisat_jax.rasters.sources import Rules, Source, image, need_sources, parse_source, series
from omnisat_jax.types import StrPath


class SensorInput(Protocol):
    """Measurements of one sensor, wherever they are stored."""

    @property
    def name(self) -> str:
        """Of the modality."""
        ...

    def bind(self, spec: ModalitySpec, bands: Sequence[str], scaling: Scaling, options: PredictOptions) -> Sensor:
        """The measurements as the model sees them; see `sensors.bind` for arguments and errors."""
        ...


@dataclasses.dataclass(frozen=True)
class Files:
    """A sensor in GeoTIFFs.

    Attributes:
      source: its files.
      scl: scene classification of the same dates, or None.
    """

    source: Source
    scl: Source | None = None

    @property
    def name(self) -> str:
        """Of the modality."""
        return self.source.name

    def bind(self, spec: ModalitySpec, bands: Sequence[str], scaling: Scaling, options: PredictOptions) -> Sensor:
        """See `SensorInput.bind`."""
        return bind(self.source, spec, bands, scaling, options, self.scl)


@dataclasses.dataclass(frozen=True)
class Region:
    """What a map is made from.

    Attributes:
      sensors: at least one.
      area: what of it is mapped; None = everything that a sensor covers.
    """

    sensors: tuple[SensorInput, ...]
    area: Area | None = None

    def __post_init__(self) -> None:
        names = [sensor.name for sensor in self.sensors]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names:
            raise UserError("expected at least one sensor, found none; give --series, --image, --region, --stac or --cube")
        if twice:
            raise UserError(f"expected each sensor once, found {', '.join(twice)} more than once")

    @classmethod
    def from_arguments(
        cls,
        series: Sequence[str],
        images: Sequence[str],
        scl: Mapping[str, str],
        aoi: StrPath | None = None,
        on_bad: str = "raise",
        others: Sequence[SensorInput] = (),
    ) -> "Region":
        """A region from the options of the command line.

        Args:
          series: texts NAME=FOLDER or NAME=FOLDER:BAND,BAND.
          images: texts NAME=FILE or NAME=FILE:BAND,BAND.
          scl: sensor -> folder of its scene classifications.
          aoi: file of the area of interest.
          on_bad: see `PredictOptions`.
          others: sensors that are no series or image of files, which follow.

        Raises:
          UserError: files that cannot be used or do not fit together.
        """
        rules = _rules(on_bad)
        sources = [parse_source(text, "series", rules) for text in series] + [parse_source(text, "image", rules) for text in images]
        if sources:
            need_sources(sources)
        for name in scl:
            if name not in [source.name for source in sources if source.kind == "series"]:
                raise UserError(f"--scl: expected the name of a series, found {name!r}")
        sensors = tuple(Files(source, _scl(source.name, scl[source.name], rules) if source.name in scl else None) for source in sources)
        return cls((*sensors, *others), read_area(aoi) if aoi else None)

    @classmethod
    def from_json(cls, path: StrPath, on_bad: str = "raise") -> "Region":
        """Reads a region from a JSON file.

        Args:
          path: the file.
          on_bad: see `PredictOptions`.

        Raises:
          UserError: the file or a file that it names cannot be used.
        """
        content = read_json(path, what="the description of a region", advice="Check the path and the file.")
        unknown = set(content.items()) - {"series", "image", "stac", "cube", "aoi"}
        if unknown:
            raise content.error("the keys series, image, stac, cube and aoi", ", ".join(sorted(unknown)))
        here, rules = pathlib.Path(path).resolve().parent, _rules(on_bad)
        sensors = [_sensor(here, name, value, "series", rules) for name, value in content.find("series", {}).items().items()]
        sensors += [_sensor(here, name, value, "image", rules) for name, value in content.find("image", {}).items().items()]
        others = [*_others(here, content.find("stac"), parse_stac), *_others(here, content.find("cube"), parse_cube)]
        aoi = content.find("aoi").value
        return cls((*sensors, *others), read_area(_path(here, content.get("aoi"))) if aoi is not None else None)


def _rules(on_bad: str) -> Rules:
    return Rules(warped=True, skip_bad=on_bad == "mask")


def _path(here: pathlib.Path, value: Value) -> pathlib.Path:
    """A path in the file, which is relative to the folder of the file."""
    need_local(value.text(), f"{value.path}: {value.key}")
    return here / value.text()


def _scl(name: str, folder: str | os.PathLike, rules: Rules) -> Source:
    return series(name, folder, ("SCL",), rules)


def _others(here: pathlib.Path, value: Value, parse: Callable[[StrPath, Sequence[str], Mapping[str, str]], Sequence[SensorInput]]) -> Sequence[SensorInput]:
    """The sensors of STAC items or of a cube in a JSON file."""
    if value.value is None:
        return ()
    unknown = set(value.items()) - {"path", "sensors", "scl"}
    if unknown:
        raise value.error("the keys path, sensors and scl", ", ".join(sorted(unknown)))
    sensors, scl = ({name: text.text() for name, text in value.find(key, {}).items().items()} for key in ("sensors", "scl"))
    wrong = [name for name in scl if name not in sensors]
    if wrong:
        raise value.error("scl of sensors that are given", ", ".join(wrong))
    return parse(_path(here, value.get("path")), [f"{name}={text}" for name, text in sensors.items()], scl)


def _sensor(here: pathlib.Path, name: str, value: Value, kind: str, rules: Rules) -> Files:
    make = series if kind == "series" else image
    if isinstance(value.value, str):
        return Files(make(name, _path(here, value), (), rules))
    unknown = set(value.items()) - {"path", "bands", "scl"}
    if unknown or (kind == "image" and "scl" in value.items()):
        raise value.error("the keys path, bands and, of a series, scl", ", ".join(sorted(value.items())))
    bands = tuple(band.text() for band in value.find("bands", []).list())
    scl = value.find("scl").value
    source = make(name, _path(here, value.get("path")), bands, rules)
    return Files(source, _scl(name, _path(here, value.get("scl")), rules) if scl is not None else None)
