"""Where a map lies: its reference system, and a grid that covers the imagery and shares its pixels."""

import contextlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
from rasterio._err import CPLE_BaseError  # GDAL's own errors, some of which rasterio does not convert
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform

from omnisat_jax.earth import EARTH_RADIUS
from omnisat_jax.errors import UserError, reason
from omnisat_jax.predict.area import EXCHANGED, Area
from omnisat_jax.predict.grid import MapGrid
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.sensors import Sensor
from omnisat_jax.rasters.grid import RasterError, RasterGrid, upright
from omnisat_jax.rasters.sampling import ALIGNED, full_circle

SAME = 1e-6  # relative difference of two equal sizes of pixels
EDGE = 21  # points along the edge of a raster that are projected
LARGEST = 2**31  # label pixels along an axis
SPARSE = 0.3  # share of a map that rasters should cover
NOTHING = 0.001  # share that they must cover
STRETCHED = 0.05  # relative difference of a meter of a map from a meter on the ground; that of UTM is below 0.002
STEP = 500.0  # m, over which it is measured
ASTRAY = 0.1  # share of its diagonal by which a raster may be elsewhere after it was converted forth and back
TINY = 0.01  # meters; no image has such pixels
_CORRECT = "its reference system seems to be another one; correct it (gdal_edit.py -a_srs EPSG:CODE)"
Bounds = tuple[float, float, float, float]  # left, bottom, right and top


def lay_grid(sensors: Sequence[Sensor], area: Area | None, window: int, pixels: int, options: PredictOptions) -> MapGrid:
    """The grid of a map.

    Its tokens are aligned with the pixels of the first sensor whose pixels have the size and reference system of the map, and with multiples of
    their own size if there is none.

    Args:
      sensors: at least one.
      area: what is mapped; None = everything that a sensor covers.
      window: tokens per side of a window.
      pixels: label pixels per side of a token.
      options: how the map is made.

    Raises:
      UserError: there is no suitable reference system, or nothing to map.
    """
    ground = sensors[0].spec.ground
    grids = _grids(sensors)
    crs = _choose_crs(grids, options.crs)
    left, bottom, right, top = _extent(grids, crs)
    if area is not None:
        left, bottom, right, top = _covered(area, crs, (left, bottom, right, top))
    x, y = _anchor(sensors, crs)
    slack = 1e-6  # tokens, from rounding
    first, above = math.floor((left - x) / ground + slack), math.floor((y - top) / ground + slack)
    columns, rows = math.ceil((right - x) / ground - slack) - first, math.ceil((y - bottom) / ground - slack) - above
    if max(rows, columns) * pixels > LARGEST:
        raise UserError(
            f"expected a map of at most {LARGEST:,} pixels along an axis, found {max(rows, columns) * pixels:,}; give an --aoi, and check the "
            f"georeference of {_outermost(grids, crs).path}, which lies farthest from the others"
        )
    return MapGrid(
        crs=crs.to_wkt(), left=x + first * ground, top=y - above * ground, ground=ground, pixels=pixels, rows=max(1, rows), columns=max(1, columns),
        window=window, stride=options.stride(window), block=options.block,
    )  # fmt: skip


def _covered(area: Area, crs: CRS, extent: Bounds) -> Bounds:
    """Left, bottom, right and top of what the imagery covers of an area.

    Raises:
      UserError: nothing, or the area cannot be brought to the reference system.
    """
    try:
        found = _common(area, crs, extent)
        problem = f"{area.source}: expected an area with imagery, found none: no sensor covers any of it"
    except UserError as error:
        found, problem = None, str(error)
    if found is None:
        with contextlib.suppress(UserError):
            if _common(area.exchanged, crs, extent) is not None:
                problem += f". {EXCHANGED}"
        raise UserError(problem)
    return found


def _common(area: Area, crs: CRS, extent: Bounds) -> Bounds | None:
    left, bottom, right, top = extent
    a, b, c, d = area.project(crs.to_wkt()).bounds
    return None if a >= right or c <= left or b >= top or d <= bottom else (max(left, a), max(bottom, b), min(right, c), min(top, d))


