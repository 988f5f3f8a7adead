"""The grid of tiles: where they lie, which pixels of a raster they cover, and which fold each belongs to."""

import dataclasses
import math

import numpy as np
from rasterio.crs import CRS

from omnisat_jax.files.geotiff import LARGEST
from omnisat_jax.rasters.grid import RasterError, RasterGrid

ALIGNED = 1e-3  # pixels by which tiles and pixels of a raster may be misaligned, due to rounding


@dataclasses.dataclass(frozen=True)
class TileGrid:
    """The grid of tiles.

    Attributes:
      crs: reference system of the labels.
      left, top: north-west corner.
      side: ground side of a tile, in units of the reference system.
      shape: rows and columns of tiles.
      left_over: rows and columns of label pixels at the southern and eastern edges that do not fill a tile and are not cut.
    """

    crs: CRS
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


def lay_tiles(labels: RasterGrid, size: int) -> TileGrid:
    """Tiles of size x size label pixels, from the north-west corner.

    Raises:
      RasterError: not a single tile fits, tiles are too large, or coordinates are degrees, so that pixels are not square on the ground.
    """
    if not labels.crs.is_projected:
        raise RasterError(
            f"{labels.path}: expected a projected reference system, such as UTM, in which square pixels are square on the ground, found "
            f"{_short(labels.crs)}; warp all files first (gdalwarp -t_srs -tr)"
        )
    rows, columns = labels.height // size, labels.width // size
    if size**2 > LARGEST:
        raise RasterError(f"--size {size}: expected tiles that fit into memory; use a smaller --size")
    if not rows * columns:
        raise RasterError(
            f"{labels.path}: expected at least one tile of {size} px, found {labels.height}x{labels.width} px; use a smaller --size"
        )
    left_over = labels.height - rows * size, labels.width - columns * size
    return TileGrid(labels.crs, labels.left, labels.top, size * labels.pixel, (rows, columns), left_over)


def need_same_system(tiles: TileGrid, raster: RasterGrid) -> None:
    """Checks that a raster has the reference system of the labels.

    Raises:
      RasterError: it has another one.
    """
    if raster.crs == tiles.crs:
        return
    wanted, found = _short(tiles.crs), _short(raster.crs)
    if wanted == found:  # the same code with other parameters
        wanted, found = tiles.crs.to_wkt(), raster.crs.to_wkt()
    raise RasterError(f"{raster.path}: expected {wanted}, like the labels or --grid, found {found}; warp it first (gdalwarp -t_srs)")


def window(tiles: TileGrid, tile: tuple[int, int], raster: RasterGrid) -> tuple[int, int, int, int] | None:
    """The pixels of a raster under a tile (first row, first column, rows, columns); None if the raster does not cover all of it.

    Raises:
      RasterError: pixels that do not nest in tiles, see `pixels_per_side`.
    """
    side = pixels_per_side(tiles, tile, raster)
    row, column = map(round, _offset(tiles, tile, raster))
    if row < 0 or column < 0 or row + side > raster.height or column + side > raster.width:
        return None
    return row, column, side, side


def pixels_per_side(tiles: TileGrid, tile: tuple[int, int], raster: RasterGrid) -> int:
    """The pixels of a raster along the side of a tile, whether or not the raster covers it.

    Raises:
      RasterError: pixels that do not nest in tiles.
    """
    found = (*_offset(tiles, tile, raster), tiles.side / raster.pixel)
    if not all(math.isfinite(number) and abs(number - round(number)) <= ALIGNED for number in found) or round(found[2]) < 1:
        raise RasterError(
            f"{raster.path}: expected pixels that nest in tiles of {_number(tiles.side)} from ({_number(tiles.left)}, {_number(tiles.top)}), "
            f"found pixels of {_number(raster.pixel)} from ({_number(raster.left)}, {_number(raster.top)}), in units of {_short(tiles.crs)}; "
            "warp it to the labels' grid (gdalwarp -tr -te)"
        )
    return round(found[2])


def _offset(tiles: TileGrid, tile: tuple[int, int], raster: RasterGrid) -> tuple[float, float]:
    """Row and column of the north-west corner of a tile, in pixels of a raster."""
    left, top = tiles.corner(tile)
    return (raster.top - top) / raster.pixel, (left - raster.left) / raster.pixel


def folds(tiles: TileGrid, count: int, block: int) -> dict[str, list[str]]:
    """{"fold_<n>": tile names}: blocks of block x block tiles are assigned to folds in turn, row by row.

    Neighboring tiles look alike. The larger the blocks, the shorter the border between a test fold and the training folds.

    Raises:
      RasterError: fewer blocks than folds.
    """
    blocks = sorted({(row // block, column // block) for row, column in tiles.tiles})
    if len(blocks) < count:
        raise RasterError(
            f"--folds {count}: expected at least as many blocks of {block}x{block} tiles, found {len(blocks)}; "
            "use a smaller --block or fewer --folds"
        )
    parts = {f"fold_{n + 1}": [] for n in range(count)}
    fold_of = {position: f"fold_{index % count + 1}" for index, position in enumerate(blocks)}
    for tile in tiles.tiles:
        parts[fold_of[tile[0] // block, tile[1] // block]].append(tiles.name(tile))
    return parts


def _number(number: float) -> str:
    return f"{number:.12g}"


def _short(crs: CRS) -> str:
    """EPSG code, or the WKT of a system without one."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt()
