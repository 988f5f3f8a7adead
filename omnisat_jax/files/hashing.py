"""Hashes of file contents, independent of where the files are. Hashes of unchanged files are cached."""

import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xxhash

from omnisat_jax.errors import DataError, system_reason
from omnisat_jax.files import fetching
from omnisat_jax.types import StrPath

CHUNK = 2**22  # bytes per read
THREADS = 8
SETTLED = 2.0  # s; hashes of younger files are not cached, as another change may leave the same time stamp


def cache_path() -> pathlib.Path:
    """Returns the path of the hash cache, below $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "omnisat_jax" / "hashes.sqlite"


def file_hash(path: StrPath) -> str:
    """Returns the XXH3 hash (128 bits, hexadecimal) of a file.

    Raises:
      DataError: the file cannot be read.
    """
    digest = xxhash.xxh3_128()
    try:
        with fetching.reading(path) as here, open(here, "rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(tile="-", path=path, expected="a file that can be read", found=system_reason(error)) from error
    return digest.hexdigest()


def file_hashes(files: Iterable[StrPath]) -> dict[pathlib.Path, str]:
    """Hashes many files in parallel. Cached hashes are looked up by device, inode, size and modification times,
    or by address, name, size and version of an object.

    Returns:
      {path: hash as of `file_hash`}.

    Raises:
      DataError: a file cannot be read.
    """
    paths = [pathlib.Path(path) for path in files]
    keys: dict[pathlib.Path, tuple[Any, ...]] = {path: _key(path) for path in paths}
    objects = {path for path in paths if fetching.object_of(path)}  # the version of an object changes with its content
    with _open_cache() as cache:
        known = cache.find(keys.values())
        found = {path: known[key] for path, key in keys.items() if key in known}
        todo = [path for path in paths if path not in found]
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            new = dict(zip(todo, pool.map(file_hash, todo), strict=True))
        now = time.time()
        cache.keep({keys[path]: value for path, value in new.items() if path in objects or now - max(keys[path][3:]) / 1e9 > SETTLED})
    return found | new


def joined_fingerprint(fingerprints: Sequence[str]) -> str:
    """Returns one fingerprint of several datasets in this order; that of the first if it is alone."""
    first, *others = fingerprints
    return hashlib.sha256("/".join(fingerprints).encode()).hexdigest()[: len(first)] if others else first


def fingerprint(root: StrPath, files: Iterable[StrPath], options: str) -> str:
    """Identifies a dataset by the content of its files and by how they are processed.

    Args:
      root: folder of the dataset; file names are relative to it.
      files: the files that determine the result.
      options: everything else that the result depends on.

    Returns:
      16 hexadecimal digits of a SHA-256 hash.

    Raises:
      DataError: a file cannot be read.
    """
    root = pathlib.Path(root)
    names = sorted((path.relative_to(root).as_posix(), path) for path in map(pathlib.Path, set(files)))
    hashes = file_hashes(path for _, path in names)
    digest = hashlib.sha256(options.encode())
    for name, path in names:
        digest.update(f"\n{name}\n{hashes[path]}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _key(path):
    if found := fetching.object_of(path):
        address, name, known = found
        return address, name, known.size, known.version, known.md5
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(tile="-", path=path, expected="a file that can be read", found=system_reason(error)) from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class _Cache:
    """Hashes in a SQLite file, which processes may share. Without a connection nothing is cached."""

    def __init__(self, connection):
        self._connection = connection

    def find(self, keys: Iterable[tuple[Any, ...]]) -> dict[tuple[Any, ...], str]:
        if self._connection is None:
            return {}
        found = {}
        for key in keys:
            row = self._connection.execute("SELECT hash FROM hashes WHERE dev=? AND ino=? AND size=? AND mtime=? AND ctime=?", _text(key)).fetchone()
            if row:
                found[key] = row[0]
        return found

    def keep(self, hashes: Mapping[tuple[Any, ...], str]) -> None:
        if self._connection is not None and hashes:
            with contextlib.suppress(sqlite3.Error), self._connection:
                rows = [(*_text(key), value) for key, value in hashes.items()]
                self._connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?,?,?,?,?,?)", rows)


def _text(key):
    return tuple(map(str, key))  # device and inode numbers may exceed SQLite's integers


@contextlib.contextmanager
def _open_cache():
    connection = None
    try:
        path = cache_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=30)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS hashes (dev TEXT, ino TEXT, size TEXT, mtime TEXT, ctime TEXT, hash TEXT, PRIMARY KEY (dev, ino))"
        )
    except (OSError, sqlite3.Error):  # such as a read-only home directory or a damaged file: every file is hashed
        connection = None
    try:
        yield _Cache(connection)
    finally:
        if connection is not None:
            connection.close()
