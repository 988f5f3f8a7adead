"""HDF5 from outside: only arrays that lie in the file itself, of the expected shape."""

import contextlib
import math

import h5py
import numpy as np

from omnisat_jax.errors import DataError, reason
from omnisat_jax.files.npy import LARGEST, LONGEST, kinds_in_words
from omnisat_jax.files.paths import need_file

LOWEST_FILL = -9_999  # numbers at or below it are taken for unknown by readers


class HDF5File:
    """An open file; see `open_hdf5`."""

    def __init__(self, source, path, tile):
        self._source, self.path, self.tile = source, path, tile

    def _error(self, name, expected, found, advice=""):
        return DataError(tile=self.tile, path=f"{self.path}:{name}", expected=expected, found=found, advice=advice)

    def _dataset(self, name):
        link = self._source.get(name, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise self._error(name, "an array in this file", "a link to another place")
        found = self._source.get(name)
        if not isinstance(found, h5py.Dataset):
            raise self._error(name, "an array", "a group" if isinstance(found, h5py.Group) else "a type")
        if found.external or found.is_virtual:
            raise self._error(name, "an array whose numbers are in this file", "one that is kept in other files")
        if found.shape is None:
            raise self._error(name, "an array", "an empty dataset without a shape")
        return found

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The declared shape of an array, or None where there is none of that name."""
        found = self._dataset(name)
        return None if found is None else found.shape

    def array(self, name: str, *, shape: tuple[int | None, ...], kinds: str) -> np.ndarray | None:
        """An array, or None where there is none of that name.

        Args:
          name: of the dataset, at the file's root.
          shape: expected; None where any length up to LONGEST will do.
          kinds: accepted NumPy kinds of dtype.

        Raises:
          DataError: another shape or dtype, numbers that lie elsewhere, or an unreadable one.
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
        """Refuses an array whose attributes give its numbers another meaning, where nothing applies them."""
        plain = {"scale_factor": 1.0, "add_offset": 0.0}
        said = {key: _number(found.attrs.get(key, default)) for key, default in plain.items()}
        if said != plain:
            raise self._error(
                name, "values as they are, without scale_factor and add_offset", ", ".join(f"{key} {number:g}" for key, number in said.items()),
                "Apply them first.",
            )  # fmt: skip
        for key in ("_FillValue", "missing_value"):
            fill = _number(found.attrs.get(key, math.nan))
            # Zero and what is below all reflectance are unknown whether declared or not, see `data.reading.sentinel`.
            if fill > LOWEST_FILL and fill != 0 and (values == fill).any():
                raise self._error(name, "no unknown number but 0, -9999 or NaN", f"{int((values == fill).sum()):,} of the {key} {fill:g}", "Store them so.")

    def texts(self, name: str, count: int) -> list[str] | None:
        """A list of texts, or None where there is none of that name.

        Raises:
          DataError: another number, no texts, or no UTF-8.
        """
        found = self._dataset(name)
        if found is None:
            return None
        if found.shape != (count,):
            raise self._error(name, f"{count} texts", f"shape {found.shape}")
        if h5py.check_string_dtype(found.dtype) is None and found.dtype.kind not in "SO":
            raise self._error(name, "texts", f"{found.dtype}")
        try:
            return [entry.decode("utf-8") if isinstance(entry, bytes) else _text(entry) for entry in found[...].tolist()]
        except (UnicodeDecodeError, TypeError) as error:
            raise self._error(name, "texts in UTF-8", reason(error)) from error


def _number(value):
    """An attribute as a number; NaN where it is none."""
    value = np.asarray(value)
    return float(value.reshape(-1)[0]) if value.size and value.dtype.kind in "iuf" else math.nan


def _text(entry):
    if not isinstance(entry, str):
        raise TypeError(f"{type(entry).__name__} in place of a text")
    return entry


@contextlib.contextmanager
def open_hdf5(path, *, tile: str, what: str = "an HDF5 file", root=None):
    """Yields an `HDF5File`.

    Raises:
      DataError: missing or unreadable; or what the body reads is.
    """
    path = need_file(path, what=what, tile=tile, root=root)
    try:
        with h5py.File(path, "r") as source:
            yield HDF5File(source, path, tile)
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError, OverflowError, ValueError, UnicodeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            tile=tile, path=path, expected=f"{what} that can be read", found=f"{path.stat().st_size} bytes ({reason(error)})",
            advice="It is truncated or damaged: restore it from the archive.",
        ) from error  # fmt: skip
