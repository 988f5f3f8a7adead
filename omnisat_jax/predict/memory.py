"""How much memory a map takes, which does not depend on its size: `memory`."""

import math
from collections.abc import Iterator

import rasterio
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform

from omnisat_jax.predict.blocks import rows_of_strip, tokens_of
from omnisat_jax.predict.grid import MapGrid
from omnisat_jax.predict.plan import MapPlan
from omnisat_jax.predict.reading import CHUNK, target
from omnisat_jax.predict.sensors import File, Raster, Sensor
from omnisat_jax.rasters.sampling import Target, placement, sampler

CACHE = 2**26  # bytes of decoded pixels that GDAL keeps
PROBE = 64  # pixels of the map over which the pixels of a raster are counted
INTERPOLATED = 100  # bytes per value while it is interpolated: its four neighbors, their weights, sums in float64
COPIED = 30  # bytes per value while it is converted
SURVEYED = 40  # bytes per value while statistics are computed


def bounded_cache() -> rasterio.Env:
    """A context in which GDAL keeps CACHE bytes, instead of a share of all memory. It holds for all threads."""
    return rasterio.Env(GDAL_CACHEMAX=CACHE)


def memory(plan: MapPlan, readers: int) -> int:
    """Bytes that the making of a map needs at most, beside the model, its batch on the device, and the libraries.

    They depend on the size of a block, a window and a batch, never on the size of the map, the number of its files or the number of its blocks
    (1 kB a block and some plans apart). With K classes, S series and blocks of B x B pixels, the sum of
      classes   B^2 * (K + 1) * 4: weighted probabilities of a block, and their weights
      results   B^2 * (2 * (6 + 2 S) + 26), with --probabilities also B^2 * K * 2: its arrays and their compressed copy
      tokens    with embeddings of D numbers, 8 * D for each token of a block and of a batch
      windows   probabilities of the windows in two rows, which are compared, and of two batches
      batch     twice the measurements of a batch: its windows, and the same joined
      strips    twice a strip (read, in use): `blocks.STRIP` bytes, but at least one row of windows of a block in all sensors and dates
      readers   for each thread, the stored pixels of one date in a strip, and CHUNK values that are brought onto the grid of the map
      cache     decoded pixels in GDAL: CACHE, or one stored rectangle of a file per thread if that is more
    or, if it is more, what the plan of the map needs: one window of one sensor on all of its dates instead of classes to strips.

    Args:
      plan: of the map.
      readers: threads that read files.
    """
    parts = memory_parts(plan, readers)
    making = sum(parts[name] for name in ("classes", "results", "tokens", "windows", "batch", "strips"))
    return max(making, parts["survey"]) + parts["readers"] + parts["cache"]


