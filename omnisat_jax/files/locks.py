"""File locks that admit one process at a time. The system releases a lock when its process ends, for whatever reason."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from omnisat_jax.errors import UserError, printable, system_sentence
from omnisat_jax.types import StrPath


class InUseError(UserError):
    """Another process holds the lock. The message names its host, process ID and start time."""


@contextlib.contextmanager
def exclusive(path: StrPath, what: str) -> Iterator[None]:
    """Holds the lock file `path` while the body runs.

    Args:
      path: the lock file. It is created if necessary and never removed, as removing it would let two processes in.
      what: what is locked, for messages.

    Raises:
      InUseError: another process holds the lock.
      UserError: the file cannot be created or locked.
    """
    path = pathlib.Path(path)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise UserError(f"{what}: cannot be locked ({system_sentence(error)})") from error
    with open(handle, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(f"{what}: another process is using it ({_holder(lock)}). Wait for it to finish, or stop it.") from None
        except OSError as error:
            raise UserError(f"{what}: cannot be locked ({system_sentence(error)})") from error
        holder = {"host": socket.gethostname(), "process": os.getpid(), "since": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"}
        with contextlib.suppress(OSError):
            lock.truncate(0)
            lock.write(json.dumps(holder))
            lock.flush()
        yield


def _holder(lock):
    try:
        holder = json.loads(lock.read(1000))
        return printable(f"process {holder['process']} on {holder['host']}, since {holder['since']}")
    except (OSError, ValueError, KeyError, TypeError):
        return "which has not written its name"
