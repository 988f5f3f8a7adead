"""The files of a folder in a bucket, each of which is copied to this machine when it is first read.

Readers work on a folder of this machine in which an empty file, a placeholder, stands for every object; `fetched` exchanges it for a copy, of which
size and checksum are compared with those of the object. Copies are kept as long as there is room. Beyond that, each process has a few copies of its
own, of which the longest unused go first, so that a dataset may be larger than the disk.

<scratch>/<name>.partial-.../
  <name>/           placeholders, and the copies that are kept until the folder is closed
  process-<id>/     copies of one process
"""

import collections
import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import overload

from omnisat_jax.errors import DataError, UserError, printable, system_sentence
from omnisat_jax.files import atomic
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.files.buckets import Bucket, MissingObjectError, Object
from omnisat_jax.types import StrPath

AT_A_TIME = 16  # files that are copied side by side
KEPT = 0.8  # share of the room for copies that all processes use
RECENT = 64  # last copies of a process, which are never removed: those of the tile that is being read
GB = 1e9
_IMAGES = (".tif", ".tiff")  # GDAL reads files beside them by itself
_open: dict[pathlib.Path, "FetchedFolder"] = {}  # of this process, by folder


class FetchedFolder:
    """A folder of placeholders and copies; it can be sent to other processes of this machine.

    Attributes:
      address: of the folder in the bucket.
      folder: of this machine.
    """

    def __init__(self, address: str, folder: pathlib.Path, objects: dict[str, Object], room: tuple[float, float]):
        """Registers the folder in this process.

        Args:
          address: of the folder in the bucket.
          folder: with a placeholder for every object.
          objects: {name: what the bucket says of it}.
          room: bytes for copies that are kept, and for further ones.
        """
        self.address, self.folder, self._objects = address, folder, objects
        self._kept, self._further = room
        self._own = folder.parent / f"process-{os.getpid()}"
        self._used: collections.OrderedDict[str, int] = collections.OrderedDict()  # own copies, the longest unused first
        self._bucket, self._lock = Bucket(address), threading.Lock()
        self._beside: dict[str, list[str]] = {}
        for name in objects:
            self._beside.setdefault(name.rpartition("/")[0], []).append(name)
        _open[folder] = self

    def __reduce__(self) -> tuple:
        # Only the process that opened the folder keeps copies for all; others have the same room for their own.
        return FetchedFolder, (self.address, self.folder, self._objects, (0.0, self._further))

    def close(self) -> None:
        """Forgets the folder in this process."""
        _open.pop(self.folder, None)

    def find(self, path: pathlib.Path) -> str | None:
        """The name of the object that a placeholder stands for; None of any other path."""
        name = path.relative_to(self.folder).as_posix() if self.folder in path.parents else ""
        return name if name in self._objects else None

    def known(self, name: str) -> Object:
        """What the bucket says of an object."""
        return self._objects[name]

    def fetch(self, name: str, tile: str) -> pathlib.Path:
        """The copy of an object, with those of the files that GDAL reads along with it.

        Raises:
          BucketError: the bucket cannot be read.
          DataError: the object is gone, or was changed since the folder was opened.
        """
        group = [name, *self._companions(name)]
        if all(map(self._is_kept, group)):
            return self.folder / name
        kept = self._reserve(group)
        root = self.folder if kept else self._own
        for each in group:
            if not (kept and self._is_kept(each) or not kept and each in self._used):
                self._copy(each, root / each, tile)
        if not kept:
            with self._lock:
                for each in group:
                    self._used[each] = self._objects[each].size
                    self._used.move_to_end(each)
            self._make_room()
        return root / name

    def fetch_all(self, paths: Iterable[pathlib.Path], tile: str) -> None:
        """Copies files side by side before they are read one by one. Failures are left to whoever reads them."""
        names = sorted({name for path in paths if (name := self.find(path))})
        with futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            for result in [pool.submit(self.fetch, name, tile) for name in names]:
                with contextlib.suppress(UserError):
                    result.result()

    def keep(self, paths: Iterable[pathlib.Path]) -> None:
        """Copies files side by side as long as there is room for copies that are kept.

        Raises:
          BucketError, DataError: see `fetch`.
        """
        names = [name for path in paths if (name := self.find(path)) and not self._is_kept(name)]
        with futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            done = [pool.submit(self._copy, name, self.folder / name, "-") for name in names if self._reserve([name])]
            for result in done:
                result.result()

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[pathlib.Path]:
        """Yields a copy of one object, which is kept if there is room."""
        path = self.folder / name
        if self._is_kept(name) or self._reserve([name]):
            if not self._is_kept(name):
                self._copy(name, path, "-")
            yield path
            return
        passing = atomic.partial_name(self._own / name)
        try:
            self._copy(name, passing, "-")
            yield passing
        finally:
            passing.unlink(missing_ok=True)

    def told(self, text: str) -> str:
        """The text with addresses in place of paths of copies."""
        made, name = re.escape(str(self.folder.parent)), re.escape(self.folder.name)
        return re.sub(rf"{made}/(?:{name}|process-\d+)(?=/|\W|$)", lambda match: self.address, text)

    def _companions(self, name: str) -> list[str]:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in _IMAGES:
            return []
        return [each for each in self._beside[name.rpartition("/")[0]] if each != name and (each.startswith(f"{name}.") or os.path.splitext(each)[0] == stem)]

    def _is_kept(self, name: str) -> bool:
        return (self.folder / name).stat().st_size == self._objects[name].size

    def _reserve(self, names: Iterable[str]) -> bool:
        """Takes room for copies that are kept; whether there was any."""
        size = sum(self._objects[name].size for name in names if not self._is_kept(name))
        with self._lock:
            if size > self._kept:
                return False
            self._kept -= size
            return True

    def _make_room(self) -> None:
        """Removes the own copies that were not used for longest."""
        with self._lock:
            while len(self._used) > RECENT and sum(self._used.values()) > self._further:
                name, _ = self._used.popitem(last=False)
                (self._own / name).unlink(missing_ok=True)

    def _copy(self, name: str, path: pathlib.Path, tile: str) -> None:
        known, where = self._objects[name], f"{self.address}/{name}"
        partial = atomic.partial_name(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.md5(usedforsecurity=False)
            for piece in self._bucket.pieces(name, known.size):
                with open(partial, "ab") as target:
                    target.write(piece)
                digest.update(piece)
            changed = digest.hexdigest() != known.md5 if known.md5 else self._bucket.version(name) != known.version
            if changed:
                raise _changed(where, tile, known.size, "another content")
            partial.replace(path) if known.size else path.touch()
        except MissingObjectError as error:
            raise _changed(where, tile, known.size, error.found) from error
        except OSError as error:
            raise UserError(f"{where}: cannot be copied to {path.parent} ({system_sentence(error)})") from error
        finally:
            partial.unlink(missing_ok=True)


def _changed(where: str, tile: str, size: int, found: str) -> DataError:
    return DataError(
        tile=tile, path=where, expected=f"the {size:,} bytes that were there at the start", found=found,
        advice="It was changed in the meantime, or damaged on its way: start again.", kind="changed",
    )  # fmt: skip


@contextlib.contextmanager
def opened(place: StrPath, argument: str, *, scratch: StrPath, limit: float = 0.0) -> Iterator[pathlib.Path]:
    """Yields the folder of this machine to read from: for an address one of placeholders, otherwise the place itself.

    Messages of errors name the address instead of copies. Copies are removed when the body ends; those of dead processes before it begins.

    Args:
      place: a folder or an address.
      argument: that has this value, for messages.
      scratch: folder in which copies are made.
      limit: disk space for copies, in GB; 0 = half of the free space.

    Raises:
      UserError: there is no object, one cannot be a file, or the scratch folder cannot be written.
      BucketError: the bucket cannot be read.
    """
    if not scheme_of(place):
        yield pathlib.Path(place)
        return
    bucket = Bucket(os.fspath(place), argument)
    objects = bucket.described()
    if not objects:
        raise UserError(f"{argument}: expected the folder of a dataset, found no object at {bucket.address}/")
    _need_plain(bucket.address, objects)
    scratch = pathlib.Path(scratch).resolve()
    name = bucket.address.rpartition("/")[2]
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        room = limit * GB or shutil.disk_usage(scratch).free / 2
    except OSError as error:
        raise UserError(f"{scratch}: cannot be written ({system_sentence(error)}). Choose another folder") from error
    with atomic.scratch_folder(scratch / name) as made:
        _make_placeholders(made / name, objects)
        copies = FetchedFolder(bucket.address, made / name, objects, (KEPT * room, (1 - KEPT) * room / (os.cpu_count() or 1)))
        try:
            yield copies.folder
        except UserError as error:
            raise renamed(error) from error.__cause__
        finally:
            copies.close()


def _need_plain(address: str, objects: Iterable[str]) -> None:
    """Refuses objects that would lie outside the folder, or whose name is that of a folder as well."""
    folders = {name[:index] for name in objects for index, letter in enumerate(name) if letter == "/"}
    for name in objects:
        if not all(part not in ("", ".", "..") for part in name.split("/")) or not name.isprintable() or name in folders:
            found = "a folder of that name as well" if name in folders else "a name that files of this machine cannot have"
            raise UserError(f"{address}/{printable(name)}: expected an object that can be copied to a file, found {found}; rename it")


def _make_placeholders(root: pathlib.Path, names: Iterable[str]) -> None:
    for folder in {(root / name).parent for name in names} | {root}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).touch()


