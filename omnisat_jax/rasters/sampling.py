"""Brings rasters onto the grid of a map.

Every value depends on its own pixel of the map alone, never on the rectangle that is read with it: coordinates are computed from the position in the
whole grid, and weights element by element. Maps are therefore equal to the last bit however they are cut into pieces. (GDAL's warper works in the
coordinates of the piece, and differs in the last bits.)
Letters: C bands, H W pixels of the target, h w pixels of the raster.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

from omnisat_jax.rasters.grid import RasterError, RasterGrid, upright

ALIGNED = 1e-3  # pixels by which grids may be misaligned, due to rounding
NODES = 16  # pixels of the target between points that are projected exactly; those between them are interpolated
FINEST = 16  # points per axis over which a pixel is averaged at most
JUMP = 100  # times the usual distance of nodes, from which coordinates between them are not interpolated
KEPT = 256  # plans in memory: dates of a sensor usually share one grid


@dataclasses.dataclass(frozen=True)
class Target:
    """A rectangle of pixels of a grid.

    Attributes:
      crs: coordinate reference system as WKT.
      left, top: north-west corner of the whole grid.
      pixel: side of a pixel, in units of the reference system.
      row, column: first pixel of the rectangle; may be negative.
      height, width: in pixels.
    """

    crs: str
    left: float
    top: float
    pixel: float
    row: int
    column: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Placement:
    """How a raster lies on a grid.

    Attributes:
      exact: whether its pixels are those of the grid, so that values are copied.
      words: what is done with it, "" if nothing.
    """

    exact: bool
    words: str


def placement(grid: RasterGrid, target: Target) -> Placement:
    """How a raster lies on the grid of a target, for reports."""
    grid = upright(grid, ALIGNED).grid
    if _offset(grid, target) is not None:
        return Placement(True, "")
    words = []
    t = grid.transform
    if grid.crs != CRS.from_wkt(target.crs):
        words.append(f"from {_short(grid.crs)}")
    if t.b or t.d:
        words.append("from a rotated grid")
    size = math.sqrt(abs(t.determinant))
    if grid.crs == CRS.from_wkt(target.crs) and abs(size - target.pixel) > 1e-6 * target.pixel:
        words.append(f"from pixels of {size:.6g} m to {target.pixel:.6g} m")
    return Placement(False, "warped " + (" and ".join(words) or "by a part of a pixel"))


class Sampler:
    """Reads one raster for one target; see `sampler`.

    Attributes:
      window: first row, first column, rows and columns of the raster that are needed; None if it lies outside.
    """

    def __init__(self, raster: RasterGrid, target: Target):
        self._target, self._upright = target, upright(raster, ALIGNED)
        grid = self._upright.grid
        self._offset = _offset(grid, target)
        self.window: tuple[int, int, int, int] | None = None
        if self._offset is not None:
            row, column = self._offset
            top, left = max(0, row), max(0, column)
            bottom, right = min(grid.height, row + target.height), min(grid.width, column + target.width)
        else:
            self._steps, self._point = _points(grid, target)
            corners = {(dy, dx) for dy in (self._steps[0], self._steps[-1]) for dx in (self._steps[0], self._steps[-1])}
            top, left, bottom, right = _reach([self._point(*corner) for corner in sorted(corners)], grid)
        self._window = top, left, bottom - top, right - left  # of the upright raster
        if bottom > top and right > left:
            self.window = self._upright.stored(self._window)

    def __call__(self, values: np.ndarray, known: np.ndarray, nearest: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Brings pixels onto the target.

        Args:
          values: (C,h,w) of the window, any real dtype.
          known: (C,h,w) bool, which of them are measurements.
          nearest: take the nearest pixel, as for classes, instead of interpolating.

        Returns:
          Values (C,H,W), float64 if interpolated and of the dtype of `values` otherwise, and known (C,H,W) bool. Where nothing is known the
          value is 0.
        """
        assert self.window is not None
        values, known = self._upright.turn(values), self._upright.turn(known)
        top, left, rows, columns = self._window
        shape = (len(values), self._target.height, self._target.width)
        if self._offset is not None:
            out, mask = np.zeros(shape, values.dtype), np.zeros(shape, bool)
            row, column = top - self._offset[0], left - self._offset[1]
            place = (slice(None), slice(row, row + rows), slice(column, column + columns))
            out[place], mask[place] = np.where(known, values, 0), known
            return out, mask
        if nearest:
            inside, row, column = _nearest(*self._point(0.5, 0.5), self._window)
            mask = known[:, row, column] & inside
            return np.where(mask, values[:, row, column], 0), mask
        total, count = np.zeros(shape), np.zeros(shape, np.int32)
        clean = np.where(known, values, 0).astype(np.float64)
        for dy in self._steps:
            for dx in self._steps:
                value, mask = _bilinear(clean, known, *self._point(dy, dx), self._window)
                total += value
                count += mask
        mask = 2 * count >= len(self._steps) ** 2
        return np.where(mask, total / np.maximum(count, 1), 0), mask


