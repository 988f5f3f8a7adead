"""Reading of HDF5 files: only arrays stored in the file itself, of the expected shape."""

import contextlib
import math
from collections.abc import Iterator

import h5py
import numpy as np

from omnisat_jax.errors import DataError, reason
from omnisat_jax.files.formats import unreadable
from omnisat_jax.files.npy import LARGEST, LONGEST, kinds_in_words
from omnisat_jax.files.paths import need_file
from omnisat_jax.types import StrPath

LOWEST_FILL = -9_999  # readers treat this and smaller numbers as unknown


class HDF5File:
    """An open file; see `open_hdf5`."""

    def __init__(self, source: h5py.File, path: StrPath, tile: str):
        """Wraps an open file; path and tile are for messages."""
        self._source, self.path, self.tile = source, path, tile

    def _error(self, name, expected, found, advice=""):
        return DataError(tile=self.tile, path=f"{self.path}:{name}", expected=expected, found=found, advice=advice)

    def _dataset(self, name):
        link = self._source.get(name, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise self._error(name, "an array in this file", "a link to another location")
        found = self._source.get(name)
        if not isinstance(found, h5py.Dataset):
            raise self._error(name, "an array", "a group" if isinstance(found, h5py.Group) else "a named datatype")
        if found.external or found.is_virtual:
            raise self._error(name, "an array stored in this file", "one stored in other files")
        if found.shape is None:
            raise self._error(name, "an array", "an empty dataset without a shape")
        return found

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Returns the declared shape of an array, or None if there is no array of that name."""
        found = self._dataset(name)
        return None if found is None else found.shape

    def array(self, name: str, *, shape: tuple[int | None, ...], kinds: str) -> np.ndarray | None:
        """Reads an array.

        Args:
          name: path of the array in the file.
          shape: the expected shape; None stands for any length up to LONGEST.
          kinds: accepted NumPy dtype kinds.

        Returns:
          The array in native byte order, or None if there is no array of that name.

        Raises:
          DataError: another shape or dtype, or values that are stored in other files, scaled, or marked as unknown by a fill value.
        """
        found = self._dataset(name)
        if found is None:
            return None
        wanted = f"shape ({', '.join('N' if size is None else str(size) for size in shape)})"
        fits = len(found.shape) == len(shape) and all(f == s or (s is None and f <= LONGEST) for f, s in zip(found.shape, shape, strict=False))
        if not fits:
            raise self._error(name, wanted, f"shape {found.shape}")
        if found.dtype.kind not in kinds:
            raise self._error(name, kinds_in_words(kinds), f"{found.dtype}")
        if math.prod(found.shape) * found.dtype.itemsize > LARGEST:
            raise self._error(name, f"at most {LARGEST:,} bytes", f"shape {found.shape} of {found.dtype}")
        values = found[...]
        self._need_plain(name, found, values)
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def _need_plain(self, name, found, values):
        """Refuses an array whose attributes change the meaning of its numbers, as they are not applied."""
        plain = {"scale_factor": 1.0, "add_offset": 0.0}
        declared = {key: _number(found.attrs.get(key, default)) for key, default in plain.items()}
        if declared != plain:
            raise self._error(
                name, "plain values, without scale_factor and add_offset", ", ".join(f"{key} {number:g}" for key, number in declared.items()),
                "Apply them first.",
            )  # fmt: skip
        for key in ("_FillValue", "missing_value"):
            fill = _number(found.attrs.get(key, math.nan))
            # Zero and values far below any reflectance count as unknown whether declared or not; see `data.reading.sentinel`.
            if fill > LOWEST_FILL and fill != 0 and (values == fill).any():
                count = int((values == fill).sum())
                raise self._error(name, "0, -9999 or NaN for unknown values", f"{count:,} of the {key} {fill:g}", "Replace them.")

    def texts(self, name: str, count: int) -> list[str] | None:
        """Reads a list of strings.

        Args:
          name: path of the array in the file.
          count: the expected number of strings.

        Returns:
          The strings, or None if there is no array of that name.

        Raises:
          DataError: another number of entries, not strings, or not UTF-8.
        """
        found = self._dataset(name)
        if found is None:
            return None
        if found.shape != (count,):
            raise self._error(name, f"{count} strings", f"shape {found.shape}")
        if h5py.check_string_dtype(found.dtype) is None and found.dtype.kind not in "SO":
            raise self._error(name, "strings", f"{found.dtype}")
        try:
            return [entry.decode("utf-8") if isinstance(entry, bytes) else _text(entry) for entry in found[...].tolist()]
        except (UnicodeDecodeError, TypeError) as error:
            raise self._error(name, "strings in UTF-8", reason(error)) from error


def _number(value):
    """An attribute as a number, or NaN if it is not a number."""
    value = np.asarray(value)
    return float(value.reshape(-1)[0]) if value.size and value.dtype.kind in "iuf" else math.nan


def _text(entry):
    if not isinstance(entry, str):
        raise TypeError(f"{type(entry).__name__} instead of a string")
    return entry


@contextlib.contextmanager
def open_hdf5(path: StrPath, *, tile: str, what: str = "an HDF5 file", root: StrPath | None = None) -> Iterator[HDF5File]:
    """Opens a file while the body runs.

    Args:
      path: the file.
      tile: ID of the tile, for messages.
      what: what the file is, for messages.
      root: see `need_file`.

    Raises:
      DataError: the file, or what the body reads from it, is missing or unreadable.
    """
    path = need_file(path, what=what, tile=tile, root=root)
    try:
        with h5py.File(path, "r") as source:
            yield HDF5File(source, path, tile)
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError, OverflowError, ValueError, UnicodeError) as error:
        if isinstance(error, DataError):
            raise
        found, advice = unreadable(path, error, "it is an HDF5 or netCDF file", "It is truncated or damaged: restore it from the archive.")
        raise DataError(tile=tile, path=path, expected=f"{what} that can be read", found=found, advice=advice) from error
