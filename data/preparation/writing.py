"""A raw dataset -> a folder of records: part by part, resumable after a kill, with progress and everything counted.

<folder>/
  preparing.json             what the folder is being made from; written first, and the mark that the folder is ours
  <part>.json                summary of a finished part
  tiles/<part>/<version>/    the table of tiles (TFDS, ArrayRecord): labels, dates, validity, where its frames are
  frames/<part>/<modality>.npy    the images (N,H,W,C)
  dataset.json               everything about the records, with the hash of every other file; written last, so its presence means "complete"
"""

import collections
import contextlib
import io
import logging
import pathlib
import shutil
import tempfile
import time

import filelock
import tensorflow_datasets as tfds
from rich import progress as rich_progress

from data.preparation import builder
from data.preparation.summary import Summary
from data.reading.bad_tiles import BadTiles, Form, read_tile, stored_dtype
from data.reading.raw import DataError, RawDataset
from data.reading.workers import in_order
from omnisat_jax.errors import UserError, printable, reason, system_sentence
from omnisat_jax.files import atomic
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.paths import below, check_text, entries
from omnisat_jax.records import description
from omnisat_jax.records.description import CLAIM, DESCRIPTION, VERSION, summary_path
from omnisat_jax.records.info import DatasetInfo

FULL = 2**20  # bytes of free disk below which a failure to write is blamed on it


class ForeignFolder(UserError):
    """The folder to write to holds something else."""


def write_records(dataset: RawDataset, folder, key: str, form: Form, origin: dict, *, max_bad: float, jobs: int, console) -> DatasetInfo:
    """Writes what is missing of the records of `dataset` and returns their description.

    Args:
      dataset: an indexed raw folder.
      folder: where to; created, or one in which the same preparation was interrupted.
      key: identifies the content of dataset and form.
      form: how tiles are read and stored.
      origin: {"reader": name of the reader, "nomenclature": of its classes or "", "simulated": what was simulated as numbers, or None}.
      max_bad: largest share of tiles with a broken file, see `Form.on_bad`.
      jobs: reading processes.
      console: rich Console for the progress bar.

    Raises:
      ForeignFolder: the folder holds other files, or records of other data.
      DataError, TooManyBadTiles: broken files, or names that cannot be those of files.
      UserError: the folder cannot be written, or there is not enough space on the disk; says how much is needed.
    """
    folder = pathlib.Path(folder)
    about = _describe(dataset, form, key, origin, max_bad)
    _check(dataset, about)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            console.print(f"waiting for the process that prepares {folder}", markup=False, highlight=False, soft_wrap=True)
            lock.acquire()
    except OSError as error:
        raise UserError(f"{folder}: records cannot be written there ({system_sentence(error)}). Choose another folder.") from error
    try:
        return _write_locked(dataset, folder, about, form, max_bad, jobs, console)
    finally:
        lock.release()


def _check(dataset, about):
    """Every name becomes that of a file, whoever read the dataset."""
    for part, tiles in dataset.parts.items():
        description.check_part(part, dataset.root)
        if not tiles:
            raise DataError(tile="-", path=dataset.root, expected="a tile in every part", found=f"none in {part}")
        for tile in tiles:
            check_text(tile, what="the name of a tile", path=dataset.root)
    (tile, times), *_ = collections.Counter(tile for tiles in dataset.parts.values() for tile in tiles).most_common(1)
    if times > 1:
        raise DataError(tile=tile, path=dataset.root, expected="each tile once, in one part", found=f"{times} times")
    description.check_description(Value(about, dataset.root))


def _write_locked(dataset, folder, about, form, max_bad, jobs, console):
    _claim(folder, about)
    if (folder / DESCRIPTION).exists():
        return description.read_description(folder)
    atomic.clear_partials(folder)
    total = sum(len(tiles) for tiles in dataset.parts.values())
    done = {part: _read_part(folder, part) for part in dataset.parts if summary_path(folder, part).exists()}
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
    for name, modality in about["modalities"].items():
        if modality["kind"] == "series":
            modality["longest"] = max(summary["longest"][name] for summary in summaries.values())
    for part, summary in summaries.items():
        about["files"] |= {f"{part}.json": description.hashed_entry(summary_path(folder, part))} | summary["files"]
    description.write_signed(folder / DESCRIPTION, about)
    return description.read_description(folder)


def summaries(folder, info: DatasetInfo) -> dict[str, dict]:
    """{part: its summary} of finished records."""
    return {part: description.read_summary(folder, part, info) for part in info.parts}


def _read_part(folder, part):
    advice = "Delete this file and start again: the part is then prepared anew."
    return description.read_signed(summary_path(folder, part), what=f"the summary of part {part}", advice=advice).value


