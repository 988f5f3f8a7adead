"""Writes a raw dataset as a folder of records, part by part; a killed preparation is resumed at the part that it was writing.

<folder>/
  preparing.json                  what the folder is prepared from; written first, it marks the folder as ours
  <part>.json                     summary of a finished part
  tiles/<part>/<version>/         the table of tiles (TFDS, ArrayRecord): labels, dates, validity, positions of the frames
  frames/<part>/<modality>.npy    the images (N,H,W,C)
  dataset.json                    describes the records, with the hash of every other file; written last, it marks them as complete
"""

import collections
import contextlib
import dataclasses
import io
import logging
import math
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from rich.console import Console

from data.preparation import builder, uploading
from data.preparation.bad_tiles import BadTiles, read_tile
from data.preparation.claim import claim_folder
from data.preparation.locking import folder_lock, part_lock
from data.preparation.options import Origin, PreparationOptions
from data.preparation.summary import Summary
from data.reading.raw import DataError, RawDataset
from data.reading.workers import in_order
from omnisat_jax.cli.progress import progress_bar
from omnisat_jax.errors import UserError, printable, reason, system_sentence
from omnisat_jax.files import atomic, fetching
from omnisat_jax.files.json_file import Value
from omnisat_jax.files.paths import below, check_text
from omnisat_jax.records import description
from omnisat_jax.records.description import DESCRIPTION, VERSION, summary_path
from omnisat_jax.records.info import DatasetInfo
from omnisat_jax.shards import Shard
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

FULL = 2**20  # bytes of free disk below which a failure to write is blamed on a full disk


def write_records(
    dataset: RawDataset, folder: StrPath, origin: Origin, options: PreparationOptions, console: Console
) -> DatasetInfo:
    """Writes what is missing of the records of `dataset` and returns their description.

    Args:
      dataset: an indexed raw folder.
      folder: created, empty, or left by an interrupted preparation of the same data.
      origin: what the records are made from.
      options: how tiles are read and stored.
      console: for the progress bar.

    Raises:
      ForeignFolder: the folder holds other files, or records of other data.
      DataError, TooManyBadTiles: broken files, or names that cannot be file names.
      UserError: the folder cannot be written, or the disk has not enough space; says how much is needed.
    """
    folder = pathlib.Path(folder)
    content = _describe(dataset, origin, options)
    _check(dataset, content)
    with folder_lock(folder, console):
        claim_folder(folder, content)
        uploading.claimed(folder, content)
        if (folder / DESCRIPTION).exists():
            return description.read_description(folder)
        atomic.clear_partials(folder)
        written, bad = _write_parts(dataset, folder, list(dataset.parts), options, console)
        bad.check()  # several shards may have exceeded the limit together
        for name, modality in content["modalities"].items():
            if modality["kind"] == "series":
                modality["longest"] = max(summary["longest"][name] for summary in written.values())
        for part, summary in written.items():
            content["files"] |= {f"{part}.json": description.hashed_entry(summary_path(folder, part))} | summary["files"]
        description.write_signed(folder / DESCRIPTION, content)
        uploading.finished(folder)
        return description.read_description(folder)


def write_shard(
    dataset: RawDataset, folder: StrPath, origin: Origin, options: PreparationOptions, console: Console, shard: Shard
) -> list[str]:
    """Writes some parts of the records of `dataset`, beside processes that write the others. `write_records` completes the folder.

    Args:
      dataset, folder, origin, options, console: see `write_records`.
      shard: which parts.

    Returns:
      The parts that are still missing, of all shards.

    Raises:
      ForeignFolder, DataError, TooManyBadTiles, UserError: see `write_records`; UserError as well for more shards than parts.
    """
    folder = pathlib.Path(folder)
    content = _describe(dataset, origin, options)
    _check(dataset, content)
    parts = list(dataset.parts)
    if shard.count > len(parts):
        raise UserError(f"--shard {shard}: expected at most one shard per part of {dataset.root} ({', '.join(parts)}), found {shard.count} shards")
    with folder_lock(folder, console, shared=True):
        claim_folder(folder, content)
        uploading.claimed(folder, content)
        for part in shard.of(parts):
            with part_lock(folder, part, console):
                _write_parts(dataset, folder, [part], options, console)
        return [part for part in parts if not summary_path(folder, part).exists()]


