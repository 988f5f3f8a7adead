"""Text files, and those with one entry per line, such as lists of tiles."""

import os

from omnisat_jax.errors import DataError, reason, system_reason
from omnisat_jax.files.paths import need_file
from omnisat_jax.types import StrPath

LARGEST = 2**27  # bytes of a file


def read_text(
    path: StrPath,
    *,
    what: str,
    tile: str = "-",
    root: StrPath | None = None,
    advice: str = "Restore it from the archive.",
    largest: int = LARGEST,
) -> str:
    """Reads a file.

    Args:
      path: file in UTF-8, with or without a byte order mark.
      what: what the file is, for messages.
      tile: ID of the tile, for messages.
      root: see `need_file`.
      advice: what to do about a bad file, for messages.
      largest: bytes it may have.

    Raises:
      DataError: the file is missing, too large, or not UTF-8.
    """
    path = need_file(path, what=what, tile=tile, root=root, advice=advice)
    try:
        if (size := os.path.getsize(path)) > largest:
            raise DataError(tile=tile, path=path, expected=f"{what}, at most {largest:,} bytes", found=f"{size:,} bytes", advice=advice)
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(tile=tile, path=path, expected=f"{what}: text in UTF-8", found=reason(error), advice=advice) from error
    except OSError as error:
        raise DataError(tile=tile, path=path, expected=what, found=system_reason(error), advice=advice) from error


def read_lines(
    path: StrPath, *, what: str, tile: str = "-", root: StrPath | None = None, advice: str = "Restore it from the archive."
) -> list[str]:
    """Reads the lines of a file, stripped of whitespace, without empty ones; see `read_text`."""
    text = read_text(path, what=what, tile=tile, root=root, advice=advice, largest=LARGEST)
    return [line.strip() for line in text.splitlines() if line.strip()]
