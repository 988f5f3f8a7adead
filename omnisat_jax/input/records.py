"""Prepared records as the training job sees them: a description, random access to tiles, merged statistics."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from omnisat_jax.errors import UserError
from omnisat_jax.input.frames import Frames, FrameStore, frames_path

VERSION = "2.1.0"  # of the record layout


@dataclasses.dataclass(frozen=True)
class Stored:
    """How one modality is stored: frame shape (H, W, C), or (2,) of a location; dtype; longest series (1 for what is none); band names."""

    kind: str
    shape: tuple[int, ...]
    dtype: str
    longest: int
    bands: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Split:
    """Names of the parts to train, validate and test on; validation may be empty."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    protocol: str


class Records:
    """A folder of records written by `data.prepare`."""

    def __init__(self, root):
        """Opens a folder; reads descriptions only.

        Raises:
          UserError: the folder is not a finished preparation.
        """
        self.root = pathlib.Path(root)
        path = self.root / "dataset.json"
        if not path.is_file():
            raise UserError(
                f"{path}: expected prepared records, found none; run --stage=prepare or `python -m data.prepare` first"
            )
        about = json.loads(path.read_text())
        if about["version"] != VERSION:
            raise UserError(f"{self.root}: expected records of version {VERSION}, found {about['version']}; prepare them anew")
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
        self._summaries = {part: json.loads((self.root / f"{part}.json").read_text()) for part in self.parts}

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
        tiles = self.tiles(parts)
        ranked = sorted(range(len(tiles)), key=lambda i: hashlib.sha256(f"{seed}:{tiles[i]}".encode()).digest())
        kept = sorted(ranked[: max(1, round(share * len(tiles)))]) if tiles else []
        return TileSource(self, parts, kept)

    def counts(self, parts) -> dict[str, dict[str, int]]:
        """{modality: {"present": tiles, "absent": tiles, "invalid_dates": dates}} of `parts`."""
        result = {}
        total = len(self.tiles(parts))
        for name in self.modalities:
            present = sum(self._summaries[part]["present"][name] for part in parts)
            invalid = sum(self._summaries[part]["invalid_dates"].get(name, 0) for part in parts)
            result[name] = {"present": present, "absent": total - present, "invalid_dates": invalid}
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
          clear: of reflectance series, only over the dates that do not look cloudy (data/summary.py).

        Raises:
          UserError: a modality has no value in `parts`, so it cannot be normalised.
        """
        result = {}
        for name in self.modalities:
            which = "clear_moments" if clear and name in self._summaries[parts[0]]["clear_moments"] else "moments"
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
        """positions: of the tiles to give, in the order of `Records.tiles(parts)`."""
        self._positions = list(positions)
        split = records.about["split"]
        self._sources, self._frames = [], []
        for part in parts:
            folder = records.root / "tiles" / part / records.about["version"]
            self._sources.append(tfds.builder_from_directory(folder).as_data_source(split=split))
            sensors = {name: stored for name, stored in records.modalities.items() if stored.kind != "location"}
            self._frames.append({n: FrameStore(frames_path(records.root, part, n), s.shape, s.dtype) for n, s in sensors.items()})
        self._ends = np.cumsum([len(source) for source in self._sources])
        self._index = {tile: i for i, tile in enumerate(records.tile_ids)}

    def __len__(self):
        return len(self._positions)

    def __getitem__(self, position):
        """The stored example with `tile_index` (int32) in place of the id; "values" of series and images are `Frames`."""
        position = self._positions[position]
        part = int(np.searchsorted(self._ends, position, side="right"))
        start = int(self._ends[part - 1]) if part else 0
        example = dict(self._sources[part][position - start])
        for name, store in self._frames[part].items():
            entry = dict(example[name])
            example[name] = entry | {"values": Frames(store, entry.pop("first"), entry.pop("count"))}
        example["tile_index"] = np.int32(self._index[example.pop("tile_id").decode()])
        return example


OFFICIAL = {1: ((1, 2, 3), 4, 5), 2: ((2, 3, 4), 5, 1), 3: ((3, 4, 5), 1, 2), 4: ((4, 5, 1), 2, 3), 5: ((5, 1, 2), 3, 4)}


def choose_split(protocol: str, parts, fold: int) -> Split:
    """Which parts train, validate and test under a protocol.

    "official_5fold": PASTIS' five rotations. "single_split": its first one, 123 / 4 / 5, as "tile_f1", which scores labels of tiles. "leave_one_fold_out": part number
    `fold` tests, all others train, nothing validates (the last checkpoint is scored). "fixed": parts named train, validation,
    test. "auto": fixed if the parts are so named, official_5fold if there are five folds, else leave_one_fold_out.

    Raises:
      UserError: the parts do not fit the protocol, or `fold` is out of range.
    """
    parts = tuple(parts)
    folds = tuple(f"fold_{i}" for i in range(1, 6))
    if protocol == "auto":
        fixed = {"train", "test"} <= set(parts)
        protocol = "fixed" if fixed else "official_5fold" if set(folds) <= set(parts) else "leave_one_fold_out"

    def need(wanted):
        missing = [part for part in wanted if part not in parts]
        if missing:
            raise UserError(
                f"data.protocol {protocol!r} needs {', '.join(missing)}, but the data have {', '.join(parts)}; "
                "choose another protocol (auto picks one that fits)"
            )

    if protocol == "fixed":
        need(("train", "test"))
        return Split(("train",), ("validation",) if "validation" in parts else (), ("test",), protocol)
    if protocol in ("official_5fold", "single_split", "tile_f1"):
        need(folds)
        number = fold if protocol == "official_5fold" else 1
        if number not in OFFICIAL:
            raise UserError(f"data.fold of {protocol} must be 1 to 5, found {fold}")
        train, validation, test = OFFICIAL[number]
        return Split(tuple(f"fold_{i}" for i in train), (f"fold_{validation}",), (f"fold_{test}",), protocol)
    if len(parts) < 2 or not 1 <= fold <= len(parts):
        raise UserError(f"data.fold of {protocol} must be 1 to {len(parts)} and at least 2 parts must exist, found {fold}")
    return Split(tuple(p for p in parts if p != parts[fold - 1]), (), (parts[fold - 1],), protocol)
