"""Objects of a folder in a bucket. Each is written whole or not at all; there is no renaming and no lock. Needs the extra of its scheme.

Requests that get no answer, or one such as 503, are repeated, and a warning says what is waited for.
"""

import base64
import contextlib
import datetime
import functools
import logging
import pathlib
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple, TypeVar

from omnisat_jax.errors import UserError, reason
from omnisat_jax.files.addresses import BUCKETS, need_bucket, scheme_of

Result = TypeVar("Result")
REQUEST = 120.0  # seconds after which a request counts as unanswered
TRIES = 4  # of each call, every one of which the library of the bucket has repeated already
LONGEST_WAIT = 60.0  # seconds between two tries
TOLD = 30.0  # seconds between two messages about one wait
CHUNK = 2**25  # bytes of one request when a file is downloaded
AT_A_TIME = 8  # requests in flight when files are downloaded
log = logging.getLogger(__name__)


class BucketError(UserError):
    """A bucket that cannot be read from or written to. The message names the address and the reason."""


class MissingObjectError(BucketError):
    """An object that is gone, or shorter than it was.

    Attributes:
      found: what is there instead, in words.
    """

    def __init__(self, message: str, found: str = ""):
        """message: the whole sentence; found: see above."""
        super().__init__(message)
        self.found = found


class Object(NamedTuple):
    """What a bucket says of an object.

    Attributes:
      size: bytes.
      version: changes whenever the object is written.
      md5: of its content, hexadecimal; "" where the storage does not say it.
    """

    size: int
    version: str
    md5: str


