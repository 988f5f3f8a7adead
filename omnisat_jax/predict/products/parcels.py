"""The crop of each parcel: pixels per class are added over the blocks, which is exact whatever their size.

A pixel belongs to a parcel if its center does. Parcels may overlap: a pixel then counts for each of them. Parcels that share a border share no
pixel, even if the border passes through a center: crossings of a border with a row of centers are computed in one way for both sides, and a
parcel includes its western and excludes its eastern border.
Letters: N parcels, K classes, E edges.
"""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from omnisat_jax.errors import DataError
from omnisat_jax.predict.folder import NO_DATA, MapInfo
from omnisat_jax.predict.grid import Block
from omnisat_jax.predict.options import ON_BAD
from omnisat_jax.predict.vector import PolygonTable, need_packages, read_polygons, write_polygons
from omnisat_jax.types import StrPath

COLUMNS = ("crop", "share", "runner_up", "runner_up_share", "confidence", "pixels", "unknown_pixels", "used")
GEOMETRY = "geometry"  # the column of the geometries in the result
CHUNK = 2**22  # pixels of parcels that are looked up at once
_SLACK = 1e-6  # pixels around a block in which parcels are looked for


def read_parcels(source: StrPath, on_bad: str, crs: str = "", added: Collection[str] = COLUMNS) -> PolygonTable:
    """Reads parcels.

    Args:
      source, crs: see `read_polygons`.
      on_bad: see `Parcels`.
      added: columns that the result adds.

    Raises:
      DataError: see `read_polygons`; a parcel without a valid polygon, unless these are masked; or a column that the result adds.
    """
    table = read_polygons(source, crs)
    if on_bad == ON_BAD[0]:
        table.need(advice=", or leave these parcels without a result with --on_bad mask")
    need_free(table, added)
    return table


def need_free(table: PolygonTable, added: Collection[str]) -> None:
    """Refuses parcels with columns that the result adds.

    Raises:
      DataError: there is one.
    """
    names = {*added, GEOMETRY}
    # GeoPackages ignore the case of names. A column called geometry would give way to the geometries.
    taken = [name for name in map(str, table.frame.columns) if name.lower() in names and name != table.frame.geometry.name]
    if taken:
        raise DataError(
            tile="-", path=table.path, expected=f"columns of other names than {', '.join(added)} and {GEOMETRY}", found=", ".join(taken),
            advice="Rename or remove them: the result adds columns of these names.",
        )  # fmt: skip


