"""Whether a TIFF has been cut off, or leaves out pixels, from its directories alone.

GDAL leaves out tags whose values lie beyond the end of a file, such as nodata or the names of bands, and notices missing pixels only when it reads them.
"""

import dataclasses
import pathlib
import struct
from typing import BinaryIO

import numpy as np

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes of a value, by type
_OFFSETS, _COUNTS = (273, 324), (279, 325)  # tags: where strips and tiles begin, and their bytes
_INTEGERS = {3: "u2", 4: "u4", 16: "u8"}
_MOST = 1_000  # directories, or entries of one
_LARGEST = 2**28  # bytes of a list of offsets


@dataclasses.dataclass(frozen=True)
class Structure:
    """What the directories of a TIFF declare.

    Attributes:
      size: bytes that the file must have to hold it: tags, strips and tiles.
      blocks: number of strips or tiles of the image itself, without masks and overviews.
      missing: how many of these the file does not store, as GDAL does with SPARSE_OK; they are read as 0 or nodata.
    """

    size: int = 0
    blocks: int = 0
    missing: int = 0


def read_structure(path: pathlib.Path) -> Structure:
    """Reads the directories of a file.

    Args:
      path: a regular file.

    Returns:
      What they declare; a structure of 0 bytes if the file is no TIFF.
    """
    with open(path, "rb") as source:
        start = source.read(4)
        order = {b"II*\0": "<", b"II+\0": "<", b"MM\0*": ">", b"MM\0+": ">"}.get(start)
        if order is None:
            return Structure()
        try:
            return _read(source, order, large=b"+" in start)
        except (struct.error, ValueError, OverflowError, OSError):
            return Structure(source.tell() + 1)  # a directory itself is cut off


def _read(source: BinaryIO, order: str, large: bool) -> Structure:
    number, inline = ("Q", 8) if large else ("I", 4)  # type of offsets, and bytes that an entry has for its values
    source.seek(8 if large else 4)
    needed, seen, blocks, missing = 0, set(), 0, 0
    offset = _one(source, order + number)
    while offset and offset not in seen and len(seen) < _MOST:
        seen.add(offset)
        source.seek(offset)
        lists: dict[int, np.ndarray] = {}
        entries = _one(source, order + ("Q" if large else "H"))
        for entry in range(min(entries, _MOST)):
            source.seek(offset + (8 + 20 * entry if large else 2 + 12 * entry))
            tag, kind = _one(source, order + "H"), _one(source, order + "H")
            count = _one(source, order + number)
            size = count * _SIZES.get(kind, 0)
            place = source.tell() if size <= inline else _one(source, order + number)
            needed = max(needed, place + size)
            if tag in (*_OFFSETS, *_COUNTS) and kind in _INTEGERS and size <= _LARGEST:
                source.seek(place)
                lists[tag] = np.frombuffer(source.read(size), f"{order}{_INTEGERS[kind]}").astype(np.uint64)
        for starts, counts in zip(_OFFSETS, _COUNTS):
            if starts in lists and counts in lists and len(lists[starts]) == len(lists[counts]) > 0:
                needed = max(needed, int((lists[starts] + lists[counts]).max()))
                if len(seen) == 1:
                    blocks, missing = len(lists[counts]), int((lists[counts] == 0).sum())
        source.seek(offset + (8 + 20 * entries if large else 2 + 12 * entries))
        offset = _one(source, order + number)
    return Structure(needed, blocks, missing)


def _one(source: BinaryIO, form: str) -> int:
    return struct.unpack(form, source.read(struct.calcsize(form)))[0]
