"""The images of a tile, read when they are asked for and straight to where they belong: a NumPy file (N,H,W,C) a modality and part.

Dates that are not drawn cost nothing. ArrayRecord files of the same frames take several times as long to read, one record a tile
still longer (benchmarks/loader.py says how much). Beside each file lie the checksums of its frames: a flipped bit is a number like any
other, which nothing else would notice.
"""

import array
import contextlib
import math
import os
import pathlib

import numpy as np
import xxhash

from omnisat_jax.errors import DataError, UserError, reason, system_sentence
from omnisat_jax.files.npy import MALFORMED, read_header, read_npy
from omnisat_jax.files.paths import below, need_file


def frames_path(root, part: str, modality: str) -> pathlib.Path:
    """Where the frames of a modality of a part are."""
    return below(root, "frames", part, f"{modality}.npy")


def checksums_path(path) -> pathlib.Path:
    """Where the XXH3 hash of each frame of a file is: uint64 (N,)."""
    return pathlib.Path(path).with_suffix(".xxh3.npy")


class FrameError(DataError):
    """A file of frames is not what was written. Attributes: see `DataError`."""

    def __init__(self, path, expected: str, found: str):
        advice = "Delete the folder of records and prepare them again: the run then goes on."
        super().__init__(tile="-", path=path, expected=expected, found=found, advice=advice, kind="changed")


def count_frames(path) -> int | None:
    """How many frames the header of a file declares; None where it has none."""
    try:
        with open(path, "rb") as source:
            return read_header(source)[0][0]
    except (*MALFORMED, IndexError):
        return None


class FrameWriter:
    """Writes a .npy file frame by frame, and the checksums; complete once closed, and of no use unless it was."""

    def __init__(self, path, shape: tuple[int, ...], dtype: str):
        """shape: (H,W,C) of a frame.

        Raises:
          UserError: the file cannot be written, as is said by `write` and `close` as well.
        """
        self._path, self._shape, self._dtype, self.written = pathlib.Path(path), tuple(shape), np.dtype(dtype), 0
        self._checksums = array.array("Q")
        with self._told():
            self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
            self._header()
            self._start = self._file.tell()

    @contextlib.contextmanager
    def _told(self):
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({system_sentence(error)})") from error

    def _header(self):
        # NumPy pads the header so that it keeps its length while the first dimension grows.
        about = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.written, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, about)

    def write(self, frame) -> None:
        """Appends a frame (H,W,C)."""
        frame = np.ascontiguousarray(frame, self._dtype).reshape(self._shape)
        with self._told():
            self._file.write(frame.data)
        self._checksums.append(xxhash.xxh3_64_intdigest(frame))
        self.written += 1

    def close(self) -> None:
        """Says in the header how many there are; the files are on the disk when this returns."""
        with self._told():
            self._file.seek(0)
            self._header()
            if self._file.tell() != self._start:
                raise RuntimeError(f"{self._file.name}: the header grew over the first frame")
            _to_disk(self._file)
            self._file.close()
            with open(checksums_path(self._path), "wb") as target:
                np.save(target, np.asarray(self._checksums, np.uint64))
                _to_disk(target)

    def abandon(self) -> None:
        """Lets go of the file, which is of no use."""
        with contextlib.suppress(OSError):
            self._file.close()


def _to_disk(file):
    file.flush()
    os.fsync(file.fileno())


class FrameStore:
    """Every frame of one modality of one part. Threads may share it."""

    def __init__(self, path, shape: tuple[int, ...], dtype: str):
        """Opens a file of frames (H,W,C).

        Raises:
          FrameError: a file that is damaged or of another form.
        """
        self.path, self.shape, self.dtype = pathlib.Path(path), tuple(shape), np.dtype(dtype)
        need_file(path, what=self._expected(), advice="Delete the folder of records and prepare them again.")
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - open as long as the dataset
        try:
            found, fortran, kind = read_header(self._file)
        except MALFORMED as error:
            raise self._damaged(f"no NumPy header ({reason(error)})") from error
        if found[1:] != self.shape or kind != self.dtype or fortran:
            raise self._damaged(f"{kind} {found}")
        self.count = found[0]
        self._start, self._size = self._file.tell(), math.prod(self.shape) * self.dtype.itemsize
        size, expected = os.fstat(self._file.fileno()).st_size, self._start + self.count * self._size
        if size != expected:
            raise self._damaged(f"{size} of {expected} bytes")
        self._checksums = self._read_checksums()

    def _expected(self):
        return f"frames of {self.dtype} {self.shape} as they were written"

    def _damaged(self, found):
        return FrameError(self.path, self._expected(), found)

    def _read_checksums(self):
        path = checksums_path(self.path)
        try:
            found = read_npy(path, tile="-", what="checksums of frames", shape=(self.count,), kinds="u")
        except DataError as error:
            raise self._damaged(f"no checksums of them in {path.name} ({error.found})") from error
        if found.dtype != np.uint64:
            raise self._damaged(f"no checksums of them in {path.name} ({found.dtype})")
        return found

    def read_into(self, position: int, out: np.ndarray) -> None:
        """Fills out (H,W,C), contiguous and of the stored dtype, with the frame at `position`.

        Raises:
          FrameError: the frame is not what was written.
        """
        view, at = memoryview(out).cast("B"), self._start + position * self._size
        while len(view):
            count = os.preadv(self._file.fileno(), [view], at)
            if not count:
                raise self._damaged(f"its end at frame {position}")
            view, at = view[count:], at + count
        if xxhash.xxh3_64_intdigest(out) != self._checksums[position]:
            raise self._damaged(f"other bytes in frame {position} (its checksum differs)")


class Frames:
    """The frames of one tile: an array (T,H,W,C) of which only what is indexed along T is read."""

    def __init__(self, store: FrameStore, first: int, count: int):
        """first: position of the tile's first frame in the store; count: T."""
        self._store, self._first, self._count = store, int(first), int(count)

    @property
    def shape(self):
        return (self._count, *self._store.shape)

    @property
    def dtype(self):
        return self._store.dtype

    def __len__(self):
        return self._count

    def read_into(self, position: int, out: np.ndarray) -> None:
        """Fills out (H,W,C) with frame `position`, see `FrameStore.read_into`."""
        self._store.read_into(self._first + int(position), out)

    def check(self) -> None:
        """Reads all of them, one at a time.

        Raises:
          FrameError: the first that is not what was written.
        """
        scratch = np.empty(self._store.shape, self.dtype)
        for position in range(self._count):
            self.read_into(position, scratch)

    def __getitem__(self, index):
        """Frames of a slice, integers or a mask along T; one frame (H,W,C) of an integer."""
        positions = np.arange(self._count)[index]
        out = np.empty((np.size(positions), *self._store.shape), self.dtype)
        for frame, position in zip(out, np.atleast_1d(positions)):
            self.read_into(position, frame)
        return out if np.ndim(positions) else out[0]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)
