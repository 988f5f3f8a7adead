"""Prepared records as the training job sees them: a description, random access to tiles, merged statistics."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow_datasets as tfds

from omnisat_jax.errors import DataError, Finding, UserError, reason
from omnisat_jax.files.paths import below, walk
from omnisat_jax.records.description import AGAIN, VERSION, read_description, read_summary, table_path, wrong_files
from omnisat_jax.records.frames import FrameError, Frames, FrameStore, frames_path

__all__ = ["VERSION", "Records", "Stored", "TileSource", "check_records"]


@dataclasses.dataclass(frozen=True)
class Stored:
    """How one modality is stored: frame shape (H, W, C), or (2,) of a location; dtype; longest series (1 for what is none); band names."""

    kind: str
    shape: tuple[int, ...]
    dtype: str
    longest: int
    bands: tuple[str, ...] = ()


class Records:
    """A folder of records written by `data.prepare`."""

    def __init__(self, root, *, compare: bool = True):
        """Opens a folder.

        Args:
          root: the folder, wherever it was copied or moved to.
          compare: every file with the description, frames by their size, header and checksums only.

        Raises:
          UserError: the folder is not a finished preparation.
          DataError: a file of it is damaged, gone or another.
        """
        self.root = pathlib.Path(root)
        about = read_description(self.root)
        for error in wrong_files(self.root, about, whole=False) if compare else ():
            raise error
        self.about = about
        self.modalities: Mapping[str, Stored] = {
            name: Stored(m["kind"], tuple(m["shape"]), m["dtype"], m["longest"], tuple(m["bands"]))
            for name, m in about["modalities"].items()
        }
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.parts: tuple[str, ...] = tuple(about["parts"])
        self.fingerprint: str = about["fingerprint"]
        self.ignore: int = about["ignore"]
        self.background: int = about["background"]
        self.label_side: int = about["label_side"]  # px of dense labels, 0 where labels are of the tile
        self.task: str = about["task"]
        self.unscored: tuple[str, ...] = tuple(about["unscored"])  # classes that do not enter mean scores
        self.colours: tuple[str, ...] = tuple(about["colours"])  # of the classes in pictures; () = the default palette
        self._summaries = {part: read_summary(self.root, part, about) for part in self.parts}
        if len(set(self.tile_ids)) < len(self.tile_ids):
            raise DataError(tile="-", path=self.root, expected="each tile in one part", found="a tile in several", advice=AGAIN)

    @functools.cached_property
    def tile_ids(self) -> tuple[str, ...]:
        """Every tile of the dataset; a batch's `tile_index` counts in this order."""
        return tuple(tile for part in self.parts for tile in self._summaries[part]["tiles"])

    def tiles(self, parts) -> tuple[str, ...]:
        """Ids of the tiles of `parts`."""
        return tuple(tile for part in parts for tile in self._summaries[part]["tiles"])

    def source(self, parts, share: float = 1.0, seed: int = 0) -> "TileSource":
        """Random access to the tiles of `parts`, or to a share of them, at least one.

        Which ones depends on their names and the seed alone, and a smaller share is part of a larger one.
        """
        return TileSource(self, parts, self._share(parts, share, seed))

    def _share(self, parts, share, seed):
        """Positions of a share of the tiles of `parts`, ascending."""
        tiles = self.tiles(parts)
        ranked = sorted(range(len(tiles)), key=lambda i: hashlib.sha256(f"{seed}:{tiles[i]}".encode()).digest())
        return sorted(ranked[: max(1, round(share * len(tiles)))]) if tiles else []

    def label_counts(self, parts, share: float = 1.0, seed: int = 0) -> np.ndarray:
        """(K,) int64: labelled pixels of each stored class, or tiles with each label, in the tiles that `source` gives of the same."""
        counts = [np.asarray(self._summaries[part]["labels"], np.int64) for part in parts]
        kept = self._share(parts, share, seed)
        return np.concatenate(counts)[kept].sum(0) if kept else np.zeros(len(self.classes), np.int64)

    def counts(self, parts) -> dict[str, dict[str, int]]:
        """{modality: {"present": tiles, "absent": tiles, "wholly_unknown": absent tiles that have a file, "invalid_dates": dates}} of `parts`."""
        result = {}
        total = len(self.tiles(parts))
        for name in self.modalities:
            present = sum(self._summaries[part]["present"][name] for part in parts)
            unknown = sum(self._summaries[part]["wholly_unknown"][name] for part in parts)
            invalid = sum(self._summaries[part]["invalid_dates"].get(name, 0) for part in parts)
            result[name] = {"present": present, "absent": total - present, "wholly_unknown": unknown, "invalid_dates": invalid}
        return result

    def parcels(self, parts) -> np.ndarray:
        """Sorted numbers of the parcels that appear in `parts`."""
        numbers = [n for part in parts for tile in (self._summaries[part]["parcels"] or {}).values() for n in tile]
        return np.unique(np.array(numbers, np.int64))

    @functools.cached_property
    def bad(self) -> tuple[dict, ...]:
        """What was broken and masked or left out: {"tile", "part", "action", "message"} each."""
        return tuple(entry for summary in self._summaries.values() for entry in summary["bad"])

    def statistics(self, parts, *, clear: bool = False) -> dict[str, dict[str, list[float]]]:
        """{modality: {"mean": [C], "std": [C]}} over the known values of `parts`, exact.

        Args:
          parts: the training parts.
          clear: of reflectance series, only over the dates that do not look cloudy (data/preparation/summary.py).

        Raises:
          UserError: a modality has no value in `parts`, so it cannot be normalised.
        """
        result = {}
        for name in self.modalities:
            which = "clear_moments" if clear and all(name in self._summaries[part]["clear_moments"] for part in parts) else "moments"
            moments = np.array([self._summaries[part][which][name] for part in parts])  # (parts, 3, C)
            count = moments[:, 0].sum(0)
            if not (count > 0).all():
                raise UserError(
                    f"modality {name}: the training parts {', '.join(parts)} hold no value of it, so it cannot be normalised; "
                    f"remove it with --config.modalities or choose other folds"
                )
            mean = (moments[:, 0] * moments[:, 1]).sum(0) / count
            squares = (moments[:, 2] + moments[:, 0] * (moments[:, 1] - mean) ** 2).sum(0)
            std = np.sqrt(squares / count)
            result[name] = {"mean": mean.tolist(), "std": np.where(std > 0, std, 1.0).tolist()}
        return result


