"""What can be wrong with something that comes from outside: a file, a folder, a name, a disk. Every such failure is one sentence."""

import dataclasses
import errno
import os

LONGEST = 300  # characters of a value from outside that a message repeats


class UserError(ValueError):
    """Something a user, a file, a disk or a signal caused. The message is what a command prints: what, where, expected, found, what to do."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something wrong with data.

    Attributes:
      kind: one word that groups findings, see `data.verify`.
      tile: its id, or "-" where it concerns the whole dataset.
      path: the file.
      expected, found: in words a person can act on.
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
        """All of it in one sentence, safe to print."""
        where = f"tile {self.tile}: {self.path}" if self.tile != "-" else f"{self.path}"
        return printable(f"{where}: expected {self.expected}, found {self.found}.{' ' + self.advice if self.advice else ''}", None)


class DataError(UserError):
    """A file that cannot be used.

    Attributes:
      finding: what is wrong with it.
    """

    def __init__(self, *, tile, path, expected, found, advice="", kind="unreadable"):
        texts = {"tile": tile, "path": path, "expected": expected, "found": found, "advice": advice, "kind": kind}
        self.finding = Finding(**{key: printable(str(text)) for key, text in texts.items()})
        super().__init__(self.finding.sentence)
        self.tile, self.path = self.finding.tile, self.finding.path
        self.expected, self.found, self.advice = self.finding.expected, self.finding.found, self.finding.advice

    def __reduce__(self):
        # Errors cross from the processes that read to the one that reports.
        return _restore, (dataclasses.asdict(self.finding),)


def _restore(fields):
    return DataError(**fields)


def printable(text: str, longest: int | None = LONGEST) -> str:
    r"""Text from outside that is safe on a terminal and in a file: control characters, surrogates and direction marks as \x1b, and cut to `longest`."""
    safe = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)
    if longest is not None and len(safe) > longest:
        half = longest // 2
        safe = f"{safe[:half]}[...]{safe[-half:]}"
    return safe


def reason(error: BaseException) -> str:
    """The first line of what an error of a library says, or its kind."""
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
    errno.ELOOP: "its links lead in a circle",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOENT: "no such file or folder",
    errno.EEXIST: "it exists already",
    errno.EIO: "the disk reports an input or output error",
    errno.ENOMEM: "not enough memory",
}


def system_reason(error: OSError) -> str:
    """What the operating system says of a file, in words."""
    return _SYSTEM.get(error.errno) or error.strerror or reason(error)


def system_sentence(error: OSError) -> str:
    """An error of the operating system with the file it concerns."""
    names = [os.fsdecode(name) if isinstance(name, bytes) else str(name) for name in (error.filename, error.filename2) if name]
    return printable(": ".join([*names, system_reason(error)]), None)
