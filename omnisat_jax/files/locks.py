"""One process at a time in a folder. The lock ends with the process that holds it, however that ends."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket

from omnisat_jax.errors import UserError, printable, system_sentence


class InUseError(UserError):
    """Another process is at it; the message names its host, number and start."""


@contextlib.contextmanager
def exclusive(path, what: str):
    """Holds the lock file `path` while the body runs.

    Args:
      path: of the lock file; created, and left there, as removing it would let two processes in.
      what: is locked, for the message.

    Raises:
      InUseError: another process holds it.
      UserError: the file cannot be made.
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
            raise InUseError(f"{what}: another start is at work in it ({_holder(lock)}). Wait for it, or end it.") from None
        except OSError as error:
            raise UserError(f"{what}: cannot be locked ({system_sentence(error)})") from error
        about = {"host": socket.gethostname(), "process": os.getpid(), "since": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"}
        with contextlib.suppress(OSError):
            lock.truncate(0)
            lock.write(json.dumps(about))
            lock.flush()
        yield


def _holder(lock):
    try:
        about = json.loads(lock.read(1000))
        return printable(f"process {about['process']} on {about['host']}, since {about['since']}")
    except (OSError, ValueError, KeyError, TypeError):
        return "which has not said who it is"
