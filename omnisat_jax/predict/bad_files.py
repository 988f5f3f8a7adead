"""Finds rasters whose pixels cannot be read, before a map depends on them."""

import concurrent.futures
import dataclasses
import math
from collections.abc import Iterator

from omnisat_jax.errors import DataError
from omnisat_jax.predict.sensors import File, Frame, Raster, Sensor

VALUES = 2**20  # that are read at once, but at least one of the rectangles in which a file stores its pixels
SQUARE = 256, 256  # pixels; of rasters that are no files


def without_unreadable(sensor: Sensor, pool: concurrent.futures.Executor | None = None) -> Sensor:
    """Reads every raster of a sensor completely, and leaves out those that cannot be read.

    A raster is used everywhere or nowhere: whether a part of it can be read must not depend on how a map is cut into blocks. The other rasters
    of the same product are left out with it.

    Args:
      sensor: what is checked.
      pool: reads files at the same time.

    Returns:
      The sensor without unreadable rasters, with a remark on each; dates without any raster are left out.

    Raises:
      DataError: none can be read.
    """
    rasters = list(dict.fromkeys(sensor.rasters))
    errors = dict(zip(rasters, (pool.map if pool else map)(_error, rasters)))
    frames = []
    for frame in sensor.frames:
        broken = {piece.product for piece in frame.pieces if piece.product and any(errors[raster] for raster in piece.rasters)}
        pieces = tuple(piece for piece in frame.pieces if not any(errors[raster] for raster in piece.rasters) and piece.product not in broken)
        masks = tuple(mask for mask in frame.masks if errors[mask] is None)
        # Without its clouds a date would be used as if it were clear.
        if pieces and len(masks) == len(frame.masks):
            frames.append(Frame(frame.day, pieces, masks))
    bad = [error for error in errors.values() if error is not None]
    if not frames:
        raise bad[0]
    return dataclasses.replace(sensor, frames=tuple(frames), remarks=(*sensor.remarks, *(f"left out: {error}" for error in bad)))


def _error(raster: Raster) -> DataError | None:
    try:
        for area in _areas(raster):
            raster.read(area)
    except DataError as error:
        return error
    return None


def _areas(raster: Raster) -> Iterator[tuple[int, int, int, int]]:
    """Areas that cover a raster: first row, first column, rows and columns. Each holds whole rectangles of the file, so that none is decoded twice."""
    grid, (rows, columns), bands = raster.grid, SQUARE, 1
    if isinstance(raster, File):
        (rows, columns), bands = raster.layer.block, len(raster.layer.order)
    most = max(1, VALUES // (rows * columns * bands))  # rectangles
    across = min(most, math.ceil(grid.width / columns))
    height, width = rows * max(1, most // across), columns * across
    for row in range(0, grid.height, height):
        for column in range(0, grid.width, width):
            yield row, column, min(height, grid.height - row), min(width, grid.width - column)