class TileSource:
    """Random access over several parts, in the order of their records; what Grain reads."""

    def __init__(self, records: Records, parts, positions):
        """positions: of the tiles to give, in the order of `Records.tiles(parts)`.

        Raises:
          DataError: a table or a file of frames that is not what was written.
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

    def __len__(self):
        return len(self._positions)

    def __getitem__(self, position):
        """The stored example with `tile_index` (int32) in place of the id; "values" of series and images are `Frames`.

        Raises:
          DataError: a row of the table that is not what was written.
        """
        position = self._positions[position]
        part = int(np.searchsorted(self._ends, position, side="right"))
        start = int(self._ends[part - 1]) if part else 0
        tile = self._tiles[position]
        try:
            example = dict(self._sources[part][position - start])
            found = example.pop("tile_id").decode()
        except Exception as error:  # of whatever reads ArrayRecord and decodes it
            raise _damaged_row(tile, self._tables[part], f"an unreadable one ({reason(error)})") from error
        if found != tile:
            raise _damaged_row(tile, self._tables[part], f"that of {found}")
        for name, store in self._frames[part].items():
            entry = dict(example[name])
            first, count = int(entry.pop("first")), int(entry.pop("count"))
            if not 0 <= first <= first + count <= store.count:
                raise _damaged_row(tile, self._tables[part], f"one of {name} frames {first} to {first + count} of {store.count}")
            example[name] = entry | {"values": Frames(store, first, count)}
        example["tile_index"] = np.int32(self._index[tile])
        return example


def _damaged_row(tile, path, found):
    return DataError(tile=tile, path=path, expected="the row of this tile, as it was written", found=found, advice=AGAIN, kind="changed")


def _open_table(folder, records, rows):
    try:
        builder = tfds.builder_from_directory(folder)
        source = builder.as_data_source(split=records.about["split"])
        count, columns = len(source), set(builder.info.features) - {"tile_id", "labels", "parcels"}
    except Exception as error:  # of TFDS, Protocol Buffers and ArrayRecord
        found = f"an unreadable one ({reason(error)})"
        raise DataError(tile="-", path=folder, expected="a table of tiles, as it was written", found=found, advice=AGAIN) from error
    if count != rows:
        raise DataError(tile="-", path=folder, expected=f"a table of {rows} tiles, as in its summary", found=f"{count}", advice=AGAIN)
    if columns != set(records.modalities):
        raise DataError(
            tile="-", path=folder, expected=f"a table of {', '.join(records.modalities)}, as in the description",
            found=f"one of {', '.join(sorted(columns))}", advice=AGAIN, kind="changed",
        )  # fmt: skip
    return source


def check_records(folder) -> Iterator[Finding]:
    """What is wrong with prepared records, of whatever dataset: every file is read whole and compared with what was written.

    Args:
      folder: of the records.

    Yields:
      Findings of the kinds "gone", "changed", "unlisted" and "unreadable"; none where all is as it was written.

    Raises:
      UserError: the folder is not a finished preparation of this version.
    """
    folder = pathlib.Path(folder)
    try:
        about = read_description(folder)
    except DataError as error:
        yield error.finding
        return
    damaged = set()
    for error in wrong_files(folder, about, whole=True):
        damaged.add(pathlib.Path(error.path))
        yield error.finding
    listed = {below(folder, *name.split("/")) for name in about["files"]}
    for kind in ("tiles", "frames"):
        for path in walk(folder / kind) if (folder / kind).is_dir() else ():
            if path not in listed:
                yield Finding("unlisted", "-", str(path), "only files of these records", "one that is not in their description", "Remove it.")
    try:
        records = Records(folder, compare=False)
    except DataError as error:
        if pathlib.Path(error.path) not in damaged:
            yield error.finding
        return
    for part in records.parts:
        # What is damaged was named above, and may not even end when it is read.
        if not any(path.is_relative_to(folder / kind / part) for kind in ("tiles", "frames") for path in damaged):
            yield from _check_part(records, part)


def _check_part(records, part):
    """Reads every row and every frame of a part."""
    try:
        source = records.source([part])
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
