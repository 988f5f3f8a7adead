"""Storage of frames: one NumPy file (N,H,W,C) per modality and part, from which single frames are read on demand.

Dates that are not drawn cost nothing, and frames are read straight into the batch. ArrayRecord files with one record per frame take several times
as long to read, and with one record per tile even longer (benchmarks/loader.py measures it). A second file holds the checksum of every frame, as a
flipped bit would go unnoticed otherwise.

Letters: N frames of a file, T frames of a tile, H W pixels, C bands.
"""

import array
import contextlib
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash

from omnisat_jax.errors import DataError, UserError, reason, system_sentence
from omnisat_jax.files.npy import MALFORMED, read_header, read_npy
from omnisat_jax.files.paths import below, need_file
from omnisat_jax.types import StrPath

AGAIN = "Delete the folder of records and prepare them again; the run then resumes."


def frames_path(root: StrPath, part: str, modality: str) -> pathlib.Path:
    """Returns the path of the frames of a modality of a part."""
    return below(root, "frames", part, f"{modality}.npy")


def checksums_path(path: StrPath) -> pathlib.Path:
    """Returns the path of the XXH3 hashes of the frames of a file, uint64 (N,)."""
    return pathlib.Path(path).with_suffix(".xxh3.npy")


class FrameError(DataError):
    """A file of frames was changed or damaged. Attributes: see `DataError`."""

    def __init__(self, path: StrPath, expected: str, found: str):
        super().__init__(tile="-", path=path, expected=expected, found=found, advice=AGAIN, kind="changed")


def count_frames(path: StrPath) -> int | None:
    """Returns the number of frames that the header of a file declares, or None if the header is invalid."""
    try:
        with open(path, "rb") as source:
            return read_header(source)[0][0]
    except (*MALFORMED, IndexError):
        return None


class FrameWriter:
    """Writes a .npy file frame by frame, and the file of checksums. Both are valid only after `close`."""

    def __init__(self, path: StrPath, shape: tuple[int, ...], dtype: str):
        """Opens the file.

        Args:
          path: the .npy file.
          shape: (H, W, C) of a frame.
          dtype: of the frames.

        Raises:
          UserError: the file cannot be written; `write` and `close` raise it as well.
        """
        self._path, self._shape, self._dtype, self.written = pathlib.Path(path), tuple(shape), np.dtype(dtype), 0
        self._checksums = array.array("Q")
        with self._reporting():
            self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
            self._header()
            self._start = self._file.tell()

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({system_sentence(error)})") from error

    def _header(self):
        # NumPy pads the header so that its length does not change while the first dimension grows.
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.written, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def write(self, frame: np.ndarray) -> None:
        """Appends a frame (H,W,C)."""
        frame = np.ascontiguousarray(frame, self._dtype).reshape(self._shape)
        with self._reporting():
            self._file.write(frame.data)
        self._checksums.append(xxhash.xxh3_64_intdigest(frame.data))
        self.written += 1

    def close(self) -> None:
        """Writes the number of frames into the header. The files are on the disk when this returns."""
        with self._reporting():
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
        """Closes the file without completing it."""
        with contextlib.suppress(OSError):
            self._file.close()


def _to_disk(file):
    file.flush()
    os.fsync(file.fileno())


class FrameStore:
    """All frames of one modality of one part. Threads may share it.

    Attributes:
      path: the .npy file.
      shape: (H, W, C) of a frame.
      dtype: of the frames.
      count: number of frames, N.
      checksums: (N,) uint64, XXH3 of each frame.
    """

    def __init__(self, path: StrPath, shape: tuple[int, ...], dtype: str):
        """Opens a file of frames.

        Args:
          path: the .npy file.
          shape: (H, W, C) of a frame.
          dtype: of the frames.

        Raises:
          FrameError: the file is damaged or has another form.
        """
        self.path, self.shape, self.dtype = pathlib.Path(path), tuple(shape), np.dtype(dtype)
        need_file(path, what=self._expected(), advice=AGAIN)
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - stays open as long as the dataset is used
        try:
            found, fortran, kind = read_header(self._file)
        except MALFORMED as error:
            raise self._damaged(f"no valid .npy header ({reason(error)})") from error
        if found[1:] != self.shape or kind != self.dtype or fortran:
            raise self._damaged(f"{kind} {found}")
        self.count = found[0]
        self._start, self._size = self._file.tell(), math.prod(self.shape) * self.dtype.itemsize
        size, expected = os.fstat(self._file.fileno()).st_size, self._start + self.count * self._size
        if size != expected:
            raise self._damaged(f"{size} of {expected} bytes")
        self.checksums = self._read_checksums()

    def _expected(self):
        return f"frames of {self.dtype} {self.shape}"

    def _damaged(self, found):
        return FrameError(self.path, self._expected(), found)

    def _read_checksums(self):
        path = checksums_path(self.path)
        try:
            found = read_npy(path, tile="-", what="checksums of frames", shape=(self.count,), kinds="u")
        except DataError as error:
            raise self._damaged(f"no valid checksums in {path.name} ({error.found})") from error
        if found.dtype != np.uint64:
            raise self._damaged(f"no valid checksums in {path.name} ({found.dtype})")
        return found

    def read_into(self, position: int, out: np.ndarray) -> None:
        """Reads one frame.

        Args:
          position: of the frame in the file.
          out: (H,W,C), contiguous and of the stored dtype; is filled.

        Raises:
          FrameError: the frame was changed or is incomplete.
        """
        view, at = out.data.cast("B"), self._start + position * self._size
        while len(view):
            count = os.preadv(self._file.fileno(), [view], at)
            if not count:
                raise self._damaged(f"the end of the file in frame {position}")
            view, at = view[count:], at + count
        if xxhash.xxh3_64_intdigest(out.data) != self.checksums[position]:
            raise self._damaged(f"changed bytes in frame {position} (its checksum differs)")


class Frames:
    """The frames of one tile: an array (T,H,W,C) that reads only the frames that are indexed.

    Attributes:
      first: position of the first frame of the tile in the file.
    """

    def __init__(self, store: FrameStore, first: int, count: int):
        """Selects frames.

        Args:
          store: the frames of all tiles.
          first: position of the first frame of the tile.
          count: number of frames, T.
        """
        self._store, self.first, self._count = store, int(first), int(count)

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W, C)."""
        return (self._count, *self._store.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of the stored frames."""
        return self._store.dtype

    def __len__(self) -> int:
        return self._count

    def read_into(self, position: int, out: np.ndarray) -> None:
        """Reads frame `position` of the tile into out (H,W,C); see `FrameStore.read_into`."""
        self._store.read_into(self.first + int(position), out)

    def check(self) -> None:
        """Reads all frames, one at a time.

        Raises:
          FrameError: a frame was changed or is incomplete.
        """
        scratch = np.empty(self._store.shape, self.dtype)
        for position in range(self._count):
            self.read_into(position, scratch)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Reads frames.

        Args:
          index: slice, integers or bool mask along T, or one integer.

        Returns:
          The frames (N,H,W,C), or one frame (H,W,C) for one integer.
        """
        positions = np.arange(self._count)[index]
        out = np.empty((np.size(positions), *self._store.shape), self.dtype)
        for frame, position in zip(out, np.atleast_1d(positions)):
            self.read_into(position, frame)
        return out if np.ndim(positions) else out[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