def summaries(folder: StrPath, info: DatasetInfo) -> dict[str, dict[str, Any]]:
    """{part: its summary} of finished records; info: their description."""
    return {part: description.read_summary(folder, part, info) for part in info.parts}


def _describe(dataset: RawDataset, origin: Origin, options: PreparationOptions) -> dict[str, Any]:
    """The content of dataset.json, except files and lengths, which are known at the end."""
    return {
        "dataset": dataset.name,
        "fingerprint": origin.fingerprint,
        "simulated": dataset.simulated,
        "source": printable(dataset.copies.address if dataset.copies else str(dataset.root.resolve()), None),
        "citation": "simulated, in the layout of: " + dataset.citation if dataset.simulated else dataset.citation,
        "version": VERSION,
        "made_with": {
            "reader": origin.reader,
            "nomenclature": origin.nomenclature,
            "simulated": origin.simulated,
            "on_bad": options.on_bad,
            "float16": options.float16,
            "max_bad": options.max_bad,
            "unlabelled": options.unlabelled,
        },
        "split": builder.SPLIT,
        "task": dataset.task,
        "classes": list(dataset.classes),
        "unscored": list(dataset.unscored),
        "colours": list(dataset.colours),
        "ignore": dataset.ignore,
        "background": dataset.background,
        "label_side": dataset.label_side,
        "modalities": {
            name: {
                "kind": m.kind,
                "shape": list(m.shape),
                "dtype": options.stored_dtype(m),
                "longest": 1,
                "bands": list(m.bands),
                "scale": list(m.scale),
                "offset": list(m.offset),
                "resolution": m.resolution,
            }
            for name, m in dataset.modalities.items()
        },
        "parts": list(dataset.parts),
        "files": {},
    }


def _check(dataset: RawDataset, content: dict[str, Any]) -> None:
    """Checks names, which become file names, whatever the reader of the dataset."""
    for part, tiles in dataset.parts.items():
        description.check_part(part, dataset.root)
        if not tiles:
            raise DataError(tile="-", path=dataset.root, expected="a tile in every part", found=f"none in {part}")
        for tile in tiles:
            check_text(tile, what="the name of a tile", path=dataset.root)
    (tile, times), *_ = collections.Counter(dataset.tiles).most_common(1)
    if times > 1:
        raise DataError(tile=tile, path=dataset.root, expected="each tile once, in one part", found=f"{times} times")
    description.check_description(Value(content, dataset.root))


def _write_parts(
    dataset: RawDataset, folder: pathlib.Path, parts: Sequence[str], options: PreparationOptions, console: Console
) -> tuple[dict[str, dict[str, Any]], BadTiles]:
    """Writes those of the parts that are missing; returns the summaries of all of them, and the broken tiles of the whole folder."""
    done = {part: _read_part(folder, part) for part in dataset.parts if summary_path(folder, part).exists()}
    tiles = {part: dataset.parts[part] for part in parts}
    total = sum(map(len, tiles.values()))
    _need_space(dataset, folder, options, [tile for part in parts if part not in done for tile in tiles[part]])
    bad = BadTiles(options.max_bad, len(dataset.tiles), [entry for summary in done.values() for entry in summary["bad"]])
    written = {}
    with progress_bar(console) as bar:
        task = bar.add_task(f"preparing {number_of(total, 'tile')} of {fetching.place_of(dataset.root)}", total=total)
        writer = _PartWriter(dataset, folder, options, bad, lambda: bar.advance(task))
        for part in parts:
            if part not in done:
                uploading.finished_part(folder, part, writer.write(part)["files"])
            written[part] = _read_part(folder, part)
            bar.update(task, completed=sum(len(tiles[name]) for name in written))
    return written, bad


def _read_part(folder: pathlib.Path, part: str) -> dict[str, Any]:
    advice = "Delete this file and start again: the part is then prepared anew."
    return description.read_signed(summary_path(folder, part), what=f"the summary of part {part}", advice=advice).value


