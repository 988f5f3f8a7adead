"""Which processes may write into a folder of records at the same time.

One that prepares all of it holds <folder>.lock alone. Shards hold it together, and <folder>.<part>.lock alone while they write that part.
The system releases a lock when its process ends.
"""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from rich.console import Console

from omnisat_jax.errors import UserError, system_sentence


@contextlib.contextmanager
def folder_lock(folder: pathlib.Path, console: Console, *, shared: bool = False) -> Iterator[None]:
    """Makes a folder of records and holds it while the body runs.

    Args:
      folder: of the records.
      console: where it says that it waits for another process.
      shared: whether other shards may write other parts.

    Raises:
      UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    with _lock(folder, folder.with_name(f"{folder.name}.lock"), f"waiting for the process that prepares {folder}", console, shared):
        yield


@contextlib.contextmanager
def part_lock(folder: pathlib.Path, part: str, console: Console) -> Iterator[None]:
    """Holds one part of the records while the body runs; see `folder_lock`."""
    with _lock(folder, folder.with_name(f"{folder.name}.{part}.lock"), f"waiting for the process that prepares {part} of {folder}", console, False):
        yield


@contextlib.contextmanager
def _lock(folder, path, waiting, console, shared):
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644))
    except OSError as error:
        raise _unwritable(folder, error) from error
    with lock:
        try:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                console.print(waiting, markup=False, highlight=False, soft_wrap=True)
                fcntl.flock(lock, kind)
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield


def _unwritable(folder: pathlib.Path, error: OSError) -> UserError:
    return UserError(f"{folder}: records cannot be written there ({system_sentence(error)}). Choose another folder.")
