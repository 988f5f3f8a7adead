"""Joins the predictions of overlapping windows.

Letters: H W label pixels of a block, S label pixels per side of a window, K classes.
"""

import numpy as np

from omnisat_jax.predict.grid import Block, MapGrid


def hann(side: int) -> np.ndarray:
    """Weights of a window, (S,S) float32: a Hann window without its zeros, so that the edge of a map has weight too."""
    line = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    return np.outer(line, line).astype(np.float32)


class Blend:
    """The probabilities of a block as the weighted mean of those of its windows.

    Windows must come row by row, so that the sums of every pixel have the same order, and the same rounding, in every block size.

    Attributes:
      side: S.
      seam: sum and number of the differences between adjacent windows: half the sum over classes of |p - q|, from 0 to 1, per pixel.
    """

    def __init__(self, grid: MapGrid, block: Block, classes: int):
        self._block, self._step, self.side = block, grid.stride * grid.pixels, grid.window * grid.pixels
        self._weights = hann(self.side)
        self._sum = np.zeros((block.height, block.width, classes), np.float32)
        self._total = np.zeros((block.height, block.width), np.float32)
        self._row: dict[int, np.ndarray] = {}  # column -> probabilities in the present row of windows
        self._above: dict[int, np.ndarray] = {}
        self._number = -1
        self.seam = np.zeros(2)

    def add(self, row: int, column: int, probabilities: np.ndarray) -> None:
        """Adds the probabilities (S,S,K) of the window at (row, column)."""
        if row != self._number:
            self._above = self._row if row == self._number + 1 else {}
            self._row, self._number = {}, row
        inside, place = self._overlap(row, column, row, column)
        weights = self._weights[inside]
        self._sum[place] += weights[..., None] * probabilities[inside]
        self._total[place] += weights
        if column - 1 in self._row:
            self._compare(probabilities, self._row[column - 1], (row, column), (row, column - 1))
        if column in self._above:
            self._compare(probabilities, self._above[column], (row, column), (row - 1, column))
        self._row[column] = probabilities

    def _compare(self, one: np.ndarray, other: np.ndarray, position: tuple[int, int], before: tuple[int, int]) -> None:
        """Adds the difference of two windows where they overlap in the block."""
        here, _ = self._overlap(*position, *before)
        there, _ = self._overlap(*before, *position)
        difference = np.abs(one[here] - other[there]).sum(-1, dtype=np.float64) / 2
        self.seam += difference.sum(), difference.size

    def _overlap(self, row: int, column: int, other_row: int, other_column: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The part of a window that lies in another one and in the block, in pixels of the window and of the block."""
        inside, place = [], []
        corner, size = (self._block.top, self._block.left), (self._block.height, self._block.width)
        for first, other, start, length in zip((row, column), (other_row, other_column), corner, size):
            low = max(first * self._step, other * self._step, start)
            high = max(low, min(min(first, other) * self._step + self.side, start + length))
            inside.append(slice(low - first * self._step, high - first * self._step))
            place.append(slice(low - start, high - start))
        return (inside[0], inside[1]), (place[0], place[1])

    def mean(self) -> np.ndarray:
        """(H,W,K) float32; 0 where there was no window. Nothing can be added afterwards."""
        self._sum /= np.where(self._total > 0, self._total, 1)[..., None]
        return self._sum