def far_apart(sensors: Sequence[Sensor], grid: MapGrid, whole: bool) -> list[str]:
    """A remark if rasters cover little of a map, as after a wrong georeference.

    Args:
      sensors: whose rasters are meant.
      grid: of the map.
      whole: whether everything is mapped that a raster covers, and not an area that somebody has named.

    Raises:
      RasterError: they cover next to nothing of the whole map, which would take days and fill disks.
    """
    grids, crs = _grids(sensors), CRS.from_wkt(grid.crs)
    boxes = np.array([_extent([raster], crs) for raster in grids])
    left, bottom, right, top = grid.bounds
    width = np.minimum(boxes[:, 2], right) - np.maximum(boxes[:, 0], left)
    height = np.minimum(boxes[:, 3], top) - np.maximum(boxes[:, 1], bottom)
    distinct = {tuple(np.round(box)): w * h for box, w, h in zip(boxes.tolist(), width.clip(0), height.clip(0))}
    share = sum(distinct.values()) / ((right - left) * (top - bottom))
    if share >= SPARSE:
        return []
    where = f"the georeference of {_outermost(grids, crs).path}, which lies farthest from the others"
    if whole and share < NOTHING:
        raise RasterError(
            f"expected files that cover at least {100 * NOTHING:g} % of the map around them, found {100 * share:.2g} % of {(right - left) / 1000:,.0f} x "
            f"{(top - bottom) / 1000:,.0f} km; check {where}, or give an --aoi"
        )
    return [f"files cover at most {max(100 * share, 0.1):.2g} % of the map; give an --aoi, or check {where}"]


def _grids(sensors: Sequence[Sensor]) -> list[RasterGrid]:
    return list(dict.fromkeys(piece.raster.grid for sensor in sensors for frame in sensor.frames for piece in frame.pieces))


def in_metres(crs: CRS) -> bool:
    """Whether coordinates are meters. How long they are on the ground depends on the place, see `ground_metre`."""
    return bool(crs.is_projected) and abs(crs.linear_units_factor[1] - 1) < SAME


def ground_metre(crs: CRS, x: float, y: float) -> float:
    """How long a meter of a reference system is on the ground at a place, m: along its rows or columns, whichever differs more from 1.

    It is 1 where the system has no such place. In Web Mercator it is the cosine of the latitude.
    """
    xs, ys = [x - STEP, x + STEP, x, x], [y, y, y - STEP, y + STEP]
    try:
        longitude, latitude = np.radians(transform(crs, CRS.from_epsg(4326), xs, ys)[:2])
    except (RasterioError, CPLE_BaseError):
        return 1.0
    east = (np.diff(longitude)[::2] + np.pi) % (2 * np.pi) - np.pi  # also across the antimeridian
    lengths = EARTH_RADIUS * np.hypot(east * np.cos(latitude[::2]), np.diff(latitude)[::2]) / (2 * STEP)
    if not np.isfinite(lengths).all() or not lengths.all():
        return 1.0
    return float(lengths[np.abs(np.log(lengths)).argmax()])


def _choose_crs(grids: Sequence[RasterGrid], text: str) -> CRS:
    if text:
        try:
            crs = CRS.from_user_input(text)
        except CRSError as error:
            raise UserError(f"--crs: expected a coordinate reference system such as EPSG:32632, found {text!r} ({reason(error)})") from error
        if not in_metres(crs):
            raise UserError(f"--crs: expected a projected system in meters, such as EPSG:32632, found {crs.to_string()}")
        (x,), (y,) = _converted(grids[0], crs, *_centre(grids[0]))
        if abs((length := ground_metre(crs, x, y)) - 1) > STRETCHED:
            raise UserError(
                f"--crs: expected a system whose meters are meters on the ground, such as {_utm(grids[0]).to_string()}, found {_short(crs)}, in which a meter "
                f"is {length:.2f} m long there"
            )
        return crs
    found = next((grid.crs for grid in grids if in_metres(grid.crs) and _is_true(grid)), None)
    return found or _utm(grids[0])


def _is_true(grid: RasterGrid) -> bool:
    """Whether a meter of the reference system of a raster is one on the ground."""
    (x,), (y,) = _centre(grid)
    return abs(ground_metre(grid.crs, x, y) - 1) <= STRETCHED


def _centre(grid: RasterGrid) -> tuple[list[float], list[float]]:
    """x and y of the center of a raster."""
    t = grid.transform
    return [t.c + (t.a * grid.width + t.b * grid.height) / 2], [t.f + (t.d * grid.width + t.e * grid.height) / 2]


