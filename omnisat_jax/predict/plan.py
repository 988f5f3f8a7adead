"""What will be done to make a map: which sensors and dates, where, and whether the measurements are those that the model knows.

Everything here depends on the model, the inputs and the options alone, so that all processes that work on a map agree.
"""

import concurrent.futures
import dataclasses
import datetime
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xxhash

from omnisat_jax import __version__
from omnisat_jax.config.rules import nearest
from omnisat_jax.dates import EPOCH, RULES, choose_dates, day_zero
from omnisat_jax.errors import UserError, system_reason
from omnisat_jax.files.states import file_state
from omnisat_jax.inference.model import Model
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.predict.area import AreaMask
from omnisat_jax.predict.bad_files import without_unreadable
from omnisat_jax.predict.folder import FORMAT, MapInfo, MapSensor
from omnisat_jax.predict.grid import MapGrid
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.placing import far_apart, lay_grid
from omnisat_jax.predict.radiometry import check_radiometry
from omnisat_jax.predict.reading import Tokens, target
from omnisat_jax.predict.region import Region
from omnisat_jax.predict.sensors import Piece, Raster, Scaling, Sensor
from omnisat_jax.predict.survey import Survey, survey
from omnisat_jax.rasters.sampling import placement
from omnisat_jax.words import number_of

MOST_SENSORS = 32  # bits of `used`
SEASON = 550  # days that the series of one tile hardly ever exceed; training dates over a longer time are of several seasons
SLOTS = 8  # dates are padded to a multiple of this where a model takes all of them


@dataclasses.dataclass(frozen=True)
class MapPlan:
    """How a map is made.

    Attributes:
      grid: where it lies.
      specs: all modalities of the model, in its order.
      sensors: those that are used, in model order.
      frames: sensor -> positions of the dates that are used.
      slots: series of the model -> dates in a batch.
      origin: day 0, in days since 1970-01-01.
      classes: names of the classes.
      surveys: sensor -> statistics of its sample.
      area: what is mapped, or None.
      probabilities: whether those of all classes are stored.
      embedding_width: numbers per embedding; 0 = they are not stored.
      info: the same for run.json.
      states: file -> what changes when it does.
    """

    grid: MapGrid
    specs: tuple[ModalitySpec, ...]
    sensors: tuple[Sensor, ...]
    frames: Mapping[str, tuple[int, ...]]
    slots: Mapping[str, int]
    origin: int
    classes: tuple[str, ...]
    surveys: Mapping[str, Survey]
    area: AreaMask | None
    probabilities: bool
    embedding_width: int
    info: MapInfo
    states: Mapping[pathlib.Path, tuple[str, int, int | str]]


def make_plan(model: Model, region: Region, options: PredictOptions, pool: concurrent.futures.Executor | None = None) -> MapPlan:
    """Plans a map.

    Args:
      model: the trained model.
      region: its inputs.
      options: how the map is made.
      pool: reads files at the same time.

    Raises:
      UserError: inputs that the model cannot use.
    """
    sensors, remarks = _bind(model, region, options)
    if options.on_bad == "mask":
        sensors = tuple(without_unreadable(sensor, pool) for sensor in sensors)
    window = _window(model, options, remarks)
    grid = lay_grid(sensors, region.area, window, model.label_patch or 1, options)
    remarks += far_apart(sensors, grid, whole=region.area is None)
    surveys = {sensor.name: survey(sensor, grid, pool) for sensor in sensors}
    remarks += _check_values(model, sensors, surveys, options)
    used = tuple(sensor for sensor in sensors if surveys[sensor.name].known.any() or not surveys[sensor.name].whole)
    remarks += [f"{sensor.name}: no known value anywhere in the area; it is not used" for sensor in sensors if sensor not in used]
    if not used:
        raise UserError(f"expected a known value of {' or '.join(sensor.name for sensor in sensors)} in the area, found none")
    frames = {sensor.name: _frames(sensor, surveys[sensor.name]) for sensor in used}
    remarks += [text for sensor in used for text in _empty_dates(sensor, surveys[sensor.name])]
    origin = _origin(model, used, options, remarks)
    for sensor in used:
        place = target(grid, sensor.spec.patch, Tokens(0, 0, 1, 1))
        words = dict.fromkeys(text for raster in sensor.rasters if (text := placement(raster.grid, place).words))
        remarks += [f"{sensor.name}: {', '.join(words)}"] if words else []
        remarks += [f"{sensor.name}: {text}" for text in sensor.remarks]
    slots = {spec.name: _slots(spec, frames.get(spec.name, (0,))) for spec in model.modalities if spec.kind == "series"}
    area = AreaMask(region.area, grid) if region.area else None
    described = [_describe(sensor, frames[sensor.name]) for sensor in used]
    inputs = {
        "origin": origin,
        "area": region.area.project(grid.crs).geometries if region.area else None,
        "sensors": [_identity(sensor, frames[sensor.name]) for sensor in used],
    }
    width = model.embedding_width(window) if options.embeddings else 0
    info = MapInfo(
        fingerprint=_fingerprint(model.checksum, grid, inputs, options), grid=grid, classes=model.classes, colours=model.colours,
        sensors=tuple(described), probabilities=options.probabilities, embedding_width=width, model=_provenance(model),
        settings=dataclasses.asdict(options) | {"day_zero": (EPOCH + datetime.timedelta(origin)).isoformat()}, remarks=tuple(remarks),
    )  # fmt: skip
    states = {path: file_state(path) for sensor in used for path in sensor.files if path.is_file()}
    return MapPlan(grid, model.modalities, used, frames, slots, origin, model.classes, surveys, area, options.probabilities, width, info, states)


