"""The grid of a raster.

Letters: C bands, h w pixels of the raster as it is stored, H W the same pixels north up.
"""

import dataclasses
import pathlib

import numpy as np
from rasterio import Affine
from rasterio.crs import CRS

from omnisat_jax.errors import UserError
from omnisat_jax.files.geotiff import GeoTIFF


class RasterError(UserError):
    """Rasters that do not fit together. The message names the file, what was expected, what was found, and what to do."""


@dataclasses.dataclass(frozen=True)
class RasterGrid:
    """The grid of a raster.

    Attributes:
      path: of the raster.
      crs: its coordinate reference system.
      transform: from columns and rows of the image as it is read, north up, to coordinates.
      height, width: in pixels.
    """

    path: pathlib.Path
    crs: CRS
    transform: Affine
    height: int
    width: int

    @property
    def left(self) -> float:
        """x of the first column's outer edge."""
        return self.transform.c

    @property
    def top(self) -> float:
        """y of the first row's outer edge."""
        return self.transform.f

    @property
    def pixel(self) -> float:
        """Side of a pixel, in units of the reference system; of a grid with square pixels."""
        return self.transform.a


@dataclasses.dataclass(frozen=True)
class Upright:
    """A raster whose pixels are put north up, if a turn by a multiple of 90 degrees or a mirror does it. Values are only moved, never changed.

    Attributes:
      grid: north up, with columns that run eastwards; the raster's own grid if it is rotated by another angle.
      swapped: whether rows of the raster are columns of the grid.
      rows_flipped, columns_flipped: whether rows and columns of the grid run the other way, once they are swapped.
    """

    grid: RasterGrid
    swapped: bool = False
    rows_flipped: bool = False
    columns_flipped: bool = False

    def turn(self, values: np.ndarray) -> np.ndarray:
        """Pixels (C,h,w) of a window as they are stored, as (C,H,W)."""
        values = values.swapaxes(1, 2) if self.swapped else values
        return values[:, :: -1 if self.rows_flipped else 1, :: -1 if self.columns_flipped else 1]

    def stored(self, window: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """First row, first column, rows and columns of a window of the grid, in the raster as it is stored."""
        row, column, rows, columns = window
        row = self.grid.height - row - rows if self.rows_flipped else row
        column = self.grid.width - column - columns if self.columns_flipped else column
        return (column, row, columns, rows) if self.swapped else (row, column, rows, columns)


def upright(grid: RasterGrid, tolerance: float) -> Upright:
    """Puts a raster north up.

    Args:
      grid: any grid.
      tolerance: pixels by which its last pixel may move, as angles are rounded.
    """
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    height, width = grid.height, grid.width
    swapped = abs(b * d) > abs(a * e)
    if swapped:
        a, b, d, e, height, width = b, a, e, d, width, height
    if abs(b) * height > tolerance * abs(a) or abs(d) * width > tolerance * abs(e):
        return Upright(grid)
    rows_flipped, columns_flipped = e > 0, a < 0
    a, c = (-a, c + a * width) if columns_flipped else (a, c)
    e, f = (-e, f + e * height) if rows_flipped else (e, f)
    return Upright(RasterGrid(grid.path, grid.crs, Affine(a, 0, c, 0, e, f), height, width), swapped, rows_flipped, columns_flipped)


def raster_grid(source: GeoTIFF, *, square: bool) -> RasterGrid:
    """The grid of an open file, north up whatever the order of its rows.

    Args:
      source: the file.
      square: whether pixels must be square and not rotated.

    Raises:
      DataError: no reference system, or a grid that cannot be used.
    """
    source.need_grid("a raster", square=square)
    return RasterGrid(source.path, source.crs, source.transform, source.height, source.width)