def of(root: StrPath) -> FetchedFolder | None:
    """The folder of placeholders that is opened at `root`; None where that is an ordinary folder."""
    return _open.get(pathlib.Path(root))


def _find(path: StrPath) -> tuple[FetchedFolder, str] | None:
    if _open:
        for copies in _open.values():
            if name := copies.find(pathlib.Path(path)):
                return copies, name
    return None


def fetched(path: pathlib.Path, tile: str = "-") -> pathlib.Path:
    """The file to open for a path: a copy where that is a placeholder, otherwise the path itself; see `FetchedFolder.fetch`."""
    found = _find(path)
    return path if found is None else found[0].fetch(found[1], tile)


def reading(path: StrPath) -> contextlib.AbstractContextManager[StrPath]:
    """Yields the file to open for a path that is read only once, see `fetched`."""
    found = _find(path)
    return contextlib.nullcontext(path) if found is None else found[0].reading(found[1])


def object_of(path: StrPath) -> tuple[str, str, Object] | None:
    """Address and name of the object that a placeholder stands for, and what the bucket says of it; None of any other path."""
    found = _find(path)
    return None if found is None else (found[0].address, found[1], found[0].known(found[1]))


def size_of(path: pathlib.Path) -> int:
    """Bytes of a file, or of the object that a placeholder stands for; 0 if there is none."""
    found = object_of(path)
    return found[2].size if found else path.stat().st_size if path.is_file() else 0


def place_of(root: StrPath) -> str:
    """The address of an opened folder of placeholders; any other path as it is."""
    copies = of(root)
    return copies.address if copies else os.fspath(root)


@overload
def renamed(error: DataError) -> DataError: ...


@overload
def renamed(error: UserError) -> UserError: ...


def renamed(error: UserError) -> UserError:
    """The error with addresses in place of paths of copies."""
    for copies in _open.values():
        if isinstance(error, DataError):
            fields = {key: copies.told(text) for key, text in vars(error.finding).items()}
            error = error if fields == vars(error.finding) else DataError(**fields)
        else:
            error.args = tuple(copies.told(text) if isinstance(text, str) else text for text in error.args)
    return error
