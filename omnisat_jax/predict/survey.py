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
      zero: (T,) share of the known pixels of each date that are 0 in all bands.
      dates: the same mean, low and negative of each date, (T,C); NaN where nothing is known.
      whole: whether every window of the map was sampled.
    """

    known: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    negative: np.ndarray
    zero: np.ndarray
    dates: tuple[np.ndarray, np.ndarray, np.ndarray]
    whole: bool

    def of_date(self, position: int) -> "Survey":
        """The statistics of one date in place of those of all."""
        mean, low, negative = (array[position] for array in self.dates)
        return dataclasses.replace(self, mean=mean, low=low, negative=negative)


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
    known, zero, pixels = np.zeros(len(every)), np.zeros(len(every)), 0
    count, total, square, low, negative = np.zeros((5, len(every), sensor.spec.channels))
    for row, column in windows:
        # Without what a window sees beyond the edge of the map.
        rows, columns = min(grid.window, grid.rows - row * grid.stride), min(grid.window, grid.columns - column * grid.stride)
        values = read(sensor, every, grid, Tokens(row * grid.stride, column * grid.stride, rows, columns), pool)
        pixels += values.shape[1] * values.shape[2]
        for date in every:  # one by one, as a series can be long
            found = values[date].astype(np.float64)
            mask = ~np.isnan(found)
            known[date] += mask.any(-1).sum()
            zero[date] += (found == 0).all(-1).sum()
            count[date] += mask.sum((0, 1))
            total[date] += np.nansum(found, (0, 1))
            square[date] += np.nansum(found**2, (0, 1))
            low[date] += (mask & (found < LOW)).sum((0, 1))
            negative[date] += (mask & (found < 0)).sum((0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        dates = (total / count, low / count, negative / count)
        number = count.sum(0)
        mean = total.sum(0) / number
        std = np.sqrt(np.maximum(square.sum(0) / number - mean**2, 0))
        whole = len(windows) == grid.windows[0] * grid.windows[1]
        return Survey(known / pixels, mean, std, low.sum(0) / number, negative.sum(0) / number, np.where(known > 0, zero / known, 0), dates, whole)
