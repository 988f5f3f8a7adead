"""Files of safetensors from outside: what their header says is checked against the file before anything is read.

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

LARGEST_HEADER = 2**22  # bytes; that of a model of a hundred million parameters has 100 kB
MOST_AXES = 8
FLOATING = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}
WHOLE = {f"{sign}{8 * size}": f"{kind}{size}" for sign, kind in (("I", "i"), ("U", "u")) for size in (1, 2, 4, 8)} | {"BOOL": "?"}
READABLE = FLOATING | WHOLE


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array of a file: its dtype as the format names it, its shape, and where it begins and ends behind the header, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclasses.dataclass(frozen=True)
class SafetensorsFile:
    """A file whose header fits it; its arrays are not read yet.

    Attributes:
      path: of the file.
      entries: {name: Entry}, together as long as the file.
      header: the bytes before the first array.
      size: bytes of the file.
    """

    path: pathlib.Path
    entries: dict[str, Entry]
    header: bytes
    size: int

    def read(self) -> tuple[dict[str, np.ndarray], str]:
        """Every array, and the XXH3 (128 bits, hexadecimal) of the file.

        Raises:
          DataError: the file has changed since its header was read.
        """
        content = _bytes(self.path, self.size + 1)
        if len(content) != self.size or not content.startswith(self.header):
            raise _unlike(self.path, "the file as it was a moment ago", "another: something is writing to it")
        data = memoryview(content)[len(self.header) :]
        arrays = {
            name: np.frombuffer(data[entry.begin : entry.end], READABLE[entry.dtype]).reshape(entry.shape)
            for name, entry in self.entries.items()
        }
        return arrays, xxhash.xxh3_128_hexdigest(content)


def open_safetensors(path, *, what: str, advice: str = "Restore the file.") -> SafetensorsFile:
    """Reads the header of a file and checks it.

    Args:
      what: the file is, for messages.

    Raises:
      DataError: no regular file, one that is truncated, or a header that is no header, that does not describe this file, or that names
        numbers which NumPy has not (float8 and smaller).
    """
    path = need_file(path, what=what, advice=advice)
    start = _bytes(path, 8)
    size, length = os.path.getsize(path), int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise _unlike(path, f"{what} (safetensors), its header within the file", f"{size:,} bytes, truncated or of another kind")
    if length > LARGEST_HEADER:
        raise _unlike(path, f"{what} with a header of at most {LARGEST_HEADER:,} bytes", f"{length:,}")
    header = _bytes(path, 8 + length)
    value = parse_json(header[8:], path, what=f"{what}: the header of a safetensors file")
    found = value.items()
    about = found.pop("__metadata__", None)
    if about is not None and not all(isinstance(entry.value, str) for entry in about.items().values()):
        raise about.error("an object of texts")
    entries = {name: _entry(entry) for name, entry in found.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise _unlike(path, f"{name}: an array that begins where the one before it ends, at {end:,}", f"{entry.begin:,}")
        end = entry.end
    if 8 + length + end != size:
        raise _unlike(path, f"{8 + length + end:,} bytes, as its header says", f"{size:,}")
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
        raise _unlike(path, "a file that can be read", system_reason(error)) from error


def _unlike(path, expected, found):
    return DataError(tile="-", path=path, expected=expected, found=found)
