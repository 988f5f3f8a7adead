"""The measurements of a sensor on the grid of a map, in the numbers of the model.

Letters: T dates, H W pixels of the sensor, C bands.
"""

import concurrent.futures
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from omnisat_jax.predict.grid import MapGrid
from omnisat_jax.predict.sensors import SCL_UNKNOWN, Frame, Piece, Raster, Sensor
from omnisat_jax.rasters.fill_values import need_declared
from omnisat_jax.rasters.sampling import Target, sampler

CHUNK = 2**18  # values that are brought onto the grid at once by a thread: interpolation needs many times the memory of its result
Sampled = tuple[slice, np.ndarray, np.ndarray]  # some rows of a target, and values and known (C,h,W) there


@dataclasses.dataclass(frozen=True)
class Tokens:
    """A rectangle of tokens of a map; may reach over its edge.

    Attributes:
      row, column: first token.
      rows, columns: size.
    """

    row: int
    column: int
    rows: int
    columns: int


def target(grid: MapGrid, patch: int, tokens: Tokens) -> Target:
    """The pixels of a sensor with `patch` pixels per token side under some tokens."""
    return Target(
        grid.crs, grid.left, grid.top, grid.ground / patch, tokens.row * patch, tokens.column * patch, tokens.rows * patch, tokens.columns * patch
    )


def read(
    sensor: Sensor, frames: Sequence[int], grid: MapGrid, tokens: Tokens, pool: concurrent.futures.Executor | None = None
) -> np.ndarray:
    """Reads a sensor under some tokens.

    Args:
      sensor: what is read.
      frames: positions of the dates.
      grid: of the map.
      tokens: where.
      pool: reads dates at the same time.

    Returns:
      (T,H,W,C) float32, NaN where unknown.

    Raises:
      DataError: a file cannot be read.
      RasterError: a file has fill values that it does not declare.
    """
    place = target(grid, sensor.spec.patch, tokens)
    out = np.full((len(frames), place.height, place.width, sensor.spec.channels), np.nan, np.float32)

    def fill(number: int) -> None:
        _read_frame(sensor, sensor.frames[frames[number]], place, out[number])

    for _ in pool.map(fill, range(len(frames))) if pool else map(fill, range(len(frames))):
        pass
    return out


def _read_frame(sensor: Sensor, frame: Frame, place: Target, out: np.ndarray) -> None:
    """Fills (H,W,C) with what is known on a date."""
    clouds: dict[Raster, np.ndarray] = {}  # the bands of a product share its mask
    for piece in frame.pieces:
        for mask in piece.masks:
            if mask not in clouds:
                clouds[mask] = _clouds(mask, place)
        for rows, values, known in _read_piece(sensor, piece, place):
            for mask in piece.masks:
                known = known & ~clouds[mask][rows]
            for number, band in enumerate(piece.places):
                layer = out[rows, :, band]
                new = known[number] & np.isnan(layer)
                layer[new] = values[number][new]
    for mask in frame.masks:
        out[_clouds(mask, place)] = np.nan


def _clouds(mask: Raster, place: Target) -> np.ndarray:
    """Where a scene classification sees no ground, (H,W) bool."""
    out = np.zeros((place.height, place.width), bool)
    for rows, classes, known in _sampled(mask, place, nearest=True):
        out[rows] = known[0] & np.isin(classes[0], SCL_UNKNOWN)
    return out


def _read_piece(sensor: Sensor, piece: Piece, place: Target) -> Iterator[Sampled]:
    """The numbers of the model, some rows at a time."""
    gain, bias = (np.array(numbers)[:, None, None] for numbers in (piece.gain, piece.bias))
    for rows, values, known in _sampled(piece.raster, place, bands=piece.bands, no_data=piece.no_data):
        if not ((gain == 1).all() and (bias == 0).all()):
            values = values * gain + bias
        if sensor.conversion:
            values, known = convert(values, known, sensor.conversion)
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        yield rows, values, known & np.isfinite(values)


def _sampled(
    raster: Raster, place: Target, *, bands: Sequence[int] = (), no_data: Sequence[float] = (), nearest: bool = False
) -> Iterator[Sampled]:
    """Pixels of a raster on the target, some rows at a time; nothing where it lies elsewhere."""
    height = max(1, CHUNK // (place.width * max(1, len(bands))))
    parts = [
        dataclasses.replace(place, row=place.row + first, height=min(height, place.height - first)) for first in range(0, place.height, height)
    ]
    windows = [window for part in parts if (window := sampler(raster.grid, part).window) is not None]
    if not windows:
        return
    top, left = (min(window[axis] for window in windows) for axis in (0, 1))
    bottom, right = (max(window[axis] + window[axis + 2] for window in windows) for axis in (0, 1))
    values, known = raster.read((top, left, bottom - top, right - left))  # at once, as files store rows or squares that are decoded as a whole
    for part in parts:
        plan = sampler(raster.grid, part)
        if plan.window is None:
            continue
        row, column, rows, columns = plan.window
        inside = np.s_[:, row - top : row - top + rows, column - left : column - left + columns]
        stored, measured = values[inside], known[inside]
        if bands:
            stored, measured = stored[list(bands)], measured[list(bands)]
        for number in no_data:
            measured = measured & (stored != number)
        if not nearest:
            need_declared(stored, measured, raster.text)
        first = part.row - place.row
        yield slice(first, first + part.height), *plan(stored, measured, nearest)


def convert(values: np.ndarray, known: np.ndarray, conversion: str | float) -> tuple[np.ndarray, np.ndarray]:
    """Converts units: see `options.CONVERSIONS`. Power that is not positive has no decibels and becomes unknown."""
    if conversion == "linear_to_db":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(known & (values > 0), 10 * np.log10(values), 0), known & (values > 0)
    if conversion == "db_to_linear":
        with np.errstate(over="ignore"):
            return 10 ** (np.asarray(values, np.float64) / 10), known
    return values * float(conversion), known
