"""Safetensors files of unknown origin. The header is checked against the file before any array is read.

The format: 8 bytes with the length of the header, the header as JSON ({name: {"dtype", "shape", "data_offsets"}}), the arrays one after another.
"""

import dataclasses
import math
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import xxhash

from omnisat_jax.errors import DataError, system_reason
from omnisat_jax.files.json_file import Value, parse_json
from omnisat_jax.files.paths import need_file
from omnisat_jax.types import StrPath

LARGEST_HEADER = 2**22  # bytes; a model of a hundred million parameters has 100 kB
MOST_AXES = 8
FLOATING = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}
WHOLE = {f"{sign}{8 * size}": f"{kind}{size}" for sign, kind in (("I", "i"), ("U", "u")) for size in (1, 2, 4, 8)} | {"BOOL": "?"}
READABLE = FLOATING | WHOLE


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array of a file.

    Attributes:
      dtype: as the format names it, such as "F32".
      shape: of the array.
      begin, end: bytes after the header.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclasses.dataclass(frozen=True)
class SafetensorsFile:
    """A file with a valid header. Its arrays are read by `read`.

    Attributes:
      path: of the file.
      entries: {name: Entry}; together they fill the file.
      header: the bytes before the first array.
      size: of the file in bytes.
    """

    path: pathlib.Path
    entries: dict[str, Entry]
    header: bytes
    size: int

    def read(self) -> tuple[dict[str, np.ndarray], str]:
        """Returns every array, and the XXH3 checksum (128 bits, hexadecimal) of the file.

        Raises:
          DataError: the file has changed since its header was read.
        """
        content = _bytes(self.path, self.size + 1)
        if len(content) != self.size or not content.startswith(self.header):
            raise _error(self.path, "the file whose header was read before", "another: something is writing to it")
        data = memoryview(content)[len(self.header) :]
        arrays = {
            name: np.frombuffer(data[entry.begin : entry.end], READABLE[entry.dtype]).reshape(entry.shape)
            for name, entry in self.entries.items()
        }
        return arrays, xxhash.xxh3_128_hexdigest(content)


def open_safetensors(path: StrPath, *, what: str, advice: str = "Restore the file.") -> SafetensorsFile:
    """Reads the header of a file and checks it.

    Args:
      path: of the file.
      what: the file is, for messages.
      advice: what to do if it is missing, for messages.

    Raises:
      DataError: not a regular file, a truncated one, a malformed header, one that does not describe this file, or one with a dtype that
        NumPy does not have (float8 and smaller).
    """
    path = need_file(path, what=what, advice=advice)
    start = _bytes(path, 8)
    size, length = os.path.getsize(path), int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise _error(path, f"{what} (safetensors), its header within the file", f"{size:,} bytes, truncated or of another kind")
    if length > LARGEST_HEADER:
        raise _error(path, f"{what} with a header of at most {LARGEST_HEADER:,} bytes", f"{length:,}")
    header = _bytes(path, 8 + length)
    value = parse_json(header[8:], path, what=f"{what}: the header of a safetensors file")
    found = value.items()
    metadata = found.pop("__metadata__", None)
    if metadata is not None and not all(isinstance(entry.value, str) for entry in metadata.items().values()):
        raise metadata.error("an object of texts")
    entries = {name: _entry(entry) for name, entry in found.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise _error(path, f"{name}: an array that begins where the previous one ends, at {end:,}", f"{entry.begin:,}")
        end = entry.end
    if 8 + length + end != size:
        raise _error(path, f"{8 + length + end:,} bytes, as its header says", f"{size:,}")
    return SafetensorsFile(path, entries, header, size)


def _entry(value: Value) -> Entry:
    fields = value.items()
    if set(fields) != {"dtype", "shape", "data_offsets"}:
        raise value.error("dtype, shape and data_offsets", ", ".join(fields) or "nothing")
    dtype = fields["dtype"].choice(tuple(READABLE))
    if isinstance(fields["shape"].value, list) and len(fields["shape"].value) > MOST_AXES:
        raise fields["shape"].error(f"at most {MOST_AXES} axes")
    shape = tuple(axis.integer(0, 2**40) for axis in fields["shape"].list())
    begin, end = (offset.integer(0, 2**48) for offset in fields["data_offsets"].list(2))
    need = math.prod(shape) * np.dtype(READABLE[dtype]).itemsize
    if end - begin != need:
        raise fields["data_offsets"].error(f"{need:,} bytes, as {dtype} {shape} needs", f"{end - begin:,}")
    return Entry(dtype, shape, begin, end)


def _bytes(path, count):
    """At most `count` bytes from the beginning of a file."""
    try:
        with open(path, "rb") as source:
            return source.read(count)
    except OSError as error:
        raise _error(path, "a file that can be read", system_reason(error)) from error


def _error(path, expected, found):
    return DataError(tile="-", path=path, expected=expected, found=found)
