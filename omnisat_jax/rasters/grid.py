"""The grid of a raster."""

import dataclasses
import pathlib

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
