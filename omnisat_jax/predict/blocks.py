"""One block of a map: a pure function of the plan and the model, whatever other blocks there are and whoever computes it.

Letters: B windows, T dates, C bands, H W label pixels of the block, h w pixels of a sensor, S label pixels per side of a window, K classes,
P tokens per window, D width of a token.
"""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.warp import transform

from omnisat_jax.errors import UserError
from omnisat_jax.inference.model import Model
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.predict.blending import Blend
from omnisat_jax.predict.embedding import EmbeddingBlock, is_mapped
from omnisat_jax.predict.folder import LEVELS, NO_DATA
from omnisat_jax.predict.grid import Block, MapGrid
from omnisat_jax.predict.plan import MapPlan
from omnisat_jax.predict.reading import Tokens, read

STRIP = 2**27  # bytes of measurements that are read at once; at least one row of windows
# A batch (see `omnisat_jax.batch`) -> probabilities (B,S,S,K), or (B,K) of tile labels; and tokens (B,P,D) if the map has embeddings.
Predict = Callable[[Mapping[str, Any]], tuple[np.ndarray, np.ndarray | None]]


@dataclasses.dataclass(frozen=True)
class Strip:
    """The measurements under some rows of windows of a block.

    Attributes:
      rows: of windows.
      columns: of windows.
      tokens: the rectangle that they cover.
      values: sensor -> (T,h,w,C) float32, NaN where unknown.
    """

    rows: range
    columns: range
    tokens: Tokens
    values: Mapping[str, np.ndarray]


def strips(plan: MapPlan, block: Block, pool: concurrent.futures.Executor | None = None) -> Iterator[Strip]:
    """Reads what a block needs, from north to south.

    Raises:
      DataError: a file cannot be read.
    """
    grid = plan.grid
    if not is_mapped(plan, block):
        return
    rows, columns = grid.windows_of(block)
    most = rows_of_strip(plan, len(columns))
    for start in range(rows.start, rows.stop, most):
        part = range(start, min(start + most, rows.stop))
        tokens = tokens_of(grid, part, columns)
        yield Strip(part, columns, tokens, {s.name: read(s, plan.frames[s.name], grid, tokens, pool) for s in plan.sensors})


def prediction(plan: MapPlan, model: Model) -> Predict:
    """What a map needs of a model."""
    return model.predict_and_embed if plan.embedding_width else lambda batch: (model.predict_batch(batch), None)


