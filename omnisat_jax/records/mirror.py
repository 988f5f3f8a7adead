"""Copies of records that lie in a bucket on a disk of this machine: made once per host, verified, and removed when others need the room.

<folder>/
  <name>-<hash>/         the records of one address in one state; dataset.json is written last and makes the copy complete
    mirror.json          whose copy it is; its time of change is when it was last used
  <name>-<hash>.lock     held by every process that uses the copy
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import xxhash
from rich.console import Console

from omnisat_jax.cli.progress import progress_bar
from omnisat_jax.errors import DataError, UserError, system_sentence
from omnisat_jax.files import atomic
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.files.json_file import read_json
from omnisat_jax.files.paths import below, entries
from omnisat_jax.records.description import DESCRIPTION, read_description, wrong_files
from omnisat_jax.records.frames import Frames, FrameStore, frames_path
from omnisat_jax.records.info import DatasetInfo
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

OWNER = "mirror.json"
GB = 1e9
POLL = 0.2  # seconds between looks at a copy that another process makes
_in_use: list[IO[str]] = []  # open lock files, for the life of this process


def mirrored(address: str, folder: StrPath, limit: float, console: Console, argument: str) -> pathlib.Path:
    """Returns the copy of the records at an address, which is made if it is not there; until this process ends, nothing removes it.

    Args:
      address: of a folder of records, such as gs://bucket/records.
      folder: of all copies, on a disk of this machine.
      limit: GB that all copies may have together; 0 = what the disk has.
      console: for the progress bar.
      argument: that has the address as its value, for messages.

    Raises:
      UserError: there are no records, no room for them, or the folder cannot be written.
      BucketError: the bucket cannot be read.
      DataError: an object is not what its description says.
    """
    bucket = Bucket(address, argument)
    content = bucket.read(DESCRIPTION)
    if content is None:
        raise UserError(
            f"{argument}: expected prepared records, found no {DESCRIPTION} at {address}; prepare them on a machine with the data by "
            "`python -m data.prepare` and copy the folder there"
        )
    info = _described(content, address)
    folder = pathlib.Path(folder)
    name = bucket.address.rpartition("/")[2]
    root = folder / f"{name}-{xxhash.xxh3_64_hexdigest(bucket.address.encode() + content)[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(root.with_name(f"{root.name}.lock"), "a+")  # noqa: SIM115 - open as long as the copy is used
        with _filling(lock, root, console) as missing:
            if missing:
                _fill(bucket, root, info, limit, console)
                atomic.write_bytes(root / DESCRIPTION, content)
            os.utime(root / OWNER)
    except OSError as error:
        raise UserError(f"data.mirror_dir: records cannot be copied to {folder} ({system_sentence(error)}). Choose another folder") from error
    _in_use.append(lock)
    return root


def _described(content: bytes, address: str) -> DatasetInfo:
    """The description of the records, checked."""
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, DESCRIPTION).write_bytes(content)
        try:
            return read_description(folder)
        except UserError as error:
            raise UserError(str(error).replace(folder, address)) from error


@contextlib.contextmanager
def _filling(lock: IO[str], root: pathlib.Path, console: Console) -> Iterator[bool]:
    """Yields whether this process has to make the copy; the lock is held for that, and shared with other users afterwards."""
    said = False
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if (root / DESCRIPTION).is_file():
                yield False
                return
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield not (root / DESCRIPTION).is_file()
            fcntl.flock(lock, fcntl.LOCK_SH)
            return
        if not said:
            said = True
            console.print(f"waiting for the process that copies records to {root}", markup=False, highlight=False, soft_wrap=True)
        time.sleep(POLL)


def _fill(bucket: Bucket, root: pathlib.Path, info: DatasetInfo, limit: float, console: Console) -> None:
    """Downloads what is missing of a copy, and compares all of it with its description."""
    root.mkdir(exist_ok=True)
    atomic.write_json(root / OWNER, {"address": bucket.address, "fingerprint": info.fingerprint})
    files = {name: below(root, *name.split("/")) for name in info.files}
    missing = [name for name, path in files.items() if not path.is_file() or path.stat().st_size != info.files[name].bytes]
    _make_room(root, sum(info.files[name].bytes for name in info.files), sum(info.files[name].bytes for name in missing), limit)
    total = sum(info.files[name].bytes for name in missing)
    console.print(f"copying {number_of(len(missing), 'file')}, {total / 1e6:,.0f} MB, from {bucket.address} to {root}", markup=False, highlight=False, soft_wrap=True)
    with progress_bar(console) as bar:
        task = bar.add_task(f"copying {bucket.address}", total=total)
        for name in missing:
            path = files[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.clear_partials(path.parent)
            partial = atomic.partial_name(path)
            for size in bucket.download(name, partial, info.files[name].bytes):
                bar.advance(task, size)
            atomic.publish(partial, path)
    _verify(bucket, root, info)


def _verify(bucket: Bucket, root: pathlib.Path, info: DatasetInfo) -> None:
    """Compares every file and every frame with its checksum; one that differs is removed, so that the next start downloads it again.

    Raises:
      DataError: naming the object.
    """
    try:
        for error in wrong_files(root, info, whole=True):
            if not error.path.endswith(DESCRIPTION):
                raise error
        for part in info.parts:
            for name, modality in info.modalities.items():
                if modality.kind != "location":
                    store = FrameStore(frames_path(root, part, name), modality.shape, modality.dtype)
                    Frames(store, 0, store.count).check()
    except DataError as error:
        pathlib.Path(error.path).unlink(missing_ok=True)
        where = f"{bucket.address}/{pathlib.Path(error.path).relative_to(root).as_posix()}"
        advice = "Start again: it is downloaded again. If it is the object that is damaged, copy it to the bucket again."
        raise DataError(tile="-", path=where, expected=error.expected, found=error.found, advice=advice, kind="changed") from error


def _make_room(root: pathlib.Path, size: int, missing: int, limit: float) -> None:
    """Removes copies that no process uses, the longest unused first, until there is room.

    Args:
      root: of the copy to be made.
      size: bytes of that copy.
      missing: those that are not there yet.
      limit: see `mirrored`.

    Raises:
      UserError: there is no room even then.
    """
    others = [path for path in entries(root.parent) if path != root and (path / OWNER).is_file()]
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in others}
    for path in sorted(others, key=lambda path: (path / OWNER).stat().st_mtime_ns):
        if _fits(root, size + sum(sizes.values()), missing, limit):
            return
        if _removed(path):
            del sizes[path]
    if _fits(root, size + sum(sizes.values()), missing, limit):
        return
    used = sum(sizes.values())
    if limit and size + used > limit * GB:
        raise UserError(f"data.mirror_gb: expected at least {(size + used) / GB:.3g} GB, of which {used / GB:.3g} GB are in use by other runs, found {limit:g}")
    raise UserError(f"data.mirror_dir: expected {missing / GB:.3g} GB of free disk for records, found {shutil.disk_usage(root).free / GB:.3g} GB at {root.parent}")


def _fits(root: pathlib.Path, total: int, missing: int, limit: float) -> bool:
    return (not limit or total <= limit * GB) and missing <= shutil.disk_usage(root).free


def _removed(path: pathlib.Path) -> bool:
    """Removes a copy unless a process uses it."""
    read_json(path / OWNER, what="the mark of a copy of records").get("address").text()  # never another folder
    with open(path.with_name(f"{path.name}.lock"), "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        (path / DESCRIPTION).unlink(missing_ok=True)  # it is not complete any more
        shutil.rmtree(path)
    return True


def forget() -> None:
    """Ends the use of every copy by this process."""
    while _in_use:
        _in_use.pop().close()