def _need_space(dataset: RawDataset, folder: pathlib.Path, options: PreparationOptions, tiles: Iterable[str]) -> None:
    """Estimates the size of the records: series as large as their raw files, or half of them as float16; images as large as decompressed."""
    need, count = 0.0, 0
    for tile in tiles:
        count += 1
        shares: dict[Any, float] = {}  # of each file, which may hold several series
        for name, modality in dataset.modalities.items():
            if modality.kind == "series":
                path = dataset.path_of(tile, name)
                shares[path] = max(shares.get(path, 0.0), 0.5 if options.halves(modality) else 1.0)
            elif modality.kind == "image":
                need += math.prod(modality.shape) * np.dtype(options.stored_dtype(modality)).itemsize
        need += sum(share * fetching.size_of(path) for path, share in shares.items())
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(f"{folder}: expected about {_size(need)} of free disk for {number_of(count, 'tile')}, found {_size(free)}")


def _size(count: float) -> str:
    """A number of bytes with its unit."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.2g} MB"


@dataclasses.dataclass(frozen=True)
class _PartWriter:
    """Writes the parts of a dataset.

    Attributes:
      dataset: an indexed raw folder.
      folder: of the records.
      options: how tiles are read and stored.
      bad: counts broken tiles of all parts.
      advance: called after each tile.
    """

    dataset: RawDataset
    folder: pathlib.Path
    options: PreparationOptions
    bad: BadTiles
    advance: Callable[[], None]

    def write(self, part: str) -> dict[str, Any]:
        """Writes table, frames and summary of a part; returns the summary."""
        start = time.monotonic()
        for kind in ("tiles", "frames"):
            _fresh(below(self.folder, kind, part))
        dataset, folder = self.dataset, self.folder
        summary = Summary(dataset.modalities, classes=len(dataset.classes), ignore=dataset.ignore, with_parcels=dataset.task == "segment")
        with builder.FrameWriters(folder, dataset, part, self.options) as writers, _quiet_tfds(), tempfile.TemporaryDirectory() as nothing:
            table = builder.Tiles(raw=dataset, part=part, examples=self._examples(part, summary, writers), data_dir=folder)
            try:
                table.download_and_prepare(download_dir=nothing)
            except UserError:
                raise
            except Exception as error:  # TFDS and the writer of ArrayRecord have their own errors for a full disk
                if getattr(error, "errno", None) or shutil.disk_usage(folder).free > FULL:
                    raise
                raise UserError(f"{folder}: the disk is full ({reason(error)})") from error
        sensors = [name for name, modality in dataset.modalities.items() if modality.kind != "location"]
        files = description.file_entries(folder, part, sensors)
        size = sum(entry["bytes"] for entry in files.values())
        content = summary.to_json() | {"bytes": size, "seconds": time.monotonic() - start, "files": files}
        description.write_signed(summary_path(folder, part), content)
        return content

    def _examples(self, part: str, summary: Summary, writers: builder.FrameWriters) -> Iterator[dict[str, Any]]:
        for example, found in in_order(read_tile, (self.dataset, self.options), self.dataset.parts[part], self.options.jobs):
            self.bad.add(found)
            summary.note_bad(found)
            if example is not None:
                summary.add(example)
                yield writers.take(example)
            self.advance()
        if not summary.tiles:
            self.bad.refuse(f"part {part} has no whole tile, so nothing could be trained or tested on it")


def _fresh(folder: pathlib.Path) -> None:
    """Makes an empty folder with our mark, in place of what an interrupted run left there."""
    for path in (folder.parent, folder):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise UserError(f"{path}: expected a folder of these records, found {'a link' if path.is_symlink() else 'a file'}; remove it")
    if folder.exists():
        atomic.remove_marked(folder)
    try:
        folder.mkdir(parents=True)
        (folder / atomic.MARK).touch()
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({system_sentence(error)})") from error


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Silences TFDS, which announces downloads that never happen here; our progress bar and report take its place."""
    tfds.disable_progress_bar()
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl.setLevel(level)
