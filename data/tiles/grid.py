"""Where tiles lie, which pixels of a raster are under one, and which fold each belongs to."""

import dataclasses
import math
import pathlib

import numpy as np
import rasterio

from omnisat_jax.errors import UserError
from omnisat_jax.files.geotiff import LARGEST, GeoTIFF

ALIGNED = 1e-3  # px that a tile may miss the pixels of a raster by, which is rounding


class CutError(UserError):
    """Rasters that do not fit together; the message says which, expected, found and what to do."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a raster lies: its reference system, its north-west corner, the side of a pixel, and its size in pixels."""

    path: pathlib.Path
    crs: rasterio.crs.CRS
    left: float
    top: float
    pixel: float
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where tiles lie: the reference system, the north-west corner and the ground side of a tile, and rows and columns of tiles.

    left_over: rows and columns of label pixels at the southern and eastern edges that are less than a tile, and not cut.
    """

    crs: rasterio.crs.CRS
    left: float
    top: float
    side: float
    shape: tuple[int, int]
    left_over: tuple[int, int]

    @property
    def tiles(self) -> tuple[tuple[int, int], ...]:
        """Positions (row, column) of all tiles, row by row."""
        return tuple(np.ndindex(*self.shape))

    def name(self, tile: tuple[int, int]) -> str:
        """Name of a tile."""
        return f"r{tile[0]:04d}_c{tile[1]:04d}"

    def corner(self, tile: tuple[int, int]) -> tuple[float, float]:
        """North-west corner (x, y) of a tile."""
        return self.left + tile[1] * self.side, self.top - tile[0] * self.side


def place_of(source: GeoTIFF) -> Place:
    """Where an open file lies.

    Raises:
      DataError: no reference system, or pixels that are not square or not north up; rows that run to the north are turned.
    """
    source.need_grid("a raster")
    t = source.transform
    return Place(source.path, source.crs, t.c, t.f, t.a, source.height, source.width)


def lay_grid(labels: Place, size: int) -> Grid:
    """Tiles of size x size label pixels, from the north-west corner.

    Raises:
      CutError: not one tile fits.
    """
    rows, columns = labels.height // size, labels.width // size
    if size**2 > LARGEST:
        raise CutError(f"--size {size}: expected tiles that fit into memory; use a smaller --size")
    if not rows * columns:
        raise CutError(
            f"{labels.path}: expected at least one tile of {size} px, found {labels.height}x{labels.width} px; use a smaller --size"
        )
    left_over = labels.height - rows * size, labels.width - columns * size
    return Grid(labels.crs, labels.left, labels.top, size * labels.pixel, (rows, columns), left_over)


def need_same_system(grid: Grid, place: Place) -> None:
    """Raises CutError where a raster has another reference system than the labels."""
    if place.crs == grid.crs:
        return
    wanted, found = _short(grid.crs), _short(place.crs)
    if wanted == found:  # of one code, but with other parameters
        wanted, found = grid.crs.to_wkt(), place.crs.to_wkt()
    raise CutError(f"{place.path}: expected {wanted} as the labels, found {found}; warp it first (gdalwarp -t_srs)")


def window(grid: Grid, tile: tuple[int, int], place: Place) -> tuple[int, int, int, int] | None:
    """The pixels (first row, first column, rows, columns) of a raster under a tile; None where the raster does not cover it.

    Raises:
      CutError: pixels that do not nest in tiles.
    """
    left, top = grid.corner(tile)
    found = ((place.top - top) / place.pixel, (left - place.left) / place.pixel, grid.side / place.pixel)
    if not all(math.isfinite(number) and abs(number - round(number)) <= ALIGNED for number in found) or round(found[2]) < 1:
        raise CutError(
            f"{place.path}: expected pixels that nest in tiles of {_number(grid.side)} from ({_number(grid.left)}, {_number(grid.top)}), "
            f"found pixels of {_number(place.pixel)} from ({_number(place.left)}, {_number(place.top)}), in units of {_short(grid.crs)}; "
            "warp it to the labels' grid (gdalwarp -tr -te)"
        )
    row, column, side = map(round, found)
    if row < 0 or column < 0 or row + side > place.height or column + side > place.width:
        return None
    return row, column, side, side


def folds(grid: Grid, count: int, block: int) -> dict[str, list[str]]:
    """{"fold_<n>": tile names}: blocks of block x block tiles take turns, row by row.

    A tile's neighbours look like it: the larger the blocks, the less a fold that tests is bordered by folds that train.

    Raises:
      CutError: fewer blocks than folds.
    """
    blocks = sorted({(row // block, column // block) for row, column in grid.tiles})
    if len(blocks) < count:
        raise CutError(
            f"--folds {count}: expected at least as many blocks of {block}x{block} tiles, found {len(blocks)}; "
            "use a smaller --block or fewer --folds"
        )
    parts = {f"fold_{n + 1}": [] for n in range(count)}
    of = {position: f"fold_{index % count + 1}" for index, position in enumerate(blocks)}
    for tile in grid.tiles:
        parts[of[tile[0] // block, tile[1] // block]].append(grid.name(tile))
    return parts


def _number(number):
    return f"{number:.12g}"


def _short(crs):
    """EPSG code, or the whole text of a system without one."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt()
