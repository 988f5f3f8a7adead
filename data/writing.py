"""A raw dataset -> a folder of records: part by part, resumable after a kill, with progress and everything counted.

<folder>/
  preparing.json             what the folder is being made from; written first
  <part>.json                summary of a finished part
  tiles/<part>/<version>/    the table of tiles (TFDS, ArrayRecord): labels, dates, validity, where its frames are
  frames/<part>/<modality>.npy    the images (N,H,W,C)
  dataset.json               everything about the records; written last, so its presence means "complete"
"""

import contextlib
import io
import json
import logging
import os
import pathlib
import shutil
import time

import filelock
import tensorflow_datasets as tfds
from rich import progress as rich_progress

from data import builder
from data.raw import RawDataset
from data.reading import BadTiles, Form, read_tile, stored_dtype
from data.summary import Summary
from data.workers import in_order
from omnisat_jax.errors import UserError
from omnisat_jax.input.records import VERSION


class ForeignFolder(UserError):
    """The folder to write to holds something else."""


def write_records(dataset: RawDataset, folder, key: str, form: Form, *, max_bad: float, jobs: int, console) -> dict:
    """Writes what is missing of the records of `dataset` and returns what `dataset.json` says.

    Args:
      dataset: an indexed raw folder.
      folder: where to; created, or one in which the same preparation was interrupted.
      key: identifies dataset and form.
      form: how tiles are read and stored.
      max_bad: largest share of tiles with a broken file, see `Form.on_bad`.
      jobs: reading processes.
      console: rich Console for the progress bar.

    Raises:
      ForeignFolder: the folder holds other files, or records of other data.
      DataError, TooManyBadTiles: broken files.
      OSError: not enough space on the disk; says how much is needed.
    """
    folder = pathlib.Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        console.print(f"waiting for the process that prepares {folder}")
        lock.acquire()
    try:
        return _write_locked(dataset, folder, key, form, max_bad, jobs, console)
    finally:
        lock.release()


def _write_locked(dataset, folder, key, form, max_bad, jobs, console):
    _claim(folder, key)
    if (folder / "dataset.json").is_file():
        return json.loads((folder / "dataset.json").read_text())
    total = sum(len(tiles) for tiles in dataset.parts.values())
    done = {part: json.loads(path.read_text()) for part in dataset.parts if (path := folder / f"{part}.json").is_file()}
    _need_space(dataset, folder, [tile for part, tiles in dataset.parts.items() if part not in done for tile in tiles])
    bad = BadTiles(max_bad, total, [entry for summary in done.values() for entry in summary["bad"]])
    summaries = {}
    with progress_bar(console) as bar:
        task = bar.add_task(f"preparing {total} tiles of {dataset.root}", total=total)
        for part in dataset.parts:
            if part not in done:
                done[part] = _write_part(dataset, part, folder, form, bad, jobs, lambda: bar.advance(task))
            summaries[part] = done[part]
            bar.update(task, completed=sum(len(dataset.parts[name]) for name in summaries))
    about = _describe(dataset, form, key, summaries)
    write_json(folder / "dataset.json", about)
    return about


def summaries(folder, about) -> dict[str, dict]:
    """{part: its summary} of finished records."""
    return {part: json.loads((pathlib.Path(folder) / f"{part}.json").read_text()) for part in about["parts"]}


def _claim(folder, key):
    marker = folder / "preparing.json"
    if marker.is_file():
        found = json.loads(marker.read_text()).get("key")
        if found != key:
            raise ForeignFolder(
                f"{folder}: expected records of these data ({key}), found those of others ({found}): the raw files or the options "
                "changed. Choose another folder, or delete this one."
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise ForeignFolder(
            f"{folder}: expected an empty folder or one of an interrupted preparation, found other files "
            f"({next(folder.iterdir()).name}, ...). Choose another folder."
        )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(marker, {"key": key, "version": VERSION})


def _need_space(dataset, folder, tiles):
    """Records are about as large as the raw files, images as large as decompressed."""
    need = 0
    for tile in tiles:
        for path in {dataset.path_of(tile, name) for name, m in dataset.modalities.items() if m.kind == "series"}:
            need += path.stat().st_size if path.is_file() else 0
        for modality in dataset.modalities.values():
            if modality.kind == "image":
                need += modality.shape[0] * modality.shape[1] * modality.shape[2]
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{folder}: expected about {need / 1e9:.1f} GB of free disk for {len(tiles)} tiles, found {free / 1e9:.1f} GB"
        )


def _write_part(dataset, part, folder, form, bad, jobs, advance):
    start = time.monotonic()
    # Records without their summary are of a run that was cut off between the two.
    places = [folder / kind / part for kind in ("tiles", "frames")]
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    writers = builder.FrameWriters(folder, dataset, part, form)
    summary = Summary(dataset.modalities, with_parcels=dataset.task == "segment")

    def examples():
        for example, entries in in_order(read_tile, (dataset, form), dataset.parts[part], jobs):
            bad.add(entries)
            summary.note_bad(entries)
            if example is not None:
                summary.add(example)
                yield writers.take(example)
            advance()
        if not summary.tiles:
            bad.refuse(f"part {part} has no whole tile, so nothing could be trained or tested on it")

    # TFDS speaks of downloads that never happen here; our own progress bar and report say what does.
    tfds.disable_progress_bar()
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.Tiles(raw=dataset, part=part, examples=examples(), data_dir=folder).download_and_prepare()
        shutil.rmtree(folder / "downloads", ignore_errors=True)  # which TFDS makes whether it downloads or not
    finally:
        writers.close()
        absl.setLevel(level)
    size = sum(path.stat().st_size for place in places for path in place.rglob("*") if path.is_file())
    write_json(folder / f"{part}.json", summary.to_json() | {"bytes": size, "seconds": time.monotonic() - start})
    return json.loads((folder / f"{part}.json").read_text())


def _describe(dataset, form, key, summaries):
    longest = {
        name: max(s["longest"][name] for s in summaries.values())
        for name, modality in dataset.modalities.items()
        if modality.kind == "series"
    }
    return {
        "dataset": dataset.name,
        "fingerprint": key,
        "simulated": dataset.simulated,
        "source": str(dataset.root.resolve()),
        "citation": "simulated, in the layout of: " + dataset.citation if dataset.simulated else dataset.citation,
        "version": VERSION,
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
                "dtype": stored_dtype(m, form),
                "longest": longest.get(name, 1),
                "bands": list(m.bands),
            }
            for name, m in dataset.modalities.items()
        },
        "parts": list(dataset.parts),
        "on_bad": form.on_bad,
    }


def progress_bar(console):
    """A bar with a count and the time that is left; nothing where there is no terminal."""
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def write_json(path, value):
    """Atomically."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(value))
    partial.replace(path)
