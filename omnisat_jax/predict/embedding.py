"""The embeddings of one block of a map: tokens of overlapping windows are blended like probabilities, then stored as small integers.

Letters: h w tokens of the block, P tokens per window, D width of a token.
"""

from collections.abc import Mapping

import numpy as np

from omnisat_jax.predict.blending import Blend
from omnisat_jax.predict.grid import Block
from omnisat_jax.predict.plan import MapPlan
from omnisat_jax.predict.reading import Tokens

LEVELS = 127  # the largest number of an embedding is stored as this


class EmbeddingBlock:
    """Collects the embeddings of a block."""

    def __init__(self, plan: MapPlan, block: Block):
        self._plan, self._block = plan, plan.grid.tokens_of(block)
        self._blend = Blend(plan.grid.tokens, self._block, plan.embedding_width)
        self._used = np.zeros((self._block.height, self._block.width), np.uint32)

    def count(self, covered: Tokens, known: Mapping[str, np.ndarray]) -> None:
        """Notes which sensors are known under the tokens.

        Args:
          covered: the tokens under which measurements were read.
          known: sensor -> (T,h,w) bool, its known pixels there.
        """
        block = self._block
        first, last = max(block.top, covered.row), min(block.top + block.height, covered.row + covered.rows)
        if first >= last or not block.width:
            return
        area = slice(first - covered.row, last - covered.row), slice(block.left - covered.column, block.left - covered.column + block.width)
        place = slice(first - block.top, last - block.top)
        for bit, sensor in enumerate(self._plan.sensors):
            patch, pixels = sensor.spec.patch, np.asarray(known[sensor.name].any(0))
            found = np.asarray(pixels.reshape(covered.rows, patch, covered.columns, patch).any((1, 3)))[area]
            self._used[place] |= np.where(found, np.uint32(1 << bit), np.uint32(0))

    def add(self, row: int, column: int, tokens: np.ndarray) -> None:
        """Adds the tokens (P,D) of the window at (row, column); windows come row by row."""
        side = self._plan.grid.window
        self._blend.add(row, column, tokens.reshape(side, side, -1))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of `folder` about tokens."""
        grid, block = self._plan.grid, self._block
        if self._plan.area is not None and self._used.size:
            inside = self._plan.area(grid.under(block)).reshape(block.height, grid.pixels, block.width, grid.pixels)
            self._used[~inside.any((1, 3))] = 0
        embeddings, scales = quantise(self._blend.mean(), self._used > 0)
        return {"embeddings": embeddings, "scales": scales, "token_used": self._used}


def is_mapped(plan: MapPlan, block: Block) -> bool:
    """Whether a part of a block lies in the area of a map."""
    if plan.area is None or plan.area(block).any():
        return True
    return bool(plan.embedding_width) and bool(plan.area(plan.grid.under(plan.grid.tokens_of(block))).any())


def quantise(tokens: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds each token to integers from -127 to 127, in units of a scale of its own.

    Args:
      tokens: (...,D) float32.
      known: (...) bool.

    Returns:
      (...,D) int8, 0 where unknown; and (...) float32 scales, NaN where unknown. A token of zeros has the scale 0.
    """
    scales = np.abs(tokens).max(-1, initial=0).astype(np.float32) / np.float32(LEVELS)
    divisors = np.where(scales > 0, scales, np.float32(1))[..., None]
    rounded = np.clip(np.rint(tokens / divisors), -LEVELS, LEVELS)
    return np.where(known[..., None], rounded, 0).astype(np.int8), np.where(known, scales, np.float32(np.nan)).astype(np.float32)


def dequantise(embeddings: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """(...,D) float32, the inverse of `quantise` up to half a scale; NaN where unknown."""
    return embeddings * np.asarray(scales, np.float32)[..., None]
