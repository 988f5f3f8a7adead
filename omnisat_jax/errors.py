"""Errors that users, files, disks and signals cause. The message of each is one sentence: what, where, expected, found, what to do."""

import dataclasses
import errno
import os

from omnisat_jax.types import StrPath

LONGEST = 300  # characters of an external value that a message quotes


class UserError(ValueError):
    """An error that the user can act on. Commands print its message without a traceback."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A problem in a dataset.

    Attributes:
      kind: one word that groups findings, see `data.verify`.
      tile: ID of the tile, or "-" if the whole dataset is concerned.
      path: the file.
      expected: what should be there, in words.
      found: what is there instead, in words.
      advice: what to do, or "".
    """

    kind: str
    tile: str
    path: str
    expected: str
    found: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        """The whole finding in one sentence, safe to print."""
        where = f"tile {self.tile}: {self.path}" if self.tile != "-" else f"{self.path}"
        return printable(f"{where}: expected {self.expected}, found {self.found}.{' ' + self.advice if self.advice else ''}", None)


class DataError(UserError):
    """A file that cannot be used.

    Attributes:
      finding: what is wrong with the file; its fields are attributes of the error as well.
    """

    def __init__(self, *, tile: str, path: StrPath, expected: str, found: str, advice: str = "", kind: str = "unreadable"):
        """Builds the message; see `Finding` for the arguments."""
        texts = {"tile": tile, "path": path, "expected": expected, "found": found, "advice": advice, "kind": kind}
        shown = {key: printable(str(text)) for key, text in texts.items()}
        # In names, a line break would end the sentence.
        self.finding = Finding(**shown | {key: shown[key].replace("\n", r"\n") for key in ("tile", "path")})
        super().__init__(self.finding.sentence)
        self.tile, self.path = self.finding.tile, self.finding.path
        self.expected, self.found, self.advice = self.finding.expected, self.finding.found, self.finding.advice

    def __reduce__(self) -> tuple:
        # Worker processes send these errors to the main process.
        return _restore, (dataclasses.asdict(self.finding),)


def _restore(fields: dict[str, str]) -> DataError:
    return DataError(**fields)


def printable(text: str, longest: int | None = LONGEST) -> str:
    r"""Makes external text safe for terminals and files.

    Args:
      text: from a file, an option or a library.
      longest: characters to keep; the middle of a longer text is cut. None keeps all.

    Returns:
      The text with control characters, surrogates and direction marks escaped, such as \x1b. Line breaks are kept.
    """
    safe = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)
    if longest is not None and len(safe) > longest:
        half = longest // 2
        safe = f"{safe[:half]}[...]{safe[-half:]}"
    return safe


def reason(error: BaseException) -> str:
    """Returns the first line of an error message, or the type of the error if it has none."""
    text = str(error).strip()
    return printable(text.splitlines()[0]) if text else type(error).__name__


_SYSTEM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "the operation is not permitted",
    errno.EMFILE: "too many open files (raise the limit: ulimit -n)",
    errno.ENFILE: "too many open files in the whole system",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its symbolic links form a loop",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOENT: "no such file or folder",
    errno.EEXIST: "it already exists",
    errno.EIO: "the disk reports an I/O error",
    errno.ENOMEM: "not enough memory",
}


def system_reason(error: OSError) -> str:
    """Describes an error of the operating system in words."""
    return _SYSTEM.get(error.errno or 0) or error.strerror or reason(error)


def system_sentence(error: OSError) -> str:
    """Describes an error of the operating system together with the files it concerns."""
    names = [os.fsdecode(name) if isinstance(name, bytes) else str(name) for name in (error.filename, error.filename2) if name]
    return printable(": ".join([*names, system_reason(error)]), None)
