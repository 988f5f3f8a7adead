"""What files contain, as one number that does not depend on where they lie. Hashes are remembered while a file is not touched."""

import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import sqlite3
import time
from collections.abc import Iterable

import xxhash

from omnisat_jax.errors import DataError, system_reason

CHUNK = 2**22
THREADS = 8
SETTLED = 2.0  # s that a file must be old: a younger one may change again without a trace in its times


def cache_path() -> pathlib.Path:
    """Where hashes are remembered: $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "omnisat_jax" / "hashes.sqlite"


def file_hash(path) -> str:
    """XXH3 (128 bits, hexadecimal) of a file's bytes.

    Raises:
      DataError: it cannot be read.
    """
    digest = xxhash.xxh3_128()
    try:
        with open(path, "rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(tile="-", path=path, expected="a file that can be read", found=system_reason(error)) from error
    return digest.hexdigest()


def file_hashes(paths: Iterable) -> dict[pathlib.Path, str]:
    """Hashes of many files, in parallel, those known from before looked up by device, inode, size and times of change.

    Raises:
      DataError: a file that cannot be read.
    """
    paths = [pathlib.Path(path) for path in paths]
    keys = {path: _key(path) for path in paths}
    with _remembered() as memory:
        known = memory.find(keys.values())
        found = {path: known[key] for path, key in keys.items() if key in known}
        todo = [path for path in paths if path not in found]
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            new = dict(zip(todo, pool.map(file_hash, todo), strict=True))
        now = time.time()
        memory.keep({keys[path]: value for path, value in new.items() if now - max(keys[path][3:]) / 1e9 > SETTLED})
    return found | new


def fingerprint(root, files: Iterable, settings: str) -> str:
    """Identifies a dataset by the content of its files and by what is done with them, wherever it lies.

    Args:
      root: of the dataset; names count from here.
      files: those that decide what is read.
      settings: anything else that the result depends on.

    Raises:
      DataError: a file that cannot be read.
    """
    root = pathlib.Path(root)
    names = sorted((path.relative_to(root).as_posix(), path) for path in map(pathlib.Path, set(files)))
    hashes = file_hashes(path for _, path in names)
    digest = hashlib.sha256(settings.encode())
    for name, path in names:
        digest.update(f"\n{name}\n{hashes[path]}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _key(path):
    try:
        about = os.stat(path)
    except OSError as error:
        raise DataError(tile="-", path=path, expected="a file that can be read", found=system_reason(error)) from error
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


class _Memory:
    """Hashes in a SQLite file, which several processes may share; without one nothing is remembered."""

    def __init__(self, connection):
        self._connection = connection

    def find(self, keys):
        if self._connection is None:
            return {}
        found = {}
        for key in keys:
            row = self._connection.execute("SELECT hash FROM hashes WHERE dev=? AND ino=? AND size=? AND mtime=? AND ctime=?", _text(key)).fetchone()
            if row:
                found[key] = row[0]
        return found

    def keep(self, hashes):
        if self._connection is not None and hashes:
            with contextlib.suppress(sqlite3.Error), self._connection:
                rows = [(*_text(key), value) for key, value in hashes.items()]
                self._connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?,?,?,?,?,?)", rows)


def _text(key):
    return tuple(map(str, key))  # device and inode numbers may exceed SQLite's integers


@contextlib.contextmanager
def _remembered():
    connection = None
    try:
        path = cache_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=30)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS hashes (dev TEXT, ino TEXT, size TEXT, mtime TEXT, ctime TEXT, hash TEXT, PRIMARY KEY (dev, ino))"
        )
    except (OSError, sqlite3.Error):  # a read-only home, a damaged file: every file is hashed
        connection = None
    try:
        yield _Memory(connection)
    finally:
        if connection is not None:
            connection.close()
