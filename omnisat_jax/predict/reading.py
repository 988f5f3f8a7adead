"""The measurements of a sensor on the grid of a map, in the numbers of the model.

Letters: T dates, H W pixels of the sensor, C bands.
"""

import concurrent.futures
import dataclasses
from collections.abc import Sequence

import numpy as np

from omnisat_jax.predict.grid import MapGrid
from omnisat_jax.predict.sensors import SCL_UNKNOWN, Frame, Piece, Raster, Sensor
from omnisat_jax.rasters.sampling import Target, sampler


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
        found = _read_piece(sensor, piece, place)
        if found is None:
            continue
        values, known = found
        for mask in piece.masks:
            if mask not in clouds:
                clouds[mask] = _clouds(mask, place)
            known = known & ~clouds[mask]
        for number, band in enumerate(piece.places):
            layer = out[..., band]
            new = known[number] & np.isnan(layer)
            layer[new] = values[number][new]
    for mask in frame.masks:
        out[_clouds(mask, place)] = np.nan


def _clouds(mask: Raster, place: Target) -> np.ndarray:
    """Where a scene classification sees no ground, (H,W) bool."""
    found = _sampled(mask, place, nearest=True)
    if found is None:
        return np.zeros((place.height, place.width), bool)
    classes, known = found
    return known[0] & np.isin(classes[0], SCL_UNKNOWN)


def _read_piece(sensor: Sensor, piece: Piece, place: Target) -> tuple[np.ndarray, np.ndarray] | None:
    found = _sampled(piece.raster, place, bands=piece.bands, no_data=piece.no_data)
    if found is None:
        return None
    values, known = found
    gain, bias = (np.array(numbers)[:, None, None] for numbers in (piece.gain, piece.bias))
    if not ((gain == 1).all() and (bias == 0).all()):
        values = values * gain + bias
    if sensor.conversion:
        values, known = convert(values, known, sensor.conversion)
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    return values, known & np.isfinite(values)


def _sampled(raster: Raster, place: Target, *, bands: Sequence[int] = (), no_data: Sequence[float] = (), nearest: bool = False):
    """Pixels of a raster on the target, or None if it lies elsewhere."""
    plan = sampler(raster.grid, place)
    if plan.window is None:
        return None
    values, known = raster.read(plan.window)
    if bands:
        values, known = values[list(bands)], known[list(bands)]
    for number in no_data:
        known = known & (values != number)
    return plan(values, known, nearest)


def convert(values: np.ndarray, known: np.ndarray, conversion: str | float) -> tuple[np.ndarray, np.ndarray]:
    """Converts units: see `options.CONVERSIONS`. Power that is not positive has no decibels and becomes unknown."""
    if conversion == "linear_to_db":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(known & (values > 0), 10 * np.log10(values), 0), known & (values > 0)
    if conversion == "db_to_linear":
        with np.errstate(over="ignore"):
            return 10 ** (np.asarray(values, np.float64) / 10), known
    return values * float(conversion), known