def _utm(grid: RasterGrid) -> CRS:
    (longitude,), (latitude,) = _converted(grid, CRS.from_epsg(4326), *_centre(grid))
    longitude = (longitude + 180) % 360 - 180  # some files count from 0 to 360
    if not math.isfinite(longitude) or abs(latitude) > 84:
        raise RasterError(f"{grid.path}: expected a place in a UTM zone, found longitude {longitude:g}, latitude {latitude:g}; choose a system with --crs")
    zone = min(60, max(1, math.floor((longitude + 180) / 6) + 1))
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def _converted(grid: RasterGrid, crs: CRS, xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    """Coordinates of a raster in another reference system.

    Raises:
      RasterError: its system is not one of places on Earth, or the coordinates are none of it.
    """
    if not (grid.crs.is_projected or grid.crs.is_geographic):
        raise RasterError(
            f"{grid.path}: expected a reference system of places on Earth, found {_short(grid.crs)}, which is neither geographic nor projected; "
            "correct it (gdal_edit.py -a_srs EPSG:CODE)"
        )
    _need_degrees(grid, xs, ys)
    try:
        found = transform(grid.crs, crs, xs, ys)[:2]
        back = transform(crs, grid.crs, *found)[:2]
    except (RasterioError, CPLE_BaseError) as error:
        raise RasterError(
            f"{grid.path}: expected coordinates that can be converted to {_short(crs)}, found others, in {_short(grid.crs)}; check its georeference "
            f"(gdalinfo), or choose another --crs ({reason(error)[:120]})"
        ) from error
    moved = np.abs(np.subtract(back, (xs, ys)))
    if grid.crs.is_geographic:
        moved[0] -= full_circle(grid.crs) * np.round(moved[0] / full_circle(grid.crs))
    t = grid.transform
    if np.isfinite(moved).all() and np.abs(moved).max() > ASTRAY * math.hypot(t.a * grid.width + t.b * grid.height, t.d * grid.width + t.e * grid.height):
        raise RasterError(
            f"{grid.path}: expected coordinates within the range of {_short(grid.crs)}, found {_span(xs, ys)}, which lie "
            "beyond its edge; warp it to another system first (gdalwarp -t_srs)"
        )
    return found[0], found[1]


def _span(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Coordinates in words."""
    return ", ".join(f"{axis} {min(found):.10g}{f' to {max(found):.10g}' if len(found) > 1 else ''}" for axis, found in (("x", xs), ("y", ys)))


def _need_degrees(grid: RasterGrid, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Refuses a raster in longitude and latitude whose coordinates are none."""
    if not grid.crs.is_geographic:
        return
    turn = full_circle(grid.crs)
    (west, east), (south, north) = ((min(numbers), max(numbers)) for numbers in (xs, ys))
    farthest, highest = max(abs(west), abs(east)), max(abs(south), abs(north))
    if farthest > 1.5 * turn or highest > turn / 4 * (1 + SAME):
        exchanged = farthest <= turn / 4 and highest <= turn
        advice = "they seem to be exchanged, as longitude, or x, comes first (gdal_edit.py -a_ullr)" if exchanged else _CORRECT
        raise RasterError(
            f"{grid.path}: expected longitude and latitude, as {_short(grid.crs)} has them, found {_span(xs, ys)}; {advice}"
        )


def _need_meters(grid: RasterGrid, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Refuses a raster in meters whose coordinates seem to be degrees."""
    if in_metres(grid.crs) and math.sqrt(abs(grid.transform.determinant)) < TINY and max(map(abs, xs)) <= 360 and max(map(abs, ys)) <= 90:
        raise RasterError(
            f"{grid.path}: expected coordinates in meters, as {_short(grid.crs)} has them, found {_span(xs, ys)}, as if they were "
            f"degrees; {_CORRECT}"
        )


def _short(crs: CRS) -> str:
    """A reference system in a few words: its code, or the name and the beginning of its definition."""
    text = crs.to_string()
    return text if len(text) <= 60 else f"{text[:60]}..."


def _extent(grids: Sequence[RasterGrid], crs: CRS) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of all rasters together."""
    boxes = []
    for grid in grids:
        xs, ys = map(list, zip(*_edge(grid)))
        _need_meters(grid, xs, ys)
        if grid.crs != crs:
            xs, ys = _converted(grid, crs, xs, ys)
        if not np.isfinite([xs, ys]).all():
            raise RasterError(f"{grid.path}: expected coordinates that can be converted to {crs.to_string()}, found others; choose another --crs")
        boxes.append((min(xs), min(ys), max(xs), max(ys)))
    lefts, bottoms, rights, tops = zip(*boxes)
    return min(lefts), min(bottoms), max(rights), max(tops)


def _outermost(grids: Sequence[RasterGrid], crs: CRS) -> RasterGrid:
    """The raster whose center is farthest from the median of all."""
    boxes = np.array([_extent([grid], crs) for grid in grids])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return grids[int(np.abs(centres - np.median(centres, 0)).max(1).argmax())]


def _edge(grid: RasterGrid) -> Iterator[tuple[float, float]]:
    t = grid.transform
    for step in np.linspace(0, 1, EDGE).tolist():
        for u, v in ((step, 0.0), (step, 1.0), (0.0, step), (1.0, step)):
            column, row = u * grid.width, v * grid.height
            yield t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f


def _anchor(sensors: Sequence[Sensor], crs: CRS) -> tuple[float, float]:
    for sensor in sensors:
        for raster in sensor.rasters:
            t = upright(raster.grid, ALIGNED).grid.transform
            size = sensor.spec.resolution
            if raster.grid.crs == crs and not (t.b or t.d) and max(abs(t.a - size), abs(t.e + size)) < SAME * size:
                return t.c, t.f
    return 0.0, 0.0