class Parcels:
    """The pixels of each parcel.

    Attributes:
      frame: GeoDataFrame of the N parcels, in the reference system of the map.
      source: the same as read, with the problems of parcels that have no result because of their geometry.
      pixels: (N, K) int64, pixels of each class.
      unknown: (N,) int64, pixels without a class.
      shapes: (N,) polygons in pixels from the north-west corner of the map, rows southwards.
      shapely: the module.
    """

    def __init__(self, info: MapInfo, source: StrPath, on_bad: str = ON_BAD[0]):
        """Reads the parcels.

        Args:
          info: the map.
          source: file of the polygons, or FILE:LAYER.
          on_bad: "raise" refuses parcels without a valid polygon, "mask" leaves them without a result.

        Raises:
          DataError: see `read_parcels`.
          UserError: a package of the extra `vector` is not installed.
        """
        self.shapely = need_packages()[1]
        table = read_parcels(source, on_bad, info.grid.crs)
        self._info, self.source, self.frame = info, table, table.frame
        shapes, count = np.asarray(self.frame.geometry.values).copy(), len(self.frame)
        shapes[list(table.problems)] = None
        grid = info.grid
        self.shapes = self.shapely.transform(shapes, lambda points: (points - (grid.left, grid.top)) / (grid.pixel, -grid.pixel))
        self._tree = self.shapely.STRtree(self.shapes)
        self.pixels, self.unknown = np.zeros((count, len(info.classes)), np.int64), np.zeros(count, np.int64)
        self._confidence, self._used = np.zeros(count, np.int64), np.zeros(count, np.uint32)

    def add(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
        """Adds the pixels of one block."""
        found = self.near(block)
        if not len(found):
            return
        runs = find_runs(self.shapely, self.shapes[found], block)
        ends = np.cumsum(runs.stop - runs.start)
        first = 0
        while first < len(ends):  # runs are no longer than a row of the block
            done = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
            self._count(found, runs.select(slice(first, last)), arrays)
            first = last

    def near(self, block: Block) -> np.ndarray:
        """Numbers of the parcels whose bounding box touches a block, ascending."""
        bottom, right = block.top + block.height, block.left + block.width
        return np.sort(self._tree.query(self.shapely.box(block.left - _SLACK, block.top - _SLACK, right + _SLACK, bottom + _SLACK)))

    def _count(self, parcels: np.ndarray, runs: "Runs", arrays: Mapping[str, np.ndarray]) -> None:
        which, row, column = runs.pixels()
        parcel = parcels[which]
        classes, confidence, used = (arrays[name][row, column] for name in ("class", "confidence", "used"))
        known = classes != NO_DATA
        np.add.at(self.unknown, parcel[~known], 1)
        np.add.at(self.pixels, (parcel[known], classes[known]), 1)
        np.add.at(self._confidence, parcel[known], confidence[known].astype(np.int64))
        np.bitwise_or.at(self._used, parcel[known], used[known])

    @property
    def unseen(self) -> int:
        """Number of parcels without a pixel that has a class: outside the map, too small, or unknown."""
        return int((self.pixels.sum(1) == 0).sum())

    def table(self) -> Any:
        """A GeoDataFrame with the columns of the parcels and COLUMNS; those of parcels without a known pixel are null.

        crop, runner_up: names of the most and second most frequent class; of equal ones the first. A class with no pixel is no runner-up.
        share, runner_up_share: of the known pixels.
        confidence: mean in per cent over the known pixels.
        pixels, unknown_pixels: with and without a class.
        used: names of the sensors with a known value in some pixel, joined by commas.
        """
        import pandas

        names, total = np.array(self._info.classes, object), self.pixels.sum(1)
        order = np.argsort(-self.pixels, axis=1, kind="stable")
        row, seen = np.arange(len(total)), total > 0
        best, second = order[:, 0], order[:, min(1, order.shape[1] - 1)]
        follows = seen & (self.pixels[row, second] > 0) & (best != second)
        divisor = np.maximum(total, 1)
        columns = {
            "crop": _text(names[best], seen),
            "share": np.where(seen, self.pixels[row, best] / divisor, np.nan),
            "runner_up": _text(names[second], follows),
            "runner_up_share": np.where(follows, self.pixels[row, second] / divisor, np.nan),
            "confidence": np.where(seen, self._confidence / divisor, np.nan),
            "pixels": total,
            "unknown_pixels": self.unknown,
            "used": _text(np.array(self._info.used_names(self._used), object), seen),
        }
        added = pandas.DataFrame(columns, index=self.frame.index)
        result = self.frame.drop(columns=self.frame.geometry.name).join(added)
        return type(self.frame)(result, geometry=self.frame.geometry)

    def write(self, path: pathlib.Path, work: pathlib.Path) -> None:
        """Writes the table; see `write_polygons`."""
        write_polygons(self.table(), path, work)


def _text(values: np.ndarray, known: np.ndarray) -> Any:
    """Texts that are null where they are not known."""
    import pandas

    return pandas.array([value if is_known else None for value, is_known in zip(values, known, strict=True)], dtype="string")


@dataclasses.dataclass(frozen=True)
class Runs:
    """Pixels of parcels in a block: the columns start, ..., stop - 1 of a row.

    Attributes:
      parcel, row, start, stop: (R,) int64; row and columns count from the north-west corner of the block.
    """

    parcel: np.ndarray
    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def select(self, which: Any) -> "Runs":
        """Some of the runs."""
        return Runs(self.parcel[which], self.row[which], self.start[which], self.stop[which])

    def pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Parcel, row and column of every pixel, run by run."""
        run, offsets = counted(self.stop - self.start)
        return self.parcel[run], self.row[run], self.start[run] + offsets


def counted(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices 0, 1, ... repeated as often as `lengths` say, and a count from 0 within each."""
    index = np.repeat(np.arange(len(lengths)), lengths)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def find_runs(shapely: Any, shapes: np.ndarray, block: Block) -> Runs:
    """Finds the pixels whose centers lie in polygons.

    Args:
      shapely: the module.
      shapes: polygons in pixels from the north-west corner of the map, rows southwards.
      block: part of the map.
    """
    start, end, parcel = _edges(shapely, shapes)
    # The rows whose centers, at row + 0.5, lie in [y of the upper end, y of the lower end).
    first = np.maximum(np.ceil(start[:, 1] - 0.5), block.top).astype(np.int64)
    last = np.minimum(np.ceil(end[:, 1] - 0.5), block.top + block.height).astype(np.int64)
    edge, offsets = counted(np.maximum(last - first, 0))
    row = first[edge] + offsets
    start, end, parcel = start[edge], end[edge], parcel[edge]
    # Computed with coordinates of the whole map, so that every block finds the same crossings.
    crossing = start[:, 0] + (row + 0.5 - start[:, 1]) * ((end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1]))
    order = np.lexsort((crossing, row, parcel))
    parcel, row = parcel[order][::2], row[order][::2]
    column = np.clip(np.ceil(crossing[order] - 0.5), block.left, block.left + block.width).astype(np.int64) - block.left
    runs = Runs(parcel, row - block.top, column[::2], column[1::2])
    return runs.select(runs.stop > runs.start)


def _edges(shapely: Any, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Upper and lower ends (E,2) of all edges that are not level, and the index of their polygon (E,)."""
    parts, of_part = shapely.get_parts(shapes, return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    points, of_point = shapely.get_coordinates(rings, return_index=True)
    joined = of_point[1:] == of_point[:-1]
    a, b, parcel = points[:-1][joined], points[1:][joined], of_part[of_ring[of_point[:-1][joined]]]
    down = (a[:, 1] < b[:, 1])[:, None]
    level = a[:, 1] == b[:, 1]
    return np.where(down, a, b)[~level], np.where(down, b, a)[~level], parcel[~level]
