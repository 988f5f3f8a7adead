"""What the measurements of a region are like, from a sample of its windows.

Letters: T dates, C bands.
"""

import concurrent.futures
import dataclasses

import numpy as np

from omnisat_jax.predict.grid import MapGrid
from omnisat_jax.predict.reading import Tokens, read
from omnisat_jax.predict.sensors import Sensor
from omnisat_jax.rasters.offset import BASELINE_OFFSET

WINDOWS = 16  # at most, spread evenly over the map
LOW = BASELINE_OFFSET - 100  # reflectance x 10,000 with the offset of baseline 04.00 is hardly ever lower


@dataclasses.dataclass(frozen=True)
class Survey:
    """Statistics of a sensor in the sampled windows.

    Attributes:
      known: (T,) share of known pixels on each date.
      mean, std: (C,) of the known values; NaN where none is known.
      low: (C,) share of the known values below LOW.
      negative: (C,) share of the known values below 0.
      whole: whether every window of the map was sampled.
    """

    known: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    negative: np.ndarray
    whole: bool


def sampled_windows(grid: MapGrid) -> list[tuple[int, int]]:
    """Positions of at most WINDOWS windows, spread evenly."""
    rows, columns = grid.windows
    count = min(WINDOWS, rows * columns)
    return [divmod(int(index), columns) for index in np.unique(np.linspace(0, rows * columns - 1, count).round().astype(int))]


def survey(sensor: Sensor, grid: MapGrid, pool: concurrent.futures.Executor | None = None) -> Survey:
    """Reads a sensor in a sample of windows.

    Raises:
      DataError: a file cannot be read.
    """
    windows, every = sampled_windows(grid), range(len(sensor.frames))
    known, pixels = np.zeros(len(every)), 0
    count, total, square, low, negative = np.zeros((5, sensor.spec.channels))
    for row, column in windows:
        values = read(sensor, every, grid, Tokens(row * grid.stride, column * grid.stride, grid.window, grid.window), pool)
        pixels += values.shape[1] * values.shape[2]
        for date in every:  # one by one, as a series can be long
            found = values[date].astype(np.float64)
            mask = ~np.isnan(found)
            known[date] += mask.any(-1).sum()
            count += mask.sum((0, 1))
            total += np.nansum(found, (0, 1))
            square += np.nansum(found**2, (0, 1))
            low += (mask & (found < LOW)).sum((0, 1))
            negative += (mask & (found < 0)).sum((0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        std = np.sqrt(np.maximum(square / count - mean**2, 0))
        return Survey(known / pixels, mean, std, low / count, negative / count, len(windows) == grid.windows[0] * grid.windows[1])
