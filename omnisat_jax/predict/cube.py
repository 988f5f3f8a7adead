"""Sensors of a map from a data cube: a Zarr folder as xarray writes it, with the dimensions time, y and x.

The bands of a sensor are variables of their names, or lie along a dimension of one variable that has their names as coordinates. Reference systems
are read as CF (a grid mapping with crs_wkt) or GeoZarr (proj:code, proj:wkt2) declare them, values as CF does (_FillValue, scale_factor, add_offset).
Letters: C bands, h w pixels.
"""

import dataclasses
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from omnisat_jax.dates import EPOCH, parse_date
from omnisat_jax.errors import DataError, UserError, reason
from omnisat_jax.files.addresses import need_local
from omnisat_jax.files.json_file import read_json
from omnisat_jax.files.paths import need_folder
from omnisat_jax.missing import FILL
from omnisat_jax.modalities import ModalitySpec, check_sensor_name
from omnisat_jax.predict.cube_axes import cube_days, cube_error, cube_grid, grid_mapping
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.sensors import Frame, Piece, Scaling, Sensor, make_pieces, order_bands
from omnisat_jax.rasters.grid import RasterGrid
from omnisat_jax.rasters.sources import Layer, Source
from omnisat_jax.types import StrPath

METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata")
AGAIN = "Copy the cube again from its source, or write it again."
_NAMES = {"time": ("time", "t"), "y": ("y", "lat", "latitude"), "x": ("x", "lon", "longitude")}  # of dimensions


