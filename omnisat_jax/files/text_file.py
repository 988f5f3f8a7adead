"""Text from outside, line by line: lists of names that come beside data."""

import os

from omnisat_jax.errors import DataError, reason, system_reason
from omnisat_jax.files.paths import need_file

LARGEST = 2**27  # bytes of a list


def read_lines(path, *, what: str, tile: str = "-", root=None, advice: str = "Restore it from the archive.") -> list[str]:
    """Lines that are not empty, without blanks and line ends of any system around them.

    Args:
      path: file in UTF-8, with or without a byte order mark.
      what: it is, for messages.
      root: see `need_file`.

    Raises:
      DataError: missing, too large, or no UTF-8.
    """
    path = need_file(path, what=what, tile=tile, root=root, advice=advice)
    try:
        if (size := os.path.getsize(path)) > LARGEST:
            raise DataError(tile=tile, path=path, expected=f"{what}, at most {LARGEST:,} bytes", found=f"{size:,} bytes", advice=advice)
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(tile=tile, path=path, expected=f"{what}: text in UTF-8", found=reason(error), advice=advice) from error
    except OSError as error:
        raise DataError(tile=tile, path=path, expected=what, found=system_reason(error), advice=advice) from error
    return [line.strip() for line in text.splitlines() if line.strip()]