def _bind(model: Model, region: Region, options: PredictOptions) -> tuple[tuple[Sensor, ...], list[str]]:
    """The sensors of the region that are used, in model order, and remarks on those that are not."""
    specs = {spec.name: spec for spec in model.modalities if spec.kind != "location"}
    given = {entry.name: entry for entry in region.sensors}
    for what, names in (("", given), ("--modalities: ", options.modalities), ("--convert: ", options.conversions), ("--s2_offset: ", options.s2_offsets)):
        for name in names:
            if name not in specs:
                raise UserError(f"{what}unknown sensor '{name}'; the model knows {', '.join(specs)}.{nearest(name, list(specs))}")
            if name not in given:
                raise UserError(f"{what}expected sensors that are given ({', '.join(given)}), found {name!r}")
    wanted = [name for name in specs if name in given and name in (options.modalities or given)]
    if len(wanted) > MOST_SENSORS:
        raise UserError(f"expected at most {MOST_SENSORS} sensors, found {len(wanted)}; choose some with --modalities")
    sensors = []
    for name in wanted:
        facts = model.sensors.get(name)
        bands, scaling = (facts.bands, Scaling(facts.scale, facts.offset)) if facts else ((), Scaling())
        sensors.append(given[name].bind(specs[name], bands, scaling, options))
    absent = [name for name in specs if name not in wanted]
    remarks = [f"not used: {', '.join(absent)}, which the model was trained with as well"] if absent else []
    return tuple(sensors), remarks


def _window(model: Model, options: PredictOptions, remarks: list[str]) -> int:
    """Patches per side of a window. Another size than that of training is remarked on, as what a model says of a pixel depends on all of its window."""
    window = options.window or model.only_window or model.window
    if not window:
        raise UserError("expected a model that knows the size of its training tiles, found an older one; give --window, in patches per side")
    if window != (model.only_window or window):
        raise UserError(f"--window: expected {number_of(model.only_window or 0, 'patch')} per side, the only size that this model takes, found {window}")
    if window != (model.window or window):
        model.embedding_width(window)  # refuses windows that are too small for its layers
        remarks.append(f"windows have {number_of(window, 'patch')} per side, and those of training {model.window}: predictions may be worse")
    return window


def _check_values(model: Model, sensors: Sequence[Sensor], surveys: Mapping[str, Survey], options: PredictOptions) -> list[str]:
    remarks = []
    for sensor in sensors:
        statistics = model.trained.statistics[sensor.name]
        mean, std = (np.asarray(statistics[key], np.float64) for key in ("mean", "std"))
        try:
            remarks += check_radiometry(sensor, surveys[sensor.name], mean, std)
        except UserError as error:
            if not options.any_radiometry:
                raise
            remarks.append(str(error))
    return remarks


def _frames(sensor: Sensor, found: Survey) -> tuple[int, ...]:
    """The dates that are used, as in the evaluation of a run: evenly spaced ones among those with known values."""
    limit = sensor.spec.dates_eval
    if sensor.spec.kind == "image" or not limit or len(sensor.frames) <= limit:
        return tuple(range(len(sensor.frames)))
    return tuple(choose_dates(found.known > 0, limit, None).tolist())


def _empty_dates(sensor: Sensor, found: Survey) -> list[str]:
    empty = [frame.date for frame, known in zip(sensor.frames, found.known, strict=True) if not known]
    if sensor.spec.kind == "image" or not empty:
        return []
    where = "anywhere in the area" if found.whole else "in the sampled windows"
    return [f"{sensor.name}: no known value {where} on {len(empty)} of {number_of(len(sensor.frames), 'date')}: {', '.join(empty[:12])}{', ...' if empty[12:] else ''}"]


