"""Locks in a bucket that keep processes from doing the same work twice: an object that is only written where there is none.

Nothing releases the object of a process that was killed, so its holder writes it again every `BEAT` seconds, and one that has not been written for
`STALE` seconds is taken over. Two processes may then both believe that they hold it for a moment; what must not be written by both needs the
ownership of `working_copy` as well. Times are those of the storage, as clocks of machines differ.
"""

import contextlib
import datetime
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator

from omnisat_jax.errors import printable
from omnisat_jax.files.buckets import Bucket, BucketError
from omnisat_jax.files.locks import InUseError

BEAT = 30.0  # seconds
STALE = 180.0  # seconds


@contextlib.contextmanager
def exclusive(bucket: Bucket, name: str, what: str) -> Iterator[None]:
    """Holds a lock while the body runs.

    Args:
      bucket: with the lock.
      name: of the lock.
      what: is locked, for messages.

    Raises:
      InUseError: another process holds the lock.
      BucketError: the bucket cannot be read or written.
    """
    holder = {"token": uuid.uuid4().hex, "host": socket.gethostname(), "process": os.getpid(), "since": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"}
    mine = json.dumps(holder).encode()
    if not bucket.create(name, mine):
        other = bucket.read(name)
        if other is not None and not _is_stale(bucket, name):
            raise InUseError(
                f"{what}: another process is using it ({_shown(other)}). Wait for it to finish, or stop it; if it was killed, wait {STALE:.0f} seconds."
            )
        bucket.delete([name])
        if not bucket.create(name, mine):
            raise InUseError(f"{what}: another process has just begun to use it. Wait for it to finish, or stop it.")
    done = threading.Event()
    threading.Thread(target=_beat, args=(bucket, name, mine, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()
        with contextlib.suppress(BucketError):  # it becomes stale
            if bucket.read(name) == mine:
                bucket.delete([name])


def _beat(bucket: Bucket, name: str, mine: bytes, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with contextlib.suppress(BucketError):  # the next time
            if bucket.read(name) != mine:
                return
            bucket.write(name, mine)


def _is_stale(bucket: Bucket, name: str) -> bool:
    clock = f"{name}.clock-{uuid.uuid4().hex[:8]}"
    bucket.write(clock, b"")
    try:
        now, last = bucket.modified(clock), bucket.modified(name)
    finally:
        bucket.delete([clock])
    return now is None or last is None or (now - last).total_seconds() > STALE


def _shown(content: bytes) -> str:
    try:
        holder = json.loads(content)
        return printable(f"process {holder['process']} on {holder['host']}, since {holder['since']}")
    except (ValueError, KeyError, TypeError):
        return "which has not written its name"
