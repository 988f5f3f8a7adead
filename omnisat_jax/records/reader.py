"""Prepared records: their description, random access to tiles, and statistics merged over parts.

Letters: K classes, C bands.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from omnisat_jax.errors import DataError, Finding, UserError, reason
from omnisat_jax.files.paths import below, walk
from omnisat_jax.records.description import VERSION, read_description, read_summary, table_path, wrong_files
from omnisat_jax.records.frames import AGAIN, FrameError, Frames, FrameStore, frames_path
from omnisat_jax.records.info import ModalityInfo
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

__all__ = ["VERSION", "Records", "TileSource", "check_records"]


class Records:
    """A folder of records written by `data.prepare`.

    Attributes:
      root: the folder.
      info: the description of the records. Its most used values are attributes of the records as well: `modalities`, `classes`, `parts`,
        `fingerprint`, `ignore`, `background`, `label_side`, `task`, `unscored` and `colours`.
    """

    def __init__(self, root: StrPath, *, compare: bool = True):
        """Opens a folder.

        Args:
          root: the folder; it may have been copied or moved.
          compare: whether to compare every file with the description. Files of frames are compared by size, header and checksums only.

        Raises:
          UserError: the folder holds no finished records.
          DataError: a file is damaged, missing or was changed.
        """
        self.root = pathlib.Path(root)
        self.info = info = read_description(self.root)
        for error in wrong_files(self.root, info, whole=False) if compare else ():
            raise error
        self.modalities: Mapping[str, ModalityInfo] = info.modalities
        self.classes, self.parts, self.fingerprint, self.task = info.classes, info.parts, info.fingerprint, info.task
        self.ignore, self.background, self.label_side = info.ignore, info.background, info.label_side
        self.unscored, self.colours = info.unscored, info.colours
        self._summaries = {part: read_summary(self.root, part, info) for part in self.parts}
        if len(set(self.tile_ids)) < len(self.tile_ids):
            raise DataError(tile="-", path=self.root, expected="each tile in one part", found="a tile in several parts", advice=AGAIN)

    @functools.cached_property
    def tile_ids(self) -> tuple[str, ...]:
        """IDs of all tiles; the `tile_index` of a batch is an index into them."""
        return tuple(tile for part in self.parts for tile in self._summaries[part]["tiles"])

    def tiles(self, parts: Iterable[str]) -> tuple[str, ...]:
        """Returns the IDs of the tiles of `parts`."""
        return tuple(tile for part in parts for tile in self._summaries[part]["tiles"])

    def labelled_tiles(self, parts: Iterable[str]) -> tuple[str, ...]:
        """Returns the IDs of the tiles of `parts` that have labels."""
        parts = tuple(parts)
        tiles = self.tiles(parts)
        return tuple(tiles[position] for position in self._labelled(parts))

    def _labelled(self, parts: Iterable[str]) -> list[int]:
        """Ascending positions in `tiles(parts)` of the tiles that have labels."""
        parts = tuple(parts)
        without = {tile for part in parts for tile in self._summaries[part].get("unlabelled", ())}
        return [position for position, tile in enumerate(self.tiles(parts)) if tile not in without]

    def source(self, parts: Sequence[str], share: float = 1.0, seed: int = 0) -> "TileSource":
        """Returns random access to the labeled tiles of `parts`, or to a random share of them; see `every_tile` for the others.

        The selection depends only on the tile IDs and the seed, and a smaller share is a subset of a larger one.

        Args:
          parts: names of parts.
          share: share of the labeled tiles, rounded, at least one tile.
          seed: of the random selection.
        """
        return TileSource(self, parts, self._share(parts, share, seed))

    def every_tile(self, parts: Sequence[str]) -> "TileSource":
        """Returns random access to all tiles of `parts`, with and without labels. The labels of the latter mean nothing."""
        return TileSource(self, parts, range(len(self.tiles(parts))))

    def _share(self, parts: Sequence[str], share: float, seed: int) -> list[int]:
        """Ascending positions in `tiles(parts)` of a share of the labeled tiles."""
        tiles, labelled = self.tiles(parts), self._labelled(parts)
        ranked = sorted(labelled, key=lambda i: hashlib.sha256(f"{seed}:{tiles[i]}".encode()).digest())
        return sorted(ranked[: max(1, round(share * len(labelled)))]) if labelled else []

    def label_counts(self, parts: Sequence[str], share: float = 1.0, seed: int = 0) -> np.ndarray:
        """Counts labels in the tiles that `source` returns for the same arguments.

        Returns:
          int64 (K,): labeled pixels of each stored class, or tiles with each label.
        """
        counts = [np.asarray(self._summaries[part]["labels"], np.int64) for part in parts]
        kept = self._share(parts, share, seed)
        return np.concatenate(counts)[kept].sum(0) if kept else np.zeros(len(self.classes), np.int64)

    def counts(self, parts: Sequence[str]) -> dict[str, dict[str, int]]:
        """Counts tiles, with and without labels, and dates of `parts`.

        Returns:
          {modality: {"present": tiles, "absent": tiles, "wholly_unknown": absent tiles that have a file, "invalid_dates": dates}}.
        """
        result = {}
        total = len(self.tiles(parts))
        for name in self.modalities:
            present = sum(self._summaries[part]["present"][name] for part in parts)
            unknown = sum(self._summaries[part]["wholly_unknown"][name] for part in parts)
            invalid = sum(self._summaries[part]["invalid_dates"].get(name, 0) for part in parts)
            result[name] = {"present": present, "absent": total - present, "wholly_unknown": unknown, "invalid_dates": invalid}
        return result

    def days(self, parts: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Returns the first and the last valid day of each series in `parts`, as days since 1970-01-01.

        A series without a valid date is left out. Records of earlier versions do not keep the days: their rows are read, but no frame.

        Raises:
          DataError: a row was changed or damaged.
        """
        found: dict[str, tuple[int, int]] = {}
        for part in parts:
            known = self._summaries[part].get("days")
            for name, days in (self._read_days(part) if known is None else known).items():
                first, last = found.get(name, days)
                found[name] = min(first, days[0]), max(last, days[1])
        return found

    def _read_days(self, part: str) -> dict[str, tuple[int, int]]:
        days: dict[str, tuple[int, int]] = {}
        series = [name for name, stored in self.modalities.items() if stored.kind == "series"]
        source = self.every_tile([part])
        for position in range(len(source)):
            example = source[position]
            for name in series:
                dates = np.asarray(example[name]["dates"])[np.asarray(example[name]["valid"])]
                if len(dates):
                    first, last = days.get(name, (int(dates[0]),) * 2)
                    days[name] = min(first, int(dates.min())), max(last, int(dates.max()))
        return days

    def places(self, parts: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Returns longitude and latitude of the centers of those tiles of `parts` that have a location, degrees.

        Records of earlier versions do not keep them: their rows are read, but no frame.

        Raises:
          DataError: a row was changed or damaged.
        """
        found: dict[str, tuple[float, float]] = {}
        if "location" not in self.modalities:
            return found
        for part in parts:
            known = self._summaries[part].get("places")
            if known is None:
                source, tiles = self.every_tile([part]), self.tiles([part])
                values = [np.asarray(source[position]["location"]["values"]) for position in range(len(source))]
                known = {tile: place[0] for tile, place in zip(tiles, values, strict=True) if len(place)}
            found |= known
        return {tile: (float(place[0]), float(place[1])) for tile, place in found.items()}

    def parcels(self, parts: Sequence[str]) -> np.ndarray:
        """Returns the sorted numbers of the parcels that appear in `parts`, int64."""
        numbers = [n for part in parts for tile in (self._summaries[part]["parcels"] or {}).values() for n in tile]
        return np.unique(np.array(numbers, np.int64))

    @functools.cached_property
    def bad(self) -> tuple[dict, ...]:
        """What was broken and masked or left out: {"tile", "part", "action", "message"} each."""
        return tuple(entry for summary in self._summaries.values() for entry in summary["bad"])

    def statistics(self, parts: Sequence[str], *, clear: bool = False) -> dict[str, dict[str, list[float]]]:
        """Computes exact statistics of the known values of `parts`.

        Args:
          parts: the training parts.
          clear: whether to use only dates of reflectance series that do not look cloudy (data/preparation/summary.py).

        Returns:
          {modality: {"mean": [C], "std": [C]}}; std is 1 where a band has a single value, see `constant_bands`.

        Raises:
          UserError: a modality has no known value in `parts`, so it cannot be normalized.
        """
        result = self.known_statistics(parts, clear=clear)
        for name in self.modalities:
            if name not in result:
                raise UserError(
                    f"modality {name}: the training parts {', '.join(parts)} have no known value of it, so it cannot be normalized; "
                    f"remove it with --config.modalities or choose other folds"
                )
        return result

    def known_statistics(self, parts: Sequence[str], *, clear: bool = False) -> dict[str, dict[str, list[float]]]:
        """Computes what `statistics` does, for the modalities of which every band has a known value in `parts`."""
        moments = {name: found for name in self.modalities if (found := self._mean_and_std(name, parts, clear)) is not None}
        return {name: {"mean": mean.tolist(), "std": np.where(_varies(mean, std), std, 1.0).tolist()} for name, (mean, std) in moments.items()}

    def constant_bands(self, parts: Sequence[str], *, clear: bool = False) -> dict[str, tuple[str, ...]]:
        """Returns the bands with a single known value in `parts`, whose standard deviation `statistics` gives as 1.

        Args:
          parts, clear: see `statistics`.

        Returns:
          {modality: names of such bands}, without modalities that have none.
        """
        result = {}
        for name, stored in self.modalities.items():
            found = self._mean_and_std(name, parts, clear)
            if found is not None and not (varies := _varies(*found)).all():
                result[name] = tuple(band for band, differs in zip(stored.bands, varies, strict=True) if not differs)
        return result

    def _mean_and_std(self, name: str, parts: Sequence[str], clear: bool) -> tuple[np.ndarray, np.ndarray] | None:
        """Means and standard deviations (C,) of a modality; None if a band has no known value."""
        which = "clear_moments" if clear and all(name in self._summaries[part]["clear_moments"] for part in parts) else "moments"
        moments = np.array([self._summaries[part][which][name] for part in parts])  # (parts, 3, C)
        count = moments[:, 0].sum(0)
        if not (count > 0).all():
            return None
        mean = (moments[:, 0] * moments[:, 1]).sum(0) / count
        squares = (moments[:, 2] + moments[:, 0] * (moments[:, 1] - mean) ** 2).sum(0)
        return mean, np.sqrt(squares / count)


def _varies(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Which bands vary. A spread below the resolution of float32 is rounding: divided by it, another value would be huge."""
    return std > np.finfo(np.float32).eps * np.abs(mean)


class TileSource:
    """Random access to tiles of several parts; a data source for Grain."""

    def __init__(self, records: Records, parts: Sequence[str], positions: Iterable[int]):
        """Opens the tables and frames of the parts.

        Args:
          records: the opened folder.
          parts: names of parts.
          positions: positions of the selected tiles in `Records.tiles(parts)`.

        Raises:
          DataError: a table or a file of frames was changed or damaged.
        """
        self._positions = list(positions)
        self._tables, self._sources, self._frames = [], [], []
        for part in parts:
            self._tables.append(table_path(records.root, part))
            self._sources.append(_open_table(self._tables[-1], records, len(records.tiles([part]))))
            sensors = {name: stored for name, stored in records.modalities.items() if stored.kind != "location"}
            self._frames.append({n: FrameStore(frames_path(records.root, part, n), s.shape, s.dtype) for n, s in sensors.items()})
        self._ends = np.cumsum([len(source) for source in self._sources])
        self._tiles = records.tiles(parts)
        self._index = {tile: i for i, tile in enumerate(records.tile_ids)}

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns a stored example with `tile_index` (int32) instead of the ID. The "values" of series and images are `Frames`.

        Raises:
          DataError: the row of the table was changed or damaged.
        """
        position = self._positions[index]
        part = int(np.searchsorted(self._ends, position, side="right"))
        start = int(self._ends[part - 1]) if part else 0
        tile = self._tiles[position]
        try:
            example = dict(self._sources[part][position - start])
            found = example.pop("tile_id").decode()
        except Exception as error:  # of the libraries that read and decode ArrayRecord
            raise _damaged_row(tile, self._tables[part], f"an unreadable row ({reason(error)})") from error
        if found != tile:
            raise _damaged_row(tile, self._tables[part], f"the row of {found}")
        for name, store in self._frames[part].items():
            entry = dict(example[name])
            first, count = int(entry.pop("first")), int(entry.pop("count"))
            if not 0 <= first <= first + count <= store.count:
                raise _damaged_row(tile, self._tables[part], f"{name} frames {first} to {first + count} of {store.count}")
            example[name] = entry | {"values": Frames(store, first, count)}
        example["tile_index"] = np.int32(self._index[tile])
        return example


def _damaged_row(tile: str, path: pathlib.Path, found: str) -> DataError:
    return DataError(tile=tile, path=path, expected="the row of this tile", found=found, advice=AGAIN, kind="changed")


def _open_table(folder: pathlib.Path, records: Records, rows: int) -> Any:
    try:
        builder: Any = tfds.builder_from_directory(folder)
        source = builder.as_data_source(split=records.info.table_split)
        count, columns = len(source), set(builder.info.features) - {"tile_id", "labels", "parcels"}
    except Exception as error:  # of TFDS, Protocol Buffers and ArrayRecord
        found = f"an unreadable table ({reason(error)})"
        raise DataError(tile="-", path=folder, expected="a table of tiles", found=found, advice=AGAIN) from error
    if count != rows:
        raise DataError(tile="-", path=folder, expected=f"a table of {number_of(rows, 'tile')}, as in its summary", found=number_of(count, 'tile'), advice=AGAIN)
    if columns != set(records.modalities):
        raise DataError(
            tile="-", path=folder, expected=f"a table with columns {', '.join(records.modalities)}, as in the description",
            found=f"columns {', '.join(sorted(columns))}", advice=AGAIN, kind="changed",
        )  # fmt: skip
    return source


def check_records(folder: StrPath) -> Iterator[Finding]:
    """Reads every file of prepared records completely and compares it with what was written.

    Args:
      folder: the folder of records, of any dataset.

    Yields:
      Findings of the kinds "gone", "changed", "unlisted" and "unreadable"; none for intact records.

    Raises:
      UserError: the folder holds no finished records of this version.
    """
    folder = pathlib.Path(folder)
    try:
        info = read_description(folder)
    except DataError as error:
        yield error.finding
        return
    damaged = set()
    for error in wrong_files(folder, info, whole=True):
        damaged.add(pathlib.Path(error.path))
        yield error.finding
    listed = {below(folder, *name.split("/")) for name in info.files}
    for kind in ("tiles", "frames"):
        for path in walk(folder / kind) if (folder / kind).is_dir() else ():
            if path not in listed:
                yield Finding("unlisted", "-", str(path), "only files in the description of the records", "another file", "Remove it.")
    try:
        records = Records(folder, compare=False)
    except DataError as error:
        if pathlib.Path(error.path) not in damaged:
            yield error.finding
        return
    for part in records.parts:
        # Damaged files were reported above. Reading them might not even end.
        if not any(path.is_relative_to(folder / kind / part) for kind in ("tiles", "frames") for path in damaged):
            yield from _check_part(records, part)


def _check_part(records: Records, part: str) -> Iterator[Finding]:
    """Reads every row and every frame of a part."""
    try:
        source = records.every_tile([part])
    except DataError as error:
        yield error.finding
        return
    for position, tile in enumerate(records.tiles([part])):
        try:
            example = source[position]
        except DataError as error:
            yield error.finding
            continue
        for entry in example.values():
            try:
                if isinstance(entry, dict) and isinstance(entry["values"], Frames):
                    entry["values"].check()
            except FrameError as error:
                yield dataclasses.replace(error.finding, tile=tile)
