"""The embeddings of a whole map in one file on the disk, from which pieces of any shape are read.

Letters: H W tokens of the map, h w tokens of a block or a piece, D width of an embedding.
"""

import dataclasses
import datetime
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from omnisat_jax.predict.folder import MapInfo
from omnisat_jax.predict.grid import Block, MapGrid


class Draft:
    """A file of records (H,W) with the fields embedding (D,) int8, scale float32 and used uint32.

    Attributes:
      info: the map.
      grid: its tokens, as a grid with one pixel per token.
    """

    def __init__(self, info: MapInfo, path: pathlib.Path):
        self.info, self.grid, self._path = info, info.grid.tokens, path
        self._type = np.dtype([("embedding", "i1", (info.embedding_width,)), ("scale", "<f4"), ("used", "<u4")])
        self._file = None

    def open(self) -> None:
        """Starts an empty file."""
        self._file = open(self._path, "wb")  # noqa: SIM115  # closed by `close`

    def close(self) -> None:
        """Ends writing, whether all blocks were added or not."""
        if self._file is not None:
            self._file.close()

    def add(self, tokens: Block, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes one block, which fails if the disk is full, as writing through a mapping of memory would not.

        Args:
          tokens: where, in `grid`.
          arrays: of the block, see `omnisat_jax.predict.folder`.
        """
        assert self._file is not None
        records = np.zeros((tokens.height, tokens.width), self._type)
        records["embedding"], records["scale"], records["used"] = arrays["embeddings"], arrays["scales"], arrays["token_used"]
        for number, row in enumerate(records):
            self._file.seek(((tokens.top + number) * self.grid.width + tokens.left) * self._type.itemsize)
            self._file.write(row.tobytes())

    @property
    def records(self) -> np.ndarray:
        """(H,W) records of the closed file; only what is used of them is read."""
        return np.memmap(self._path, self._type, "r", shape=(self.grid.height, self.grid.width))

    def pieces(self, side: int) -> Iterator[tuple[Block, np.ndarray]]:
        """Yields squares of tokens, smaller at the southern and eastern edge, and their records (h,w)."""
        records = self.records
        for block in dataclasses.replace(self.grid, block=side).blocks():
            yield block, records[block.top : block.top + block.height, block.left : block.left + block.width]

    def runs(self, length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the known tokens, row by row: those among each `length` tokens as their numbers from 0 to H * W - 1, and their records."""
        records = self.records.reshape(-1)
        for first in range(0, len(records), length):
            part = np.asarray(records[first : first + length])
            known = np.flatnonzero(part["used"])
            yield first + known, part[known]


@dataclasses.dataclass(frozen=True)
class Season:
    """The time that embeddings stand for.

    Attributes:
      start, end: first and last date of the series.
    """

    start: datetime.date
    end: datetime.date

    @property
    def middle(self) -> datetime.date:
        """The day halfway; of two the earlier."""
        return self.start + (self.end - self.start) // 2

    @classmethod
    def of(cls, info: MapInfo, created: str) -> "Season":
        """The season of a map: its dates, or the day it was made (ISO 8601) if no input has a date."""
        dates = sorted(date for sensor in info.sensors for date in sensor.dates) or [created[:10]]
        return cls(datetime.date.fromisoformat(dates[0]), datetime.date.fromisoformat(dates[-1]))


def token_bounds(grid: MapGrid, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Left, bottom, right and top of tokens, in meters."""
    left, top = grid.left + columns * grid.ground, grid.top - rows * grid.ground
    return left, top - grid.ground, left + grid.ground, top