class Bucket:
    """A folder of a bucket.

    Attributes:
      address: such as gs://bucket/folder, without a slash at its end.
    """

    def __init__(self, address: str, argument: str = "the address"):
        """Checks the address; nothing is read yet.

        Args:
          address: of the folder, which need not exist.
          argument: that has this value, for messages.

        Raises:
          UserError: another form of address, or a library that is not installed.
          BucketError: the library does not find its credentials.
        """
        need_bucket(address, argument)
        self.address = address.rstrip("/")
        try:
            self._fs = _filesystem(scheme_of(address))
        except Exception as error:  # of the library of the bucket, which looks for credentials
            raise BucketError(f"{self.address}: the object storage cannot be used ({_reason(error)})") from error

    def objects(self) -> dict[str, tuple[int, str]]:
        """{name below the folder: (bytes, version)} of every object; the version changes whenever the object is written.

        Raises:
          BucketError: the bucket does not exist or does not answer.
        """
        return {name: (found.size, found.version) for name, found in self.described().items()}

    def described(self) -> dict[str, Object]:
        """{name below the folder: what the bucket says of it} of every object.

        Raises:
          BucketError: the bucket does not exist or does not answer.
        """
        whole = _bare(self.address) + "/"
        found = self._ask("", lambda: self._fs.find(self.address, detail=True, refresh=True))
        infos = {name.removeprefix(whole): info for name, info in (found or {}).items() if name.startswith(whole)}
        return {name: Object(int(info["size"]), _version(info), _md5(info)) for name, info in infos.items() if name and not name.endswith("/")}

    def version(self, name: str) -> str:
        """The version of an object as it is now, see `Object`; "" if there is none.

        Raises:
          BucketError: the bucket does not answer.
        """
        info = self._ask(name, lambda: self._fs.info(self._path(name), refresh=True))
        return _version(info) if info else ""

    def modified(self, name: str) -> datetime.datetime | None:
        """When an object was written last, by the clock of the storage; None if there is none.

        Raises:
          BucketError: the bucket does not answer.
        """
        return self._ask(name, lambda: self._fs.modified(self._path(name)))

    def top(self) -> list[str]:
        """Names of the objects and folders directly in the folder, sorted."""
        found = self._ask("", lambda: self._fs.ls(self.address, detail=False, refresh=True))
        return sorted({name.rstrip("/").rpartition("/")[2] for name in found or () if name.rstrip("/") != _bare(self.address)})

    def read(self, name: str) -> bytes | None:
        """The content of an object, None if there is none.

        Raises:
          BucketError: the bucket does not answer.
        """
        return self._ask(name, lambda: self._fs.cat_file(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Writes an object, in place of one that is there. Others see the old one or the new one, never a part.

        Raises:
          BucketError: it cannot be written.
        """
        if self._ask(name, lambda: (self._fs.pipe_file(self._path(name), content), True)[1]) is None:
            raise BucketError(f"{self._path(name)}: cannot be written: there is no such bucket")

    def create(self, name: str, content: bytes) -> bool:
        """Writes an object unless there is one; whether it now holds this content. Of several processes, one succeeds.

        Raises:
          BucketError: it cannot be written.
        """

        def attempt() -> bool:
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:  # or this request was answered before, and its answer lost
                return self.read(name) == content
            return True

        made = self._ask(name, attempt)
        if made is None:
            raise BucketError(f"{self._path(name)}: cannot be written: there is no such bucket")
        return made

    def upload(self, name: str, path: pathlib.Path) -> None:
        """Writes an object with the content of a file, of which only a piece is in memory at a time; see `write`."""
        if self._ask(name, lambda: (self._fs.put_file(str(path), self._path(name)), True)[1]) is None:
            raise BucketError(f"{self._path(name)}: cannot be written: there is no such bucket")

    def delete(self, names: Sequence[str]) -> None:
        """Deletes objects; those that are gone already are no error.

        Raises:
          BucketError: they cannot be deleted.
        """
        for name in names:
            self._ask(name, lambda name=name: self._fs.rm_file(self._path(name)))

    def move(self, names: Sequence[str], target: "Bucket") -> None:
        """Copies objects to another folder, then deletes them here. The bytes stay in the object storage.

        Raises:
          BucketError: they cannot be copied or deleted.
        """
        for name in names:
            self._ask(name, lambda name=name: self._fs.cp_file(self._path(name), target._path(name)))
        self.delete(names)

    def download(self, name: str, path: pathlib.Path, size: int) -> Iterator[int]:
        """Writes an object of a known size to a file of this machine, in pieces that are requested side by side.

        Args:
          name: of the object.
          path: of the file; replaced.
          size: bytes of the object.

        Yields:
          Bytes of each finished piece.

        Raises:
          BucketError: the object cannot be read, or has another size.
        """
        with open(path, "wb") as target:
            for piece in self.pieces(name, size):
                target.write(piece)
                yield len(piece)

    def pieces(self, name: str, size: int) -> Iterator[bytes]:
        """Yields the content of an object of a known size in order, in pieces that are requested side by side; see `download`."""
        if size <= CHUNK:
            yield self.read_range(name, 0, size)
            return
        starts = range(0, size, CHUNK)
        with futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            for first in range(0, len(starts), AT_A_TIME):  # so that few pieces are in memory at a time
                yield from pool.map(lambda start: self.read_range(name, start, min(start + CHUNK, size)), starts[first : first + AT_A_TIME])

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end` of an object.

        Raises:
          BucketError: the object cannot be read.
          MissingObjectError: it is gone, or ends earlier.
        """
        if start == end:
            return b""
        content = self._ask(name, lambda: self._fs.cat_file(self._path(name), start=start, end=end))
        if content is None or len(content) != end - start:
            found = "no such object" if content is None else f"{len(content):,}"
            raise MissingObjectError(f"{self._path(name)}: expected {end - start:,} bytes from byte {start:,} on, found {found}", found)
        return content

    def _path(self, name: str) -> str:
        return f"{self.address}/{name}" if name else self.address

    def _ask(self, name: str, action: Callable[[], Result]) -> Result | None:
        """The result of a request; None if the object does not exist."""
        where = self._path(name)
        for attempt in range(1, TRIES + 1):
            try:
                return action()
            except FileNotFoundError:
                return None
            except Exception as error:  # of the library of the bucket, of its HTTP client or of the credentials
                passing = _passing(error)
                if attempt == TRIES or not passing:
                    raise BucketError(f"{where}: the object storage {'does not answer' if passing else 'refuses this'} ({_reason(error)})") from error
                wait = min(2.0**attempt + random.random(), LONGEST_WAIT)
                log.warning("%s: no answer (%s); asking again in %.0f s", where, _reason(error), wait)
                time.sleep(wait)
        raise AssertionError("unreachable")


def _bare(address: str) -> str:
    return address.partition("://")[2]


def _version(info: dict[str, Any]) -> str:
    """What identifies the content of an object, whichever the storage says."""
    return str(next((info[key] for key in ("generation", "ETag", "etag", "mtime", "LastModified") if info.get(key)), info["size"]))


def _md5(info: dict[str, Any]) -> str:
    """The MD5 of an object in hexadecimal digits, if the storage says it; the ETag of S3 may be another hash."""
    return base64.b64decode(info.get("md5Hash") or "").hex()


def _passing(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    code = getattr(error, "code", None) or getattr(error, "status", None)
    if isinstance(code, int | str) and str(code).isdigit():
        return int(code) >= 500 or int(code) in (408, 429)
    return not _is_forbidden(error) and not isinstance(error, ValueError | TypeError | ImportError) and "Credential" not in type(error).__name__


def _is_forbidden(error: Exception) -> bool:
    """Whether access was refused; gcsfs says that by the message of an OSError alone."""
    return isinstance(error, PermissionError) or (isinstance(error, OSError) and str(error).startswith("Forbidden"))


def _reason(error: Exception) -> str:
    if _is_forbidden(error):
        return "access is forbidden; check the credentials and the rights of this account"
    code = getattr(error, "code", None) or getattr(error, "status", None)
    if code:
        return f"status {code}"
    return f"no answer within {REQUEST:.0f} s" if isinstance(error, TimeoutError) else reason(error)


class _Repeats(logging.Handler):
    """Says in one line what the library of a bucket repeats, which it only logs for debugging; its tracebacks are left out."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if " retrying after exception: " in text:
            log.warning("the object storage gave no answer (%s); asking again", text.partition("exception: ")[2].strip(" ,") or "no reason given")


@contextlib.contextmanager
def told_while_waiting(what: str, every: float = TOLD) -> Iterator[None]:
    """Says, while the body runs, every few seconds what it waits for: TensorStore repeats requests without a word.

    Args:
      what: is read or written, and where.
      every: seconds.
    """
    done = threading.Event()

    def tell() -> None:
        start = time.monotonic()
        while not done.wait(every):
            log.warning("%s: the object storage has not answered for %.0f s; still waiting", what, time.monotonic() - start)

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        done.set()


@functools.cache
def _filesystem(scheme: str) -> Any:
    set_up(scheme)
    import fsspec

    return fsspec.filesystem(scheme)


@functools.cache
def set_up(scheme: str) -> None:
    """Configures the library of a scheme for everything in this process that uses it, such as Orbax. To be called before it is used.

    Lists of objects are not cached, as other processes write too, and a request ends after REQUEST seconds.
    """
    from fsspec import config

    settings: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "gs":
        settings["requests_timeout"] = REQUEST
    for name in ("gs", "gcs") if scheme == "gs" else (scheme,):
        config.conf.setdefault(name, {}).update(settings)
    logger = logging.getLogger(BUCKETS[scheme][0])
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(_Repeats())


def forget() -> None:
    """Drops connections, so that the next one follows the environment as it is then."""
    if _filesystem.cache_info().currsize:
        import fsspec

        _filesystem.cache_clear()
        for scheme, (module, _) in BUCKETS.items():
            if module in sys.modules:
                fsspec.get_filesystem_class(scheme).clear_instance_cache()  # each class keeps its own