@functools.lru_cache(KEPT)
def _plan(crs: str, affine: tuple[float, ...], size: tuple[int, int], target: Target) -> Sampler:
    grid = RasterGrid(path=None, crs=CRS.from_wkt(crs), transform=Affine(*affine), height=size[0], width=size[1])  # pyright: ignore[reportArgumentType]
    return Sampler(grid, target)


def sampler(grid: RasterGrid, target: Target) -> Sampler:
    """How to read a raster for a target. Plans are kept, as the dates of a series share them.

    Raises:
      RasterError: coordinates cannot be converted.
    """
    try:
        return _plan(grid.crs.to_wkt(), tuple(grid.transform)[:6], (grid.height, grid.width), target)
    except RasterError:
        raise
    except Exception as error:  # of PROJ, for coordinates outside the domain of a projection
        raise RasterError(
            f"{grid.path}: expected coordinates that can be converted to {_short(CRS.from_wkt(target.crs))}, found {_short(grid.crs)} ({error}); "
            "choose another --crs"
        ) from error


def _offset(grid: RasterGrid, target: Target) -> tuple[int, int] | None:
    """Row and column of the raster at the first pixel of the target; None if their pixels are not the same."""
    t = grid.transform
    if grid.crs != CRS.from_wkt(target.crs) or t.b or t.d:
        return None
    # Over the whole raster, pixels may drift apart by ALIGNED at most.
    if abs(t.a - target.pixel) * grid.width > ALIGNED * target.pixel or abs(t.e + target.pixel) * grid.height > ALIGNED * target.pixel:
        return None
    row, column = (t.f - target.top) / target.pixel, (target.left - t.c) / target.pixel
    if abs(row - round(row)) > ALIGNED or abs(column - round(column)) > ALIGNED:
        return None
    return round(row) + target.row, round(column) + target.column


def _points(grid: RasterGrid, target: Target) -> tuple[np.ndarray, Callable[[float, float], tuple[np.ndarray, np.ndarray]]]:
    """Over which points pixels are averaged.

    Returns:
      Positions of the points within a pixel, along each axis, and a function from one of them to (rows, columns) in pixels of the raster,
      (H,W) float64 each, NaN outside its projection. Points are computed when needed, as many of them take much memory.
    """
    t, system = grid.transform, CRS.from_wkt(target.crs)
    finest = math.sqrt(abs(t.determinant)) if grid.crs == system else _ground_pixel(grid, target)
    per_axis = min(FINEST, max(1, round(target.pixel / finest)))
    steps = (np.arange(per_axis) + 0.5) / per_axis
    rows, columns = (np.arange(first, first + count, dtype=np.float64) for first, count in ((target.row, target.height), (target.column, target.width)))
    if grid.crs == system:
        return steps, lambda dy, dx: _to_raster(t, target, rows + dy, columns + dx)
    nodes = _nodes(grid, target)
    torn = _torn(nodes, NODES * target.pixel / finest)

    def point(dy: float, dx: float) -> tuple[np.ndarray, np.ndarray]:
        found = _between(nodes, target, rows + dy, columns + dx)
        if torn.any():
            (first_row, first_column), *_ = nodes
            cells = (np.floor((axis + step) / NODES).astype(int) - first for axis, step, first in ((rows, dy, first_row), (columns, dx, first_column)))
            i, j = np.nonzero(torn[np.ix_(*cells)])
            exact = _project(grid, target, rows[i] + dy, columns[j] + dx)
            for whole, part in zip(found, exact, strict=True):
                whole[i, j] = part
        return _around(grid, *found)

    return steps, point