def rows_of_strip(plan: MapPlan, columns: int) -> int:
    """Rows of windows in a strip of a number of columns of windows."""
    grid = plan.grid
    per_token = sum(len(plan.frames[s.name]) * s.spec.channels * s.spec.patch**2 * 4 for s in plan.sensors)
    width = (columns - 1) * grid.stride + grid.window
    return max(1, (STRIP // (per_token * width) - grid.window) // grid.stride + 1)


def tokens_of(grid: MapGrid, rows: range, columns: range) -> Tokens:
    """The rectangle that some rows and columns of windows cover."""
    height, width = ((len(part) - 1) * grid.stride + grid.window for part in (rows, columns))
    return Tokens(rows.start * grid.stride, columns.start * grid.stride, height, width)


def compute_block(plan: MapPlan, block: Block, parts: Iterator[Strip], predict: Predict, batch: int) -> dict[str, np.ndarray]:
    """Predicts a block.

    Args:
      plan: of the map.
      block: where.
      parts: what `strips` reads for it.
      predict: the model; see `prediction`.
      batch: windows that are predicted at once; fewer are padded, so that one program serves all.

    Returns:
      The arrays of `folder`.

    Raises:
      UserError: predictions that are not finite.
    """
    blend = Blend(plan.grid, block, len(plan.classes))
    embedding = EmbeddingBlock(plan, block) if plan.embedding_width else None
    used = np.zeros((block.height, block.width), np.uint32)
    dates = np.zeros((sum(sensor.spec.kind == "series" for sensor in plan.sensors), block.height, block.width), np.uint16)
    waiting: collections.deque[tuple[int, int, dict[str, Any]]] = collections.deque()
    for strip in parts:
        known = {name: _known(values) for name, values in strip.values.items()}
        _count(plan, block, strip, known, used, dates)
        if embedding is not None:
            embedding.count(strip.tokens, known)
        for row in strip.rows:
            for column in strip.columns:
                entry = _window(plan, strip, known, row, column)
                if entry is not None:
                    waiting.append((row, column, entry))
                if len(waiting) == batch:
                    _predict(waiting, predict, (blend, embedding), batch)
        del strip, known  # while the next one is awaited
    if waiting:
        _predict(waiting, predict, (blend, embedding), batch)
    if plan.area is not None:
        outside = ~plan.area(block)
        used[outside], dates[:, outside] = 0, 0
    return _arrays(plan, blend, used, dates) | (embedding.arrays() if embedding is not None else {})


def _known(values: np.ndarray) -> np.ndarray:
    """Where (T,h,w,C) has a known value, (T,h,w) bool. Date by date, as a series can be long."""
    out = np.empty(values.shape[:-1], bool)
    for date, found in enumerate(values):
        out[date] = ~np.isnan(found).all(-1)
    return out


def _arrays(plan: MapPlan, blend: Blend, used: np.ndarray, dates: np.ndarray) -> dict[str, np.ndarray]:
    probabilities, unknown = blend.mean(), used == 0
    best = probabilities.argmax(-1)
    confidence = np.take_along_axis(probabilities, best[..., None], -1)[..., 0]
    out = {
        "class": np.where(unknown, NO_DATA, best).astype(np.uint8),
        "confidence": np.where(unknown, NO_DATA, _levels(confidence, 100)).astype(np.uint8),
        "used": used,
        "dates": dates,
        "seam": blend.seam,
    }
    if plan.probabilities:
        stored = out["probabilities"] = np.empty((len(plan.classes), *unknown.shape), np.uint8)
        for index in range(len(stored)):
            stored[index] = np.where(unknown, NO_DATA, _levels(probabilities[..., index], LEVELS))
    return out


def _levels(probabilities: np.ndarray, levels: int) -> np.ndarray:
    return np.floor(np.clip(probabilities, 0, 1) * levels + 0.5)


def _window(plan: MapPlan, strip: Strip, known: Mapping[str, np.ndarray], row: int, column: int) -> dict[str, Any] | None:
    """The entries of a batch for one window; None if nothing is known there."""
    grid, present = plan.grid, {}
    for sensor in plan.sensors:
        patch, side = sensor.spec.patch, grid.window * sensor.spec.patch
        top, left = (row * grid.stride - strip.tokens.row) * patch, (column * grid.stride - strip.tokens.column) * patch
        area = (slice(None), slice(top, top + side), slice(left, left + side))
        if known[sensor.name][area].any():
            present[sensor.name] = strip.values[sensor.name][area]
    if not present:
        return None
    out: dict[str, Any] = {}
    for spec in plan.specs:
        if spec.kind == "location":
            out[spec.name] = {"values": _centre(grid, row, column), "present": np.array(True)}
        else:
            out[spec.name] = _entry(plan, spec, present.get(spec.name))
    return out


def _entry(plan: MapPlan, spec: ModalitySpec, values: np.ndarray | None) -> dict[str, np.ndarray]:
    """One sensor in one window; zeros if it is absent."""
    side = plan.grid.window * spec.patch
    entry = {"present": np.array(values is not None)}
    if spec.kind == "image":
        return entry | {"values": np.zeros((side, side, spec.channels), np.float32) if values is None else values[0].copy()}  # not a part of a strip
    slots, count = plan.slots[spec.name], 0 if values is None else len(values)
    stack, days = np.zeros((slots, side, side, spec.channels), np.float32), np.zeros(slots, np.int32)
    if values is not None:
        sensor = next(sensor for sensor in plan.sensors if sensor.name == spec.name)
        stack[:count] = values
        days[:count] = [sensor.frames[index].day - plan.origin for index in plan.frames[spec.name]]
    return entry | {"values": stack, "dates": days, "valid": np.arange(slots) < count}


def _centre(grid: MapGrid, row: int, column: int) -> np.ndarray:
    """Longitude and latitude of the center of a window, (2,) float32 degrees."""
    middle = grid.window / 2
    x, y = grid.left + (column * grid.stride + middle) * grid.ground, grid.top - (row * grid.stride + middle) * grid.ground
    (longitude,), (latitude,) = transform(CRS.from_wkt(grid.crs), CRS.from_epsg(4326), [x], [y])[:2]
    return np.array([longitude, latitude], np.float32)


def _predict(waiting: collections.deque, predict: Predict, sums: tuple[Blend, EmbeddingBlock | None], batch: int) -> None:
    """Predicts the windows that wait, and adds them to the block."""
    blend, embedding = sums
    windows = [waiting.popleft() for _ in range(len(waiting))]
    entries = [entry for _, _, entry in windows]
    entries += [entries[-1]] * (batch - len(entries))
    stacked = {
        name: {key: np.stack([entry[name][key] for entry in entries]) for key in entries[0][name]} for name in entries[0]
    }
    found, tokens = predict(stacked)
    count = len(windows)
    if not np.isfinite(found[:count]).all() or (tokens is not None and not np.isfinite(tokens[:count]).all()):
        raise UserError("expected finite predictions, found others: measurements may be far out of the range of training")
    side = blend.side
    for (row, column, _), probabilities in zip(windows, found):
        if probabilities.ndim == 1:
            probabilities = np.broadcast_to(probabilities, (side, side, len(probabilities)))
        blend.add(row, column, probabilities)
    if embedding is not None and tokens is not None:
        for (row, column, _), vectors in zip(windows, tokens):
            embedding.add(row, column, vectors)


def _count(plan: MapPlan, block: Block, strip: Strip, known: Mapping[str, np.ndarray], used: np.ndarray, dates: np.ndarray) -> None:
    """Notes which sensors and how many dates are known in the label pixels of a block under a strip."""
    pixels, series = plan.grid.pixels, 0
    top, left = strip.tokens.row * pixels, strip.tokens.column * pixels
    first, last = max(block.top, top), min(block.top + block.height, top + strip.tokens.rows * pixels)
    area = (slice(first - top, last - top), slice(block.left - left, block.left - left + block.width))
    place = slice(first - block.top, last - block.top)
    for bit, sensor in enumerate(plan.sensors):
        count = np.zeros((last - first, block.width), np.uint16)
        for date in known[sensor.name]:
            count += label_pixels(date, sensor.spec.patch, pixels)[area]
        used[place] |= np.where(count > 0, np.uint32(1 << bit), np.uint32(0))
        if sensor.spec.kind == "series":
            dates[series, place] = count
            series += 1


def label_pixels(known: np.ndarray, patch: int, pixels: int) -> np.ndarray:
    """Whether any pixel of a sensor under a label pixel is known.

    Args:
      known: (h,w) bool, `patch` pixels per token side.
      patch: of the sensor.
      pixels: label pixels per token side.

    Returns:
      (H,W) bool.
    """
    for axis in (0, 1):
        count = known.shape[axis] // patch * pixels
        index = np.arange(count)
        first, last = index * patch // pixels, -(-(index + 1) * patch // pixels)
        out = np.take(known, first, axis)
        for step in range(1, int((last - first).max())):
            out = out | np.take(known, np.minimum(first + step, last - 1), axis)
        known = out
    return known
