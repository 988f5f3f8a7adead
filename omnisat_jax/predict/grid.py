"""Where the pixels, windows and blocks of a map lie.

A token is the square of ground under one patch of every sensor. The map has its own grid of label pixels; windows are squares of tokens, as large
as a training tile, that start every `stride` tokens; blocks are squares of label pixels, each computed and stored on its own.
Letters: H W label pixels of the map.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from omnisat_jax.errors import UserError


@dataclasses.dataclass(frozen=True, order=True)
class Block:
    """A rectangle of label pixels of a map.

    Attributes:
      row, column: position among the blocks.
      top, left: first row and column of its pixels.
      height, width: in pixels.
    """

    row: int
    column: int
    top: int
    left: int
    height: int
    width: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"r{self.row:05d}_c{self.column:05d}"


@dataclasses.dataclass(frozen=True)
class MapGrid:
    """The grid of a map.

    Attributes:
      crs: coordinate reference system as WKT; its units are meters.
      left, top: north-west corner of the map, in meters.
      ground: side of a token, in meters.
      pixels: label pixels per side of a token.
      rows, columns: size of the map in tokens.
      window: side of a window in tokens.
      stride: tokens from one window to the next.
      block: side of a block in label pixels.
    """

    crs: str
    left: float
    top: float
    ground: float
    pixels: int
    rows: int
    columns: int
    window: int
    stride: int
    block: int

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.window:
            raise UserError(f"expected a step of 1 to {self.window} patches between windows, found {self.stride}; choose another --overlap")

    @property
    def pixel(self) -> float:
        """Side of a label pixel, in meters."""
        return self.ground / self.pixels

    @property
    def height(self) -> int:
        """H, rows of label pixels."""
        return self.rows * self.pixels

    @property
    def width(self) -> int:
        """W, columns of label pixels."""
        return self.columns * self.pixels

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """The affine transform of the map, (a, b, c, d, e, f) as in rasterio."""
        return self.pixel, 0.0, self.left, 0.0, -self.pixel, self.top

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top, in meters."""
        return self.left, self.top - self.rows * self.ground, self.left + self.columns * self.ground, self.top

    @property
    def windows(self) -> tuple[int, int]:
        """Rows and columns of windows. The last ones may reach over the edge of the map."""
        return _count(self.rows, self.window, self.stride), _count(self.columns, self.window, self.stride)

    def blocks(self) -> Iterator[Block]:
        """Yields the blocks, row by row."""
        for row in range(-(-self.height // self.block)):
            for column in range(-(-self.width // self.block)):
                top, left = row * self.block, column * self.block
                yield Block(row, column, top, left, min(self.block, self.height - top), min(self.block, self.width - left))

    @property
    def tokens(self) -> "MapGrid":
        """The same map with one pixel per token."""
        return dataclasses.replace(self, pixels=1)

    def tokens_of(self, block: Block) -> Block:
        """The tokens of a block, in pixels of `tokens`: those whose north-western label pixel lies in it, so that each belongs to one block."""
        top, left = -(-block.top // self.pixels), -(-block.left // self.pixels)
        bottom, right = -(-(block.top + block.height) // self.pixels), -(-(block.left + block.width) // self.pixels)
        return Block(block.row, block.column, top, left, bottom - top, right - left)

    def under(self, tokens: Block) -> Block:
        """The label pixels of a block of tokens."""
        side = self.pixels
        return Block(tokens.row, tokens.column, tokens.top * side, tokens.left * side, tokens.height * side, tokens.width * side)

    def windows_of(self, block: Block) -> tuple[range, range]:
        """Rows and columns of the windows that overlap a block."""
        rows, columns = self.windows
        return self._along(block.top, block.height, rows), self._along(block.left, block.width, columns)

    def _along(self, first: int, length: int, count: int) -> range:
        """Indices of the windows that overlap the label pixels first, ..., first + length - 1."""
        side, step = self.window * self.pixels, self.stride * self.pixels
        return range(max(0, (first - side) // step + 1), min(count, (first + length - 1) // step + 1))

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes an equal grid."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MapGrid":
        """The inverse of `to_json`."""
        return cls(**values)


def _count(size: int, window: int, stride: int) -> int:
    """Windows along an axis of `size` tokens, so that every token lies in one."""
    return 1 + max(0, math.ceil((size - window) / stride))
