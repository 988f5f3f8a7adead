"""The files of a run that lives in a bucket: a folder of this machine, filled from the bucket at the start and uploaded at every mark.

Programs work on the copy as on any folder, with its atomic writes. `push` uploads what has changed, in the order in which it was written, so that the
bucket holds at any time what a folder of this machine would hold after a kill. An object exists whole or not at all, so marks such as done.json,
which are written last, make a set of files complete. Large files, such as checkpoints, are not copied: `place_of` says where they go.

There are no locks in a bucket. The latest start owns the folder: it writes its name into `WRITER`, and an earlier one that is still running ends at
its next upload.
"""

import contextlib
import json
import logging
import os
import pathlib
import socket
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime

from omnisat_jax.errors import UserError, printable, system_sentence
from omnisat_jax.files import atomic, bucket_locks
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.files.buckets import Bucket, BucketError
from omnisat_jax.files.locks import InUseError
from omnisat_jax.types import StrPath

WRITER = ".writer.json"  # which start may write
LARGE = ("checkpoints", "checkpoints-broken", "tensorboard", "profile")  # folders of a run that are not downloaded
MARKS = ("done.json",)  # uploaded after everything else
log = logging.getLogger(__name__)


class WorkingCopy:
    """A folder of this machine for a folder in a bucket.

    Attributes:
      address: of the folder in the bucket.
      folder: of this machine.
    """

    def __init__(self, address: str, folder: pathlib.Path, *, left_out: Sequence[str] = ()):
        """Makes an empty copy.

        Args:
          address: of the folder in the bucket.
          folder: empty.
          left_out: names of folders, at any depth, whose files are not downloaded.
        """
        self.address, self.folder = address.rstrip("/"), folder
        self._bucket, self._left_out = Bucket(address), frozenset(left_out)
        self._here: dict[str, tuple[int, int]] = {}  # name -> state of the file when it was last the same as the object
        self._there: dict[str, str] = {}  # name -> version of that object
        self._token, self._shared = "", False
        self._names: set[str] = set()  # of all objects when they were last listed
        self._lock = threading.Lock()

    def own(self) -> None:
        """Takes the right to write from every earlier start."""
        self._token = uuid.uuid4().hex
        owner = {"token": self._token, "host": socket.gethostname(), "process": os.getpid(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        self._bucket.write(WRITER, json.dumps(owner).encode())

    def share(self) -> None:
        """Allows to write beside others, none of which writes the same files at the same time."""
        self._shared = True

    def create(self, name: str) -> bool:
        """Uploads a file unless there is an object of that name; whether the object is now the same. Otherwise it is downloaded."""
        path = self.folder / name
        made = self._bucket.create(name, path.read_bytes())
        if not made and (content := self._bucket.read(name)) is not None:
            atomic.write_bytes(path, content)
        self._here[name], self._there[name] = _state(path), ""
        return made

    def lock(self, name: str, what: str) -> contextlib.AbstractContextManager[None]:
        """A lock in the bucket, see `bucket_locks.exclusive`."""
        return bucket_locks.exclusive(self._bucket, name, what)

    def is_there(self, name: str) -> bool:
        """Whether there is a file here, or was an object when they were last listed."""
        return name in self._names or (self.folder / name).is_file()

    def top(self) -> list[str]:
        """Names of the objects and folders directly in the folder of the bucket."""
        return self._bucket.top()

    def pull(self, below: str = "") -> None:
        """Downloads what has changed in the bucket since it was last seen, and removes what is gone there.

        Args:
          below: folder to which this is limited, such as runs/a/; "" = everything.
        """
        with self._lock:
            self._pull(below)

    def _pull(self, below):
        source = Bucket(f"{self.address}/{below}") if below else self._bucket
        found = {f"{below}{name}": entry for name, entry in source.objects().items()}
        self._names = {name for name in self._names if not name.startswith(below)} | found.keys()
        for name in [name for name in found if self._is_left_out(name)]:
            parts = name.split("/")
            first = next((i for i, part in enumerate(parts) if part in self._left_out), 0)
            self.folder.joinpath(*parts[:first]).mkdir(parents=True, exist_ok=True)  # whether a stage has begun shows in its folder
            del found[name]
        for name in [name for name in self._there if name.startswith(below) and name not in found]:
            (self.folder / name).unlink(missing_ok=True)
            del self._there[name], self._here[name]
        for name, (_, version) in found.items():
            content = self._bucket.read(name) if self._there.get(name) != version else None
            if content is None:
                continue
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(path, content)
            self._here[name], self._there[name] = _state(path), version

    def push(self) -> None:
        """Uploads what has changed here since it was last the same, and deletes what is gone here. Only a copy that is owned or shared does anything.

        Raises:
          InUseError: a later start has taken over.
          BucketError: the bucket cannot be written to.
        """
        with self._lock:
            if self._token:
                self._need_own()
            if self._token or self._shared:
                self._push()

    def _push(self):
        files = {name: path for name, path in self._files()}
        gone = [name for name in self._here if name not in files]
        changed = [name for name, path in files.items() if self._here.get(name) != _state(path)]
        self._bucket.delete(gone)
        for name in gone:
            del self._here[name]
            self._there.pop(name, None)
        order = sorted(changed, key=lambda name: (name.rpartition("/")[2] in MARKS, files[name].stat().st_mtime_ns, name))
        for name in order:
            state = _state(files[name])
            self._bucket.write(name, files[name].read_bytes())
            self._here[name] = state
            self._there[name] = ""  # unknown; a pull would read it again

    def _need_own(self) -> None:
        content = self._bucket.read(WRITER) or b"{}"
        try:
            owner = json.loads(content)
            token, who = owner.get("token"), f"process {owner.get('process')} on {owner.get('host')}, since {owner.get('since')}"
        except (ValueError, AttributeError):
            token, who = None, "whose name cannot be read"
        if token != self._token:
            raise InUseError(f"{self.address}: another start has taken over ({printable(who)}); this one ends, and changes nothing there any more")

    def _files(self) -> Iterator[tuple[str, pathlib.Path]]:
        """Files to upload: no locks, and none that are being written."""
        for folder, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not atomic.is_partial(name))
            for name in sorted(names):
                path = pathlib.Path(folder, name)
                if not name.endswith(".lock") and not atomic.is_partial(name):
                    yield path.relative_to(self.folder).as_posix(), path

    def _is_left_out(self, name: str) -> bool:
        return name == WRITER or bool(self._left_out.intersection(name.split("/")[:-1]))


def _state(path: pathlib.Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


_open: dict[pathlib.Path, WorkingCopy] = {}  # of this process, by folder


def _find(path: StrPath) -> WorkingCopy | None:
    if not _open:
        return None
    whole = pathlib.Path(path)
    return next((copy for folder, copy in _open.items() if whole == folder or folder in whole.parents), None)


def place_of(path: StrPath) -> str:
    """Where a file or folder lies for good: an address of the bucket if `path` is below a working copy, otherwise the path."""
    copy = _find(path)
    below = pathlib.Path(path).relative_to(copy.folder).as_posix() if copy else ""
    return os.fspath(path) if copy is None else copy.address if below == "." else f"{copy.address}/{below}"


def folder_of(place: StrPath) -> pathlib.Path:
    """The folder of this machine for a place: the working copy of an address that is open, otherwise the place as a path."""
    text = os.fspath(place).rstrip("/")
    return next((copy.folder for copy in _open.values() if copy.address == text), None) or pathlib.Path(place)


def names_in(folder: pathlib.Path) -> list[str]:
    """Names of the files and folders directly in a folder, of the bucket where it is a working copy."""
    copy = _open.get(folder)
    return copy.top() if copy else [entry.name for entry in folder.iterdir()]


def own(path: StrPath) -> None:
    """Takes the right to write to the bucket, see `WorkingCopy.own`; does nothing for other folders."""
    copy = _find(path)
    if copy:
        copy.own()


def share(path: StrPath) -> None:
    """Allows the working copy that holds `path` to write beside others, see `WorkingCopy.share`; does nothing for other folders."""
    copy = _find(path)
    if copy:
        copy.share()


def create(path: pathlib.Path) -> bool:
    """Uploads a new file unless another process did, see `WorkingCopy.create`; true for a file of any other folder."""
    copy = _find(path)
    return copy is None or copy.create(path.relative_to(copy.folder).as_posix())


def is_there(path: pathlib.Path) -> bool:
    """Whether there is a file, or in a working copy one that was not downloaded."""
    copy = _find(path)
    return path.is_file() if copy is None else copy.is_there(path.relative_to(copy.folder).as_posix())


def lock(path: pathlib.Path, what: str) -> contextlib.AbstractContextManager[None] | None:
    """A lock in the bucket of the working copy that holds `path`, see `bucket_locks.exclusive`; None in other folders, which have locks of files."""
    copy = _find(path)
    return None if copy is None else copy.lock(path.relative_to(copy.folder).as_posix(), what)


def pull_below(folder: StrPath) -> None:
    """Downloads what has changed below a folder of a working copy; does nothing for other folders."""
    copy = _find(folder)
    if copy:
        copy.pull(f"{pathlib.Path(folder).relative_to(copy.folder).as_posix()}/")


def push(path: StrPath) -> None:
    """Uploads what has changed in the working copy that holds `path`, see `WorkingCopy.push`; does nothing for other folders."""
    copy = _find(path)
    if copy:
        copy.push()


def pull(path: StrPath) -> None:
    """Downloads what has changed for the working copy that holds `path`; does nothing for other folders."""
    copy = _find(path)
    if copy:
        copy.pull()


@contextlib.contextmanager
def opened(place: StrPath, *, left_out: Sequence[str] = ()) -> Iterator[pathlib.Path]:
    """Yields the folder of this machine to work in: for an address an empty working copy, otherwise the place itself.

    What was written is uploaded when the body ends, however it ends. Messages of errors and warnings name the address instead of the copy.

    Args:
      place: a folder or an address.
      left_out: see `WorkingCopy`.

    Raises:
      BucketError: the bucket cannot be written to when the body has ended; the working copy is kept then.
    """
    if not scheme_of(place):
        yield pathlib.Path(place)
        return
    made = _temporary_folder()
    folder = made / os.fspath(place).rstrip("/").rpartition("/")[2]
    folder.mkdir()
    copy = WorkingCopy(os.fspath(place), folder, left_out=left_out)
    _open[folder] = copy
    names = _Names(folder, copy.address)
    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(names)
    kept = ""
    try:
        try:
            yield folder
        except BaseException:
            with contextlib.suppress(UserError):  # the first failure is the one to report
                copy.push()
            raise
        try:
            copy.push()
        except BucketError as error:
            kept = str(made.rename(made.with_name(f"omnisat_jax-not-uploaded-{uuid.uuid4().hex[:8]}")) / folder.name)
            raise BucketError(f"{error}. What was to be written is in {kept}") from error
    except UserError as error:
        error.args = tuple(names.told(text) if isinstance(text, str) else text for text in error.args)
        raise
    finally:
        del _open[folder]
        for handler in handlers:
            handler.removeFilter(names)
        if not kept:
            atomic.remove_marked(made)


def _temporary_folder() -> pathlib.Path:
    """A new folder that only this user can read; those of dead processes are removed."""
    made = atomic.partial_name(pathlib.Path(tempfile.gettempdir()).resolve() / "omnisat_jax")
    try:
        atomic.clear_partials(made.parent)
        made.mkdir(mode=0o700)
        (made / atomic.MARK).touch()
    except OSError as error:
        raise UserError(f"{made.parent}: cannot be written ({system_sentence(error)})") from error
    return made


class _Names(logging.Filter):
    """Names the address where a text names the working copy."""

    def __init__(self, folder: pathlib.Path, address: str):
        super().__init__()
        self._folder, self._address = str(folder), address

    def told(self, text: str) -> str:
        return text.replace(self._folder, self._address)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if self._folder in text:
            record.msg, record.args = self.told(text), ()
        return True
