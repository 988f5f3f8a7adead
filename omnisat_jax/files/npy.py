"""Reading of .npy files. The header is compared with what is expected before any number is read."""

import math
import os
import pathlib
import tokenize
import warnings
from typing import IO

import numpy as np

from omnisat_jax.errors import DataError, system_reason
from omnisat_jax.files.formats import unreadable
from omnisat_jax.files.paths import need_file
from omnisat_jax.types import StrPath

LONGEST = 10_000  # entries along a dimension of unspecified length
LARGEST = 2**33  # bytes of one array
HEADER = 10_000  # bytes of a header
# What NumPy raises for a malformed header.
MALFORMED = (ValueError, EOFError, SyntaxError, tokenize.TokenError, TypeError, RecursionError, OverflowError, MemoryError)


def read_npy(
    path: StrPath, *, tile: str, what: str, shape: tuple[int | None, ...], kinds: str, root: StrPath | None = None
) -> np.ndarray:
    """Reads a whole array. Pickled objects are refused.

    Args:
      path: .npy file of version 1 or 2, in any byte order and memory order.
      tile: ID of the tile, for messages.
      what: what the file is, for messages.
      shape: the expected shape; None stands for any length up to LONGEST.
      kinds: accepted NumPy dtype kinds, such as "iu" or "f".
      root: see `need_file`.

    Returns:
      The array with its stored dtype, in native byte order.

    Raises:
      DataError: the file is missing or unreadable, has another shape or dtype, or another number of bytes than declared.
    """
    path = need_file(path, what=what, tile=tile, root=root)
    wanted = ", ".join("N" if size is None else str(size) for size in shape)
    wanted = f"{what} of shape ({wanted}{',' if len(shape) == 1 else ''})"
    try:
        with open(path, "rb") as source:
            found, fortran, dtype = read_header(source)
            if dtype.hasobject:
                raise ValueError(f"{dtype} values")
            start, size = source.tell(), os.fstat(source.fileno()).st_size
            fits = len(found) == len(shape) and all(
                f == s or (s is None and 0 <= f <= LONGEST) for f, s in zip(found, shape, strict=False)
            )
            if not fits:
                raise DataError(tile=tile, path=path, expected=wanted, found=f"shape {found}")
            if dtype.kind not in kinds or dtype.subdtype is not None:
                raise DataError(tile=tile, path=path, expected=f"{wanted}, {kinds_in_words(kinds)}", found=f"{dtype}")
            count = math.prod(found)
            if count * dtype.itemsize > LARGEST:
                raise DataError(tile=tile, path=path, expected=f"{wanted}, at most {LARGEST:,} bytes", found=f"shape {found} of {dtype}")
            if size - start != count * dtype.itemsize:
                raise DataError(
                    tile=tile, path=path, expected=f"{wanted}: {start + count * dtype.itemsize:,} bytes", found=f"{size:,} bytes",
                    advice="It is truncated or damaged: restore it from the archive.",
                )  # fmt: skip
            flat = np.fromfile(source, dtype, count)
    except MALFORMED as error:
        if isinstance(error, DataError):
            raise
        raise _unreadable(path, tile, f"{wanted} (a complete .npy array)", error) from error
    except OSError as error:
        raise DataError(tile=tile, path=path, expected=wanted, found=system_reason(error)) from error
    if len(flat) != count:
        raise DataError(tile=tile, path=path, expected=f"{wanted}: {count:,} numbers", found=f"{len(flat):,}")
    return flat.astype(dtype.newbyteorder("="), copy=False).reshape(found, order="F" if fortran else "C")


def _unreadable(path: pathlib.Path, tile: str, expected: str, error: BaseException) -> DataError:
    found, advice = unreadable(path, error, "it is a NumPy array (.npy)", "It is truncated, empty or holds Python objects: restore it from the archive.")
    return DataError(tile=tile, path=path, expected=expected, found=found, advice=advice)


def npy_shape(path: StrPath, *, tile: str, what: str, rank: int, root: StrPath | None = None) -> tuple[int, ...]:
    """Reads the declared shape of an array, and nothing else.

    Args:
      path, tile, what, root: see `read_npy`.
      rank: the expected number of dimensions.

    Raises:
      DataError: the file is missing, not a .npy file, or of another rank.
    """
    path = need_file(path, what=what, tile=tile, root=root)
    try:
        with open(path, "rb") as source:
            found, _, _ = read_header(source)
    except (*MALFORMED, OSError) as error:
        raise _unreadable(path, tile, f"{what} (a complete .npy array)", error) from error
    if len(found) != rank:
        raise DataError(tile=tile, path=path, expected=f"{what} ({rank} dimensions)", found=f"shape {found}")
    return found


def kinds_in_words(kinds: str) -> str:
    """Describes NumPy dtype kinds in words."""
    words = {"i": "integers", "u": "unsigned integers", "f": "floating point numbers", "b": "booleans"}
    return " or ".join(words[kind] for kind in kinds)


def read_header(source: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of an open .npy file as `numpy.load` does.

    Returns:
      The shape, whether the array is in Fortran order, and the dtype.

    Raises:
      One of MALFORMED: the header is invalid.
    """
    version = np.lib.format.read_magic(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if version == (1, 0):
            found = np.lib.format.read_array_header_1_0(source, max_header_size=HEADER)
        elif version == (2, 0):
            found = np.lib.format.read_array_header_2_0(source, max_header_size=HEADER)
        else:  # version 3.0 is used only for field names beyond Latin-1
            raise ValueError(f"format {'.'.join(map(str, version))}, which plain arrays do not use")
    if any(size < 0 for size in found[0]):
        raise ValueError(f"a negative length in shape {found[0]}")
    return found