def _to_raster(t, target, rows, columns):
    """Pixel coordinates of the raster at pixel coordinates of the target, in the same reference system."""
    x, y = target.left + columns * target.pixel, target.top - rows * target.pixel
    inverse = ~t
    x, y = np.meshgrid(x, y)
    return inverse.d * x + inverse.e * y + inverse.f, inverse.a * x + inverse.b * y + inverse.c


def _nodes(grid: RasterGrid, target: Target):
    """Pixel coordinates of the raster at every NODES-th pixel of the target's grid: first node (row, column), and (rows, columns) arrays."""
    first = target.row // NODES, target.column // NODES
    last = -(-(target.row + target.height) // NODES), -(-(target.column + target.width) // NODES)
    rows = np.arange(first[0], last[0] + 1, dtype=np.float64) * NODES
    columns = np.arange(first[1], last[1] + 1, dtype=np.float64) * NODES
    return first, *_project(grid, target, *np.meshgrid(rows, columns, indexing="ij"))


def _project(grid: RasterGrid, target: Target, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns in pixels of the raster at those of the target's grid, each projected on its own; NaN outside the raster's projection."""
    x, y = target.left + columns * target.pixel, target.top - rows * target.pixel
    there = transform(CRS.from_wkt(target.crs), grid.crs, x.ravel().tolist(), y.ravel().tolist())
    x, y = (np.asarray(numbers, np.float64).reshape(x.shape) for numbers in there[:2])
    inverse = ~grid.transform
    with np.errstate(invalid="ignore"):
        found = inverse.d * x + inverse.e * y + inverse.f, inverse.a * x + inverse.b * y + inverse.c
    row, column = (np.where(np.isfinite(array), array, np.nan) for array in found)
    return row, column


def _torn(nodes, step: float) -> np.ndarray:
    """Between which four nodes coordinates of the raster jump, as longitudes do at the 180th meridian; `step` pixels is the usual distance."""
    torn = np.zeros([size - 1 for size in nodes[1].shape], bool)
    with np.errstate(invalid="ignore"):
        for array in nodes[1:]:
            corners = np.stack([array[:-1, :-1], array[:-1, 1:], array[1:, :-1], array[1:, 1:]])
            torn |= corners.max(0) - corners.min(0) > JUMP * step
    return torn


def _around(grid: RasterGrid, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same points with longitudes as the raster counts them: it may cross the 180th meridian, or count from 0 to 360 degrees."""
    if not grid.crs.is_geographic:
        return rows, columns
    t, inverse, turn = grid.transform, ~grid.transform, full_circle(grid.crs)
    west = t.a * grid.width / 2 + t.b * grid.height / 2 + t.c - turn / 2
    turns = np.floor((t.a * columns + t.b * rows + t.c - west) / turn)
    return rows - turns * turn * inverse.d, columns - turns * turn * inverse.a


def full_circle(crs: CRS) -> float:
    """360 degrees in the unit of a geographic reference system."""
    return 2 * math.pi / crs.units_factor[1]


def _between(nodes, target, rows, columns):
    """Interpolates the nodes bilinearly."""
    (first_row, first_column), *arrays = nodes
    row, column = rows / NODES, columns / NODES
    r, c = np.floor(row), np.floor(column)
    dr, dc = (row - r)[:, None], (column - c)[None]
    i, j = (r - first_row).astype(int)[:, None], (c - first_column).astype(int)[None]
    out = []
    for array in arrays:
        upper = array[i, j] * (1 - dc) + array[i, j + 1] * dc
        lower = array[i + 1, j] * (1 - dc) + array[i + 1, j + 1] * dc
        out.append(upper * (1 - dr) + lower * dr)
    return out[0], out[1]


def _ground_pixel(grid: RasterGrid, target: Target) -> float:
    """Side of a pixel of the raster in units of the target's system, at its center."""
    t = grid.transform
    x, y = t.a * grid.width / 2 + t.b * grid.height / 2 + t.c, t.d * grid.width / 2 + t.e * grid.height / 2 + t.f
    steps = [(x, y), (x + t.a, y + t.d), (x + t.b, y + t.e)]
    xs, ys = transform(grid.crs, CRS.from_wkt(target.crs), [p[0] for p in steps], [p[1] for p in steps])[:2]
    sides = [math.hypot(xs[i] - xs[0], ys[i] - ys[0]) for i in (1, 2)]
    if not all(math.isfinite(side) and side > 0 for side in sides):
        raise RasterError(f"{grid.path}: expected coordinates that can be converted, found a place outside the domain of its projection")
    return math.sqrt(sides[0] * sides[1])


def _reach(points, grid: RasterGrid) -> tuple[int, int, int, int]:
    """First and last row and column of the raster that are needed."""
    if not any(np.isfinite(y).any() for y, _ in points):
        return 0, 0, 0, 0
    low_y, high_y = min(np.nanmin(y) for y, _ in points), max(np.nanmax(y) for y, _ in points)
    low_x, high_x = min(np.nanmin(x) for _, x in points), max(np.nanmax(x) for _, x in points)
    top, left = max(0, math.floor(low_y) - 1), max(0, math.floor(low_x) - 1)
    return top, left, min(grid.height, math.ceil(high_y) + 1), min(grid.width, math.ceil(high_x) + 1)


def _nearest(y, x, window):
    """Whether the pixel at (y, x) lies in the window, and its row and column there."""
    top, left, rows, columns = window
    with np.errstate(invalid="ignore"):
        row, column = np.floor(y) - top, np.floor(x) - left
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    return inside, np.where(inside, row, 0).astype(np.intp), np.where(inside, column, 0).astype(np.intp)


def _bilinear(values, known, y, x, window):
    """Weighted means of the known ones among the four nearest pixels; known where the nearest of all is known."""
    inside, row, column = _nearest(y, x, window)
    mask = known[:, row, column] & inside
    top, left, rows, columns = window
    fy, fx = np.where(inside, y - 0.5 - top, 0), np.where(inside, x - 0.5 - left, 0)
    y0, x0 = np.floor(fy), np.floor(fx)
    dy, dx = fy - y0, fx - x0
    total, weights = np.zeros(mask.shape), np.zeros(mask.shape)
    for below, wy in ((0, 1 - dy), (1, dy)):
        for right, wx in ((0, 1 - dx), (1, dx)):
            i, j = (y0 + below).astype(np.intp), (x0 + right).astype(np.intp)
            there = (i >= 0) & (i < rows) & (j >= 0) & (j < columns)
            i, j = np.clip(i, 0, rows - 1), np.clip(j, 0, columns - 1)
            weight = wy * wx * (known[:, i, j] & there)
            total += weight * values[:, i, j]
            weights += weight
    return np.where(mask, total / np.where(weights > 0, weights, 1), 0), mask


def _short(crs: CRS) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt()