@dataclasses.dataclass(frozen=True)
class Cube:
    """A sensor in a data cube.

    Attributes:
      name: of the modality.
      path: folder of the cube.
      variables: one with all bands, or one per band.
      scl: variable with the scene classification, or "".
    """

    name: str
    path: pathlib.Path
    variables: tuple[str, ...]
    scl: str = ""

    def bind(self, spec: ModalitySpec, bands: Sequence[str], scaling: Scaling, options: PredictOptions) -> Sensor:
        """See `SensorInput.bind`."""
        dataset = _open(self.path)
        stack = _stack(self.path, dataset, self.variables)
        days = _days(dataset, stack, spec)
        clouds = _stack(self.path, dataset, (self.scl,)) if self.scl else None
        if clouds and (clouds.time != stack.time or clouds.dtype.kind not in "iu" or len(clouds.bands) != 1):
            raise clouds.error(f"one band of integers with the dates of {self.name}", f"{len(clouds.bands)} of {clouds.dtype} along {clouds.time or 'no time'}")
        order, remarks = order_bands(spec, bands, stack.bands, str(self.path), f"name the variables with --cube_sensor {spec.name}=VARIABLE,VARIABLE")
        steps = [Step(stack, index, day) for index, day in enumerate(days)]
        layers = tuple(
            Layer(step.grid, step.day, tuple(range(len(stack.bands))), True, stack.dtype, stack.scales, stack.offsets, bool(stack.no_data)) for step in steps
        )
        source = Source(spec.name, spec.kind, layers, stack.bands)
        pieces, words = make_pieces(source, steps, order, scaling, options)
        frames: dict[str, list[Piece]] = {}
        for step, piece in zip(steps, pieces, strict=True):
            masks = (Step(clouds, step.index, step.day),) if clouds else ()
            frames.setdefault(step.day if spec.kind == "series" else "", []).append(dataclasses.replace(piece, masks=masks))
        return Sensor(
            spec, tuple(bands or stack.bands),
            tuple(Frame((parse_date(day) - EPOCH).days if day else 0, tuple(found)) for day, found in sorted(frames.items())),
            options.conversions.get(spec.name, ""), _files(self.path, stack.needs | (clouds.needs if clouds else frozenset())), (*remarks, *words),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """Variables of a cube that share their dimensions: the bands of a sensor on all dates.

    Attributes:
      path: folder of the cube.
      arrays: variables of xarray, by name.
      time, y, x, band: names of their dimensions; time and band may be "".
      grid: of the pixels.
      south_up: whether the rows run northwards.
      bands: their names.
      dtype: of stored values.
      scales, offsets: of each band; a physical value is stored * scale + offset.
      no_data: stored values of each variable that are no measurements.
      needs: names of all variables that are used, with coordinates.
    """

    path: pathlib.Path
    arrays: Mapping[str, Any]
    time: str
    y: str
    x: str
    band: str
    grid: RasterGrid
    south_up: bool
    bands: tuple[str, ...]
    dtype: np.dtype
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    no_data: tuple[tuple[float, ...], ...]
    needs: frozenset[str]

    def error(self, expected: str, found: str, advice: str = "") -> DataError:
        """The error to raise if a variable is not what is expected."""
        return cube_error(self.path, f"{', '.join(self.arrays)}: {expected}", found, advice)


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What a cube holds for one position along time. Only the chunks of a window are read.

    Attributes:
      stack: the variables.
      index: position along time.
      day: YYYYMMDD, or "".
    """

    stack: Stack
    index: int
    day: str

    @property
    def grid(self) -> RasterGrid:
        """Where it lies."""
        return self.stack.grid

    @property
    def text(self) -> str:
        """The cube, its variables and the date."""
        return f"{self.stack.path}: {', '.join(self.stack.arrays)} ({f'{self.day}, position {self.index}' if self.day else 'without date'})"

    @property
    def part(self) -> str:
        """The variables and the position along time."""
        return f"{','.join(self.stack.arrays)} {self.index}"

    def read(self, window: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """See `Raster.read`.

        Raises:
          DataError: chunks that cannot be read.
        """
        stack, (row, column, rows, columns) = self.stack, window
        if stack.south_up:
            row = stack.grid.height - row - rows
        place = {stack.y: slice(row, row + rows), stack.x: slice(column, column + columns)}
        place |= {stack.time: self.index} if stack.time else {}
        found, masks = [], []
        for (name, array), no_data in zip(stack.arrays.items(), stack.no_data, strict=True):
            try:
                values = np.asarray(array.isel(place).transpose(*filter(None, (stack.band, stack.y, stack.x))).values)
            except Exception as error:  # of Zarr and its codecs
                raise cube_error(stack.path, f"{name}: values that can be read", reason(error), f"A chunk is truncated or damaged. {AGAIN}") from error
            known = np.ones(values.shape, bool)
            for number in no_data:
                known &= values != number
            if values.dtype.kind == "f":
                with np.errstate(invalid="ignore"):
                    known &= np.isfinite(values) & (np.abs(values) < FILL)
            found.append(values.reshape(-1, rows, columns))
            masks.append(known.reshape(-1, rows, columns))
        values, known = np.concatenate(found), np.concatenate(masks)
        if stack.south_up:
            values, known = values[:, ::-1], known[:, ::-1]
        return np.ascontiguousarray(values), np.ascontiguousarray(known)


def parse_cube(path: StrPath, texts: Sequence[str], scl: Mapping[str, str]) -> tuple[Cube, ...]:
    """The sensors in a data cube.

    Args:
      path: folder of the cube.
      texts: NAME=VARIABLE or NAME=VARIABLE,VARIABLE... of each sensor.
      scl: sensor -> variable with its scene classification.

    Raises:
      UserError: no such folder, or texts of another form.
    """
    need_local(path, "--cube")
    folder = need_folder(path, what="a data cube: a Zarr folder", advice="Check the path.")
    if not texts:
        raise UserError(f"--cube: expected --cube_sensor NAME=VARIABLE for each sensor, found none; {path} has {', '.join(_open(folder).data_vars)}")
    found = []
    for text in texts:
        name, equals, rest = text.partition("=")
        variables = tuple(rest.split(","))
        if not equals or not all(variables) or len(set(variables)) != len(variables):
            raise UserError(f"--cube_sensor: expected NAME=VARIABLE or NAME=VARIABLE,VARIABLE, each once, found {text!r}")
        found.append(Cube(check_sensor_name(name), folder, variables, scl.get(name, "")))
    return tuple(found)


def _open(path: pathlib.Path) -> Any:
    """The cube as an xarray.Dataset of stored values, without reading any but coordinates."""
    try:
        import xarray  # pyright: ignore[reportMissingImports]
        import zarr  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(f'{path}: expected xarray and zarr, which read cubes, found no {error.name}; install them with pip install "omnisat-jax[cube]"') from error
    _refuse_pickles(path)
    try:
        # Consolidated metadata may be older than those of the variables.
        return xarray.open_dataset(
            str(path), engine="zarr", mask_and_scale=False, decode_timedelta=False, cache=False, chunks=None, consolidated=False
        )
    except Exception as error:  # of xarray and Zarr
        raise cube_error(path, "a data cube: a Zarr folder that xarray can open", reason(error), "Check the path, or write the cube again.") from error


def _refuse_pickles(path: pathlib.Path) -> None:
    """Refuses arrays whose codec would execute what is in them. xarray reads coordinates when it opens a cube."""
    for folder in (path, *(entry for entry in path.iterdir() if entry.is_dir())):
        for name in METADATA:
            if (folder / name).exists():
                for key, value in _texts(read_json(folder / name, what="metadata of a Zarr folder", advice=AGAIN).value):
                    if key in ("id", "name") and "pickle" in value.lower():
                        raise cube_error(folder / name, "codecs that only decode", repr(value), "Write this variable again, as numbers or text.")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All strings in a JSON value, with their keys."""
    if isinstance(value, str):
        yield key, value
    for name, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _texts(child, str(name))


def _stack(path: pathlib.Path, dataset: Any, names: Sequence[str]) -> Stack:
    """Checks that variables are the bands of a sensor."""
    for name in names:
        if name not in dataset.variables:
            raise cube_error(path, f"a variable {name}", ", ".join(dataset.data_vars) or "none")
    arrays = {name: dataset.variables[name] for name in names}
    shapes = {array.dims for array in arrays.values()}
    dtypes = {array.dtype for array in arrays.values()}
    if len(shapes) > 1 or len(dtypes) > 1:
        found = ", ".join(f"{name} {array.dtype} ({', '.join(array.dims)})" for name, array in arrays.items())
        raise cube_error(path, "variables with the same dimensions and type of values", found, "Give sensors of other pixels as sensors of their own.")
    dims, dtype = list(shapes.pop()), dtypes.pop()
    axes = {axis: next((dim for dim in dims if str(dim).lower() in known), "") for axis, known in _NAMES.items()}
    rest = [dim for dim in dims if dim not in axes.values()]
    if not axes["y"] or not axes["x"] or len(rest) > (len(names) == 1):
        raise cube_error(path, f"{', '.join(names)}: the dimensions time, y and x{' and at most one of bands' if len(names) == 1 else ''}", ", ".join(map(str, dims)) or "none")
    if dtype.kind not in "iuf":
        raise cube_error(path, f"{names[0]}: real numbers", str(dtype))
    band = rest[0] if rest else ""
    bands = _band_names(path, dataset, band) if band else tuple(names)
    units = [_unit(path, name, array) for name, array in arrays.items()]
    grid, south_up = cube_grid(path, dataset, names[0], axes["y"], axes["x"])
    per = len(bands) if band else 1
    return Stack(
        path, arrays, axes["time"], axes["y"], axes["x"], band, grid, south_up, bands, dtype,
        scales=tuple(scale for scale, _, _ in units for _ in range(per)), offsets=tuple(offset for _, offset, _ in units for _ in range(per)),
        no_data=tuple(fill for _, _, fill in units), needs=frozenset((*names, *map(str, dims), *map(grid_mapping, arrays.values()))),
    )  # fmt: skip


def _days(dataset: Any, stack: Stack, spec: ModalitySpec) -> tuple[str, ...]:
    """YYYYMMDD of each position along time; one "" without time."""
    days = cube_days(stack.path, dataset, stack.time) if stack.time else ()
    if spec.kind == "series" and not days:
        raise stack.error("a dimension of time with at least one date, as the model takes a series", "none")
    if spec.kind == "image" and len(days) > 1:
        raise stack.error(f"one date, as {spec.name} is an image", f"{len(days)} along {stack.time}", "Select one (dataset.isel).")
    return days or ("",)


def _files(path: pathlib.Path, names: Collection[str]) -> tuple[pathlib.Path, ...]:
    """The files that change when values, coordinates or metadata of variables change."""
    places = [path / name for name in (*METADATA, *sorted(names))]
    return tuple(place for place in places if place.exists())


def _band_names(path: pathlib.Path, dataset: Any, band: str) -> tuple[str, ...]:
    if band not in dataset.coords:
        raise cube_error(path, f"names of the bands as coordinates along the dimension {band}", "none", "Assign them (assign_coords), or write a variable per band.")
    names = tuple(value.decode() if isinstance(value, bytes) else str(value) for value in dataset.coords[band].values.tolist())
    if len({name.casefold() for name in names}) != len(names):
        raise cube_error(path, f"each band along {band} once", ", ".join(names))
    return names


def _unit(path: pathlib.Path, name: str, array: Any) -> tuple[float, float, tuple[float, ...]]:
    """Scale, offset and the values for no data of a variable, as CF declares them."""
    if "_Unsigned" in array.attrs:
        raise cube_error(path, f"{name}: integers of their own type", "the attribute _Unsigned", "Write the variable again with its unsigned type.")
    try:
        scale, offset = (float(np.asarray(array.attrs.get(key, default)).item()) for key, default in (("scale_factor", 1), ("add_offset", 0)))
        fills = [number for key in ("_FillValue", "missing_value") for number in np.asarray(array.attrs.get(key, [])).ravel().tolist()]
        if not np.isfinite([scale, offset]).all() or scale == 0 or not all(isinstance(fill, int | float) for fill in fills):
            raise ValueError(f"scale {scale:g}, offset {offset:g}, fill {fills}")
    except (TypeError, ValueError) as error:
        raise cube_error(path, f"{name}: a number for each of scale_factor, add_offset and _FillValue, and a scale other than 0", reason(error)) from error
    return scale, offset, tuple(dict.fromkeys(fill for fill in fills if np.isfinite(fill)))
