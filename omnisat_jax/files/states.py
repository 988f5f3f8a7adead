"""Whether files have changed, without reading them."""

import os
import pathlib

import xxhash

from omnisat_jax.types import StrPath


def file_state(path: StrPath) -> tuple[str, int, int | str]:
    """What changes when a file or any file in a folder changes.

    Args:
      path: a file or folder that exists.

    Returns:
      The path, its size in bytes, and the time of change in nanoseconds; of a folder, the number of its files and a hash of their names, sizes and
      times.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        status = path.stat()
        return str(path), status.st_size, status.st_mtime_ns
    # Chunks of a cube may be a million files, so nothing is kept of each.
    total, count = xxhash.xxh3_128(), 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            status = os.stat(os.path.join(folder, name))
            total.update(f"{os.path.relpath(folder, path)}/{name} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
            count += 1
    return str(path), count, total.hexdigest()