def memory_parts(plan: MapPlan, readers: int) -> dict[str, int]:
    """Bytes of each part of `memory`, with the same arguments."""
    grid, classes, batch = plan.grid, len(plan.classes), plan.info.settings["batch"]
    pixels = min(grid.block, grid.height) * min(grid.block, grid.width)
    rows, columns = (_windows_across(grid, size, count) for size, count in zip((grid.height, grid.width), grid.windows))
    strip = tokens_of(grid, range(min(rows, rows_of_strip(plan, columns))), range(columns))
    tokens = strip.rows * strip.columns
    series = len(plan.info.series)
    stored = 6 + 2 * series + (classes if plan.probabilities else 0)
    values = sum(tokens * _per_token(plan, s) * s.spec.channels * 4 for s in plan.sensors)
    masks = sum(tokens * _per_token(plan, s) for s in plan.sensors)
    threads = {s.name: min(readers, len(plan.frames[s.name])) for s in plan.sensors}
    window = max(grid.window**2 * s.spec.patch**2 * s.spec.channels * (4 * len(s.frames) + SURVEYED) for s in plan.sensors)
    return {
        "classes": pixels * (classes + 1) * 4,
        "results": pixels * (2 * stored + 26),
        "tokens": 8 * plan.embedding_width * (pixels // grid.pixels**2 + batch * grid.window**2),
        "windows": 2 * (columns + batch + 1) * (grid.window * grid.pixels) ** 2 * classes * 4,
        "batch": 2 * batch * sum(_window_bytes(plan, spec) for spec in plan.specs),
        "strips": 2 * values + masks,
        "survey": window,
        "readers": max(threads[s.name] * max(_reading(plan, s, raster, tokens) for raster in _distinct(s)) for s in plan.sensors),
        "cache": max(CACHE, *(threads[s.name] * _stored_rectangle(raster) for s in plan.sensors for raster in s.rasters)),
    }


def _windows_across(grid: MapGrid, size: int, count: int) -> int:
    """The most windows that overlap a block along an axis."""
    side, step = grid.window * grid.pixels, grid.stride * grid.pixels
    return min(count, (min(grid.block, size) + side - 2) // step + 1)


def _per_token(plan: MapPlan, sensor: Sensor) -> int:
    return len(plan.frames[sensor.name]) * sensor.spec.patch**2


def _window_bytes(plan: MapPlan, spec) -> int:
    if spec.kind == "location":
        return 8
    return plan.slots.get(spec.name, 1) * (plan.grid.window * spec.patch) ** 2 * spec.channels * 4


def _distinct(sensor: Sensor) -> Iterator[Raster]:
    """One raster of each size of pixels, number of bands and type."""
    found = {}
    for raster in sensor.rasters:
        t = raster.grid.transform
        found.setdefault((round(abs(t.determinant), 6), raster.grid.crs.to_wkt(), raster.grid.height, raster.grid.width, _form(raster)), raster)
    yield from found.values()


def _form(raster: Raster) -> tuple[int, int]:
    """Number of bands, and bytes per pixel of a band; of other rasters than files as for most measurements."""
    return (len(raster.layer.order), raster.layer.dtype.itemsize) if isinstance(raster, File) else (1, 4)


def _reading(plan: MapPlan, sensor: Sensor, raster: Raster, tokens: int) -> int:
    """Bytes that a thread needs to read a date in so many tokens."""
    (bands, size), ratio = _form(raster), _density(plan.grid, sensor, raster)
    exact = placement(raster.grid, target(plan.grid, sensor.spec.patch, tokens_of(plan.grid, range(1), range(1)))).exact
    stored = min(raster.grid.height * raster.grid.width, math.ceil(tokens * sensor.spec.patch**2 * ratio))
    return stored * bands * (2 * size + 3) + math.ceil(CHUNK * (COPIED if exact else INTERPOLATED + 10 * ratio))


def _density(grid: MapGrid, sensor: Sensor, raster: Raster) -> float:
    """Pixels of a raster per pixel of a sensor on the map, at the center of the raster."""
    t, place = raster.grid.transform, target(grid, sensor.spec.patch, tokens_of(grid, range(1), range(1)))
    column, row = raster.grid.width / 2, raster.grid.height / 2
    x, y = t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f
    try:
        (x,), (y,) = transform(raster.grid.crs, CRS.from_wkt(grid.crs), [x], [y])[:2]
    except RasterioError:  # it is refused when it is read
        return 1.0
    if not (math.isfinite(x) and math.isfinite(y)):
        return 1.0
    row, column = math.floor((place.top - y) / place.pixel) - PROBE // 2, math.floor((x - place.left) / place.pixel) - PROBE // 2
    window = sampler(raster.grid, Target(place.crs, place.left, place.top, place.pixel, row, column, PROBE, PROBE)).window
    return window[2] * window[3] / PROBE**2 if window else 1.0


def _stored_rectangle(raster: Raster) -> int:
    bands, size = _form(raster)
    return math.prod(raster.layer.block) * bands * size if isinstance(raster, File) else 0