def _slots(spec: ModalitySpec, frames: Sequence[int]) -> int:
    return spec.dates_eval or max(SLOTS, -(-len(frames) // SLOTS) * SLOTS)


def _origin(model: Model, sensors: Sequence[Sensor], options: PredictOptions, remarks: list[str]) -> int:
    """Day 0. Dates far from those of the training are refused or, if there are few, remarked on."""
    rule = options.origin or model.trained.config.data.origin
    days = {sensor.name: np.array([frame.day for frame in sensor.frames]) for sensor in sensors if sensor.spec.kind == "series"}
    zero = day_zero(rule, list(days.values()))
    for name, found in days.items():
        facts = model.sensors.get(name)
        if facts is None or facts.first_day is None or facts.last_day is None:
            continue
        trained = np.array([facts.first_day, facts.last_day])
        first, last = trained - day_zero(model.trained.config.data.origin, [trained])
        outside = (found - zero < first - 31) | (found - zero > last + 31)
        if not outside.any():
            if last - first > SEASON and model.trained.config.data.origin in RULES:
                remarks.append(
                    f"{name}: the training tiles are of several seasons, {_date(facts.first_day)} to {_date(facts.last_day)}, so it is not known whether the dates of this "
                    f"region, {_date(found.min())} to {_date(found.max())} counted from {_date(zero)}, are those that the model knows; compare them with one season of the training data"
                )
            continue
        text = (
            f"{name}: expected dates from {_date(first + zero)} to {_date(last + zero)}, which is the season of the training tiles counted from day 0 of this region, found "
            f"{int(outside.sum())} of {len(found)} outside, such as {_date(int(found[outside][0]))}"
        )
        if outside.mean() > 0.5:
            raise UserError(f"{text}; state day 0 of your season with --origin YYYY-MM-DD (it was {model.trained.config.data.origin} in training)")
        remarks.append(text)
    return zero


def _date(day: int) -> str:
    return (EPOCH + datetime.timedelta(int(day))).isoformat()


def _describe(sensor: Sensor, frames: Sequence[int]) -> MapSensor:
    series = sensor.spec.kind == "series"
    dates = tuple(sensor.frames[index].date for index in frames) if series else ()
    return MapSensor(sensor.name, sensor.spec.kind, sensor.bands, dates, tuple(os.path.abspath(path) for path in sensor.files))


def _identity(sensor: Sensor, frames: Sequence[int]) -> dict[str, Any]:
    """What the values of a sensor depend on. Files are known by name, size and time of change, as hashing a country takes hours."""
    return {
        "name": sensor.name,
        "frames": [(frame.day, list(map(_known_as, frame.pieces)), list(map(_place, frame.masks))) for frame in map(sensor.frames.__getitem__, frames)],
        "conversion": sensor.conversion,
        "files": [file_state(os.path.abspath(path)) for path in sensor.files],
    }


def _known_as(piece: Piece) -> list[Any]:
    return [_place(piece.raster), piece.bands, piece.places, piece.gain, piece.bias, piece.no_data, list(map(_place, piece.masks))]


def _place(raster: Raster) -> tuple[str, str]:
    return os.path.abspath(raster.grid.path), raster.part


def need_unchanged(plan: MapPlan) -> None:
    """Checks that no file has changed since the map was planned: its blocks would not fit together.

    Raises:
      UserError: one has, or is gone.
    """
    for path, state in plan.states.items():
        try:
            found = file_state(path)
        except OSError as error:
            raise UserError(f"{path}: expected the file that this map was begun with, found none ({system_reason(error)}); restore it") from error
        if found != state:
            raise UserError(
                f"{path}: expected the file that this map was begun with, found one that has changed since; "
                "restore it, or make the map again in another --out"
            )


def _fingerprint(model: str, grid: MapGrid, inputs: Mapping[str, Any], options: PredictOptions) -> str:
    # Programs for other numbers of windows round differently.
    values = {"format": FORMAT, "model": model, "grid": grid.to_json(), "inputs": inputs, "batch": options.batch}
    values |= {"probabilities": options.probabilities, "embeddings": options.embeddings}
    return xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True, default=list).encode())


def _provenance(model: Model) -> dict[str, Any]:
    return {
        "source": model.source,
        "checksum": model.checksum,
        "task": model.task,
        "citation": model.citation,
        "simulated": model.simulated,
        "omnisat_jax": __version__,
    }
