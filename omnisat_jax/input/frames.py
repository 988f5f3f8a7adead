"""The images of a tile, read when they are asked for and straight to where they belong: a NumPy file (N,H,W,C) a modality and part.

Dates that are not drawn cost nothing. ArrayRecord files of the same frames take several times as long to read, one record a tile
still longer (benchmarks/loader.py says how much). Beside each file lie the checksums of its frames: a flipped bit is a number like any
other, which nothing else would notice.
"""

import array
import os
import pathlib

import numpy as np
import xxhash

from omnisat_jax.errors import UserError


def frames_path(root, part: str, modality: str) -> pathlib.Path:
    """Where the frames of a modality of a part are."""
    return pathlib.Path(root) / "frames" / part / f"{modality}.npy"


def checksums_path(path) -> pathlib.Path:
    """Where the XXH3 hash of each frame of a file is: uint64 (N,)."""
    return pathlib.Path(path).with_suffix(".xxh3.npy")


class FrameError(UserError):
    """A file of frames is not what was written. Attributes: path, expected, found."""

    def __init__(self, path, expected: str, found: str):
        self.path, self.expected, self.found = path, expected, found
        super().__init__(
            f"{path}: expected {expected}, found {found}. Delete the folder of records and prepare them again: the run then goes on."
        )


class FrameWriter:
    """Writes a .npy file frame by frame, and the checksums; complete once closed."""

    def __init__(self, path, shape: tuple[int, ...], dtype: str):
        """shape: (H,W,C) of a frame."""
        self._shape, self._dtype, self.written = tuple(shape), np.dtype(dtype), 0
        self._checksums = array.array("Q")
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._header()
        self._start = self._file.tell()

    def _header(self):
        # NumPy pads the header so that it keeps its length while the first dimension grows.
        about = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.written, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, about)

    def write(self, frame) -> None:
        """Appends a frame (H,W,C)."""
        frame = np.ascontiguousarray(frame, self._dtype).reshape(self._shape)
        self._file.write(frame.data)
        self._checksums.append(xxhash.xxh3_64_intdigest(frame))
        self.written += 1

    def close(self) -> None:
        """Says in the header how many there are."""
        self._file.seek(0)
        self._header()
        if self._file.tell() != self._start:
            raise RuntimeError(f"{self._file.name}: the header grew over the first frame")
        self._file.close()
        np.save(checksums_path(self._file.name), np.asarray(self._checksums, np.uint64))


class FrameStore:
    """Every frame of one modality of one part. Threads may share it."""

    def __init__(self, path, shape: tuple[int, ...], dtype: str):
        """Opens a file of frames (H,W,C).

        Raises:
          FrameError: a file that is damaged or of another form.
        """
        self.path, self.shape, self.dtype = pathlib.Path(path), tuple(shape), np.dtype(dtype)
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - open as long as the dataset
        try:
            np.lib.format.read_magic(self._file)
            found, fortran, kind = np.lib.format.read_array_header_1_0(self._file)
        except ValueError as error:
            raise self._damaged(f"no NumPy header ({error})") from error
        if found[1:] != self.shape or kind != self.dtype or fortran:
            raise self._damaged(f"{kind} {found}")
        self._start, self._size = self._file.tell(), int(np.prod(self.shape)) * self.dtype.itemsize
        size, expected = os.fstat(self._file.fileno()).st_size, self._start + found[0] * self._size
        if size != expected:
            raise self._damaged(f"{size} of {expected} bytes")
        self._checksums = self._read_checksums(found[0])

    def _damaged(self, found):
        return FrameError(self.path, f"frames of {self.dtype} {self.shape} as they were written", found)

    def _read_checksums(self, count):
        path = checksums_path(self.path)
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(f"no checksums of them in {path.name} ({error})") from error
        if found.shape != (count,) or found.dtype != np.uint64:
            raise self._damaged(f"checksums {found.dtype} {found.shape} of {count} frames in {path.name}")
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

    def __getitem__(self, index):
        """Frames of a slice, integers or a mask along T; one frame (H,W,C) of an integer."""
        positions = np.arange(self._count)[index]
        out = np.empty((np.size(positions), *self._store.shape), self.dtype)
        for frame, position in zip(out, np.atleast_1d(positions)):
            self.read_into(position, frame)
        return out if np.ndim(positions) else out[0]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)
