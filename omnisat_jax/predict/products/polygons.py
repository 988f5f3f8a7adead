"""Areas of equal class as polygons, found block by block and joined across the borders of blocks.

Pixels belong together if they share a side. Everything is computed in whole pixels, which is exact, so that the polygons do not depend on the size
of the blocks; meters come last.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import rasterio.features

from omnisat_jax.predict.folder import NO_DATA, MapInfo
from omnisat_jax.predict.grid import Block
from omnisat_jax.predict.vector import need_packages, write_polygons


class Polygons:
    """The polygons of a map. Memory grows with their number, not with the number of pixels.

    Attributes:
      minimum: smallest area of a polygon that is kept, in m2.
      count: number of polygons that were written.
    """

    def __init__(self, info: MapInfo, minimum: float):
        """Starts without polygons.

        Args:
          info: the map.
          minimum: smallest area of a polygon that is kept, in m2.

        Raises:
          UserError: a package of the extra `vector` is not installed.
        """
        self._geopandas, self._shapely = need_packages()
        self._info, self.minimum, self.count = info, minimum, 0
        self._whole: list[list[Any]] = [[] for _ in info.classes]
        self._cut: list[list[Any]] = [[] for _ in info.classes]  # pieces that may go on in another block

    def add(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
        """Adds the pieces of one block."""
        shapely, classes, grid = self._shapely, np.ascontiguousarray(arrays["class"]), self._info.grid
        pieces = list(rasterio.features.shapes(classes, mask=classes != NO_DATA, connectivity=4))
        if not pieces:
            return
        values = np.array([int(value) for _, value in pieces])
        shapes = np.array([shapely.geometry.shape(piece) for piece, _ in pieces], object)
        shapes = shapely.transform(shapes, lambda points: points + (block.left, block.top))
        broken = ~shapely.is_valid(shapes)  # rings that touch themselves at a corner
        shapes[broken] = shapely.make_valid(shapes[broken])
        left, top, right, bottom = shapely.bounds(shapes).T
        cut = (left == block.left) & (block.left > 0) | (top == block.top) & (block.top > 0)
        cut |= (right == block.left + block.width) & (right < grid.width) | (bottom == block.top + block.height) & (bottom < grid.height)
        kept = self._large(shapes)
        for value in np.unique(values):
            of_class = values == value
            self._whole[value].extend(shapes[of_class & ~cut & kept])
            self._cut[value].extend(shapes[of_class & cut])

    def _large(self, shapes: np.ndarray) -> np.ndarray:
        return self._shapely.area(shapes) * self._info.grid.pixel**2 >= self.minimum

    def table(self) -> Any:
        """A GeoDataFrame with the columns crop (name of the class), area_m2 and geometry, sorted by the first pixel of each polygon, row by row."""
        shapely, grid = self._shapely, self._info.grid
        shapes, values = [], []
        for value in range(len(self._info.classes)):
            joined = shapely.get_parts(shapely.union_all(np.array(self._cut[value], object))) if self._cut[value] else np.array([], object)
            found = [*self._whole[value], *joined[self._large(joined)]]
            shapes.extend(found)
            values.extend([value] * len(found))
        shapes, classes = _plain(shapely, np.array(shapes, object)), np.array(values, int)
        order = np.lexsort(_first_pixels(shapely, shapes)[::-1]) if len(shapes) else np.array([], int)
        shapes, classes = shapes[order], classes[order]
        area = shapely.area(shapes) * grid.pixel**2
        ground = shapely.transform(shapes, lambda points: points * (grid.pixel, -grid.pixel) + (grid.left, grid.top))
        columns = {"crop": [self._info.classes[value] for value in classes], "area_m2": area}
        return self._geopandas.GeoDataFrame(columns, geometry=ground, crs=grid.crs)

    def write(self, path: pathlib.Path, work: pathlib.Path) -> None:
        """Writes the table; see `write_polygons`."""
        table = self.table()
        write_polygons(table, path, work)
        self.count = len(table)


def _first_pixels(shapely: Any, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the northernmost, then westernmost pixel of each polygon, which no other polygon has."""
    points, of_point = shapely.get_coordinates(shapes, return_index=True)
    order = np.lexsort((points[:, 0], points[:, 1], of_point))
    first = order[np.searchsorted(of_point[order], np.arange(len(shapes)))]
    return points[first, 1], points[first, 0]


def _plain(shapely: Any, shapes: np.ndarray) -> np.ndarray:
    """Polygons in one form: without points on straight sides, which the borders of blocks leave, and with rings that start at a fixed point."""
    rings, of_ring = shapely.get_rings(shapes, return_index=True)
    if not len(rings):
        return shapes
    points, of_point = shapely.get_coordinates(rings, return_index=True)
    last = np.append(of_point[1:] != of_point[:-1], True)  # which repeats the first point
    points, of_point = points[~last], of_point[~last]
    starts = np.searchsorted(of_point, np.arange(len(rings)))
    counts = np.diff(np.append(starts, len(of_point)))
    position = np.arange(len(of_point)) - starts[of_point]
    before = points[starts[of_point] + (position - 1) % counts[of_point]]
    after = points[starts[of_point] + (position + 1) % counts[of_point]]
    corner = ((before == points) != (after == points)).any(1)  # sides run along rows and columns
    plain = shapely.linearrings(points[corner], indices=of_point[corner])
    return shapely.normalize(shapely.polygons(plain, indices=of_ring))
