"""Atomic writes: files and folders exist completely or not at all. Also removes what killed processes left behind.

Unfinished files are named <name>.partial-<host>-<process>-<random>, so that two machines that share a folder never use the same name.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from typing import Any

from omnisat_jax.errors import UserError, system_sentence
from omnisat_jax.files.addresses import need_local
from omnisat_jax.types import StrPath

_PARTIAL = re.compile(r".+\.partial-(?P<host>[A-Za-z0-9_]*)-(?P<process>\d+)-[0-9a-f]{8}")
FULL = 2**16  # bytes; a disk with less is full
MARK = ".made-by-omnisat_jax"  # file in a folder that is being written; only folders that contain it are ever removed


def partial_name(path: StrPath) -> pathlib.Path:
    """Returns an unused name next to `path` for an unfinished file or folder.

    Raises:
      UserError: an address, which would become a folder of this machine.
    """
    need_local(path, "")
    path = pathlib.Path(path)
    return path.with_name(f"{path.name}.partial-{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def is_partial(name: str) -> bool:
    """Whether a name belongs to an unfinished file or folder."""
    return bool(_PARTIAL.fullmatch(name))


def write_bytes(path: StrPath, content: bytes) -> None:
    """Writes a file atomically. The content is on the disk when this returns.

    Raises:
      UserError: the file cannot be written.
    """
    path = pathlib.Path(path)
    partial = partial_name(path)
    try:
        with open(partial, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(f"{path}: cannot be written ({system_sentence(error)})") from error


def write_text(path: StrPath, text: str) -> None:
    """Writes text in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: StrPath, value: Any) -> None:
    """Writes plain values as JSON; see `write_bytes`."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def sync_folder(folder: StrPath) -> None:
    """Flushes the entries of a folder to the disk, on file systems that support it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def new_folder(root: StrPath) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that is renamed to `root` when the body ends.

    If another process has created `root` in the meantime, the temporary folder is discarded without an error.

    Raises:
      UserError: the folder cannot be created.
    """
    need_local(root, "")
    root = pathlib.Path(root)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        clear_partials(root.parent)
        work = _marked_folder(root)
    except OSError as error:
        raise UserError(f"{root}: cannot be created ({system_sentence(error)})") from error
    try:
        yield work
        (work / MARK).unlink()
        work.rename(root)
        sync_folder(root.parent)
    except BaseException as error:
        full = isinstance(error, Exception) and not isinstance(error, UserError) and is_full(work)
        (work / MARK).touch()
        remove_marked(work)
        if full:
            raise UserError(f"{root}: cannot be written (the disk is full); free some space, then run the same command again") from error
        if not (isinstance(error, OSError) and root.exists()):
            raise


@contextlib.contextmanager
def scratch_folder(beside: StrPath) -> Iterator[pathlib.Path]:
    """Yields a temporary folder next to `beside`, and so on the same disk, that is removed when the body ends.

    Raises:
      UserError: the folder cannot be created.
    """
    parent = pathlib.Path(beside).parent
    try:
        clear_partials(parent)
        work = _marked_folder(beside)
    except OSError as error:
        raise UserError(f"{parent}: cannot be written ({system_sentence(error)})") from error
    try:
        yield work
    finally:
        (work / MARK).touch()
        remove_marked(work)


def _marked_folder(path: StrPath) -> pathlib.Path:
    """Makes an unfinished folder next to `path`. No folder is left without its mark, as nothing would ever remove it."""
    work = partial_name(path)
    work.mkdir()
    try:
        (work / MARK).touch()
    except OSError:
        work.rmdir()
        raise
    return work


def is_full(folder: pathlib.Path) -> bool:
    """Whether nothing more can be written. Libraries report that in many ways, and not always as an error of the operating system."""
    with contextlib.suppress(OSError):
        state = os.statvfs(folder)
        return state.f_bavail * state.f_frsize < FULL or (state.f_files > 0 and not state.f_favail)
    return False


def publish(finished: StrPath, path: StrPath) -> None:
    """Moves a finished file of the same disk to `path`, in place of one that is there already. It is on the disk when this returns.

    Raises:
      UserError: the file cannot be written.
    """
    finished, path = pathlib.Path(finished), pathlib.Path(path)
    try:
        with open(finished, "rb+") as content:
            os.fsync(content.fileno())
        finished.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({system_sentence(error)})") from error


def remove_marked(folder: StrPath) -> None:
    """Removes a folder that this program created and marked. Links out of it are not followed.

    Raises:
      UserError: the folder is not marked.
    """
    folder = pathlib.Path(folder)
    if folder.is_symlink() or not (folder / MARK).is_file():
        raise UserError(f"{folder}: expected a folder that this program created, found no {MARK} in it; it was not removed")
    shutil.rmtree(folder)


def clear_partials(folder: StrPath) -> None:
    """Removes the unfinished files of dead processes of this machine from a folder. Files of live processes and other machines are kept."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = _PARTIAL.fullmatch(path.name)
        if not match or match["host"] != _host() or _alive(int(match["process"])) or path.is_symlink():
            continue
        with contextlib.suppress(OSError, UserError):
            if path.is_dir():
                remove_marked(path)
            else:
                path.unlink()


def _host():
    return re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())


def _alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