def _claim(folder, about):
    marker = folder / CLAIM
    ours = {name: about[name] for name in ("version", "fingerprint", "made_with")}
    if marker.exists():
        found = read_json(marker, what="what the folder is being prepared from", advice="Choose another folder.")
        if found.find("fingerprint").value != about["fingerprint"]:
            raise ForeignFolder(
                f"{folder}: expected records of these data ({about['fingerprint']}), found those of others "
                f"({printable(str(found.find('fingerprint').value), 40)}): {_difference(found, ours)}. Choose another folder, or delete this one."
            )
        return
    others = [path.name for path in entries(folder) if not atomic.is_partial(path.name)]
    if others:
        raise ForeignFolder(
            f"{folder}: expected an empty folder or one of an interrupted preparation, found other files "
            f"({others[0]}{', ...' if len(others) > 1 else ''}). Choose another folder."
        )
    atomic.write_json(marker, ours)


def _difference(found, ours):
    """Which options differ between a claim and ours, in words."""
    if found.find("version").value != ours["version"]:
        return f"of version {printable(str(found.find('version').value), 40)}, now {ours['version']}"
    theirs = found.find("made_with", {}).items()
    changed = [
        f"{name} {printable(str(theirs[name].value), 60)} then, {value} now"
        for name, value in ours["made_with"].items()
        if name in theirs and name != "max_bad" and theirs[name].value != value
    ]
    return "; ".join(changed) or "the raw files are others, or were changed"


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
    places = [below(folder, kind, part) for kind in ("tiles", "frames")]
    for place in places:
        _fresh(folder, place)
    summary = Summary(dataset.modalities, classes=len(dataset.classes), ignore=dataset.ignore, with_parcels=dataset.task == "segment")

    def examples():
        for example, found in in_order(read_tile, (dataset, form), dataset.parts[part], jobs):
            bad.add(found)
            summary.note_bad(found)
            if example is not None:
                summary.add(example)
                yield writers.take(example)
            advance()
        if not summary.tiles:
            bad.refuse(f"part {part} has no whole tile, so nothing could be trained or tested on it")

    with builder.FrameWriters(folder, dataset, part, form) as writers, _quiet_tfds(), tempfile.TemporaryDirectory() as nothing:
        table = builder.Tiles(raw=dataset, part=part, examples=examples(), data_dir=folder)
        try:
            table.download_and_prepare(download_dir=nothing)
        except UserError:
            raise
        except Exception as error:  # TFDS and the writer of ArrayRecord have errors of their own for a full disk
            if getattr(error, "errno", None) or shutil.disk_usage(folder).free > FULL:
                raise
            raise UserError(f"{folder}: the disk is full ({reason(error)})") from error
    sensors = [name for name, modality in dataset.modalities.items() if modality.kind != "location"]
    files = description.file_entries(folder, part, sensors)
    size = sum(entry["bytes"] for entry in files.values())
    about = summary.to_json() | {"bytes": size, "seconds": time.monotonic() - start, "files": files}
    description.write_signed(summary_path(folder, part), about)
    return about


def _fresh(folder, place):
    """Makes an empty folder that carries our mark, in place of one that a run that was cut off left there."""
    for path in (place.parent, place):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise UserError(f"{path}: expected a folder of these records, found {'a link' if path.is_symlink() else 'a file'}; remove it")
    if place.exists():
        atomic.remove_marked(place)
    try:
        place.mkdir(parents=True)
        (place / atomic.MARK).touch()
    except OSError as error:
        raise UserError(f"{place}: cannot be made ({system_sentence(error)})") from error


@contextlib.contextmanager
def _quiet_tfds():
    """TFDS speaks of downloads that never happen here; our own progress bar and report say what does."""
    tfds.disable_progress_bar()
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl.setLevel(level)


def _describe(dataset, form, key, origin, max_bad):
    """What dataset.json will say, without files and lengths, which are known at the end."""
    return {
        "dataset": dataset.name,
        "fingerprint": key,
        "simulated": dataset.simulated,
        "source": printable(str(dataset.root.resolve()), None),
        "citation": "simulated, in the layout of: " + dataset.citation if dataset.simulated else dataset.citation,
        "version": VERSION,
        "made_with": origin | {"on_bad": form.on_bad, "float16": form.float16, "max_bad": max_bad},
        "split": builder.SPLIT,
        "task": dataset.task,
        "classes": list(dataset.classes),
        "unscored": list(dataset.unscored),
        "colours": list(dataset.colours),
        "ignore": dataset.ignore,
        "background": dataset.background,
        "label_side": dataset.label_side,
        "modalities": {
            name: {"kind": m.kind, "shape": list(m.shape), "dtype": stored_dtype(m, form), "longest": 1, "bands": list(m.bands)}
            for name, m in dataset.modalities.items()
        },
        "parts": list(dataset.parts),
        "files": {},
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
