"""Everything that is wrong with a file or a folder, told at once."""

import contextlib
from collections.abc import Iterator

from omnisat_jax.errors import DataError, UserError, printable


class WeightsError(UserError):
    """Weights that do not fit; the message lists every entry that is wrong."""


LINES = 20  # most lines of a message: in a file of another kind every entry is wrong


class Problems:
    """Collects sentences "where: expected X, found Y" and raises them together. True while there are any."""

    def __init__(self, source, kind: type[UserError], *, what: str, advice: str = ""):
        """source: the file or folder; kind: of the error; what: follows the number of problems; advice: what to do, or ""."""
        self._source, self._kind, self._what, self._advice = source, kind, what, advice
        self._lines: list[str] = []

    def __bool__(self):
        return bool(self._lines)

    def add(self, where: str, text: str) -> None:
        """One more; text: "expected X, found Y"."""
        self._lines.append(printable(f"{where}: {text}").replace("\n", " "))

    @contextlib.contextmanager
    def gathered(self, where: str) -> Iterator[None]:
        """What the body raises for a user becomes a problem, and the rest of the body is left out."""
        try:
            yield
        except DataError as error:
            self.add(where, f"expected {error.expected}, found {error.found}")
        except UserError as error:
            self.add(where, str(error))

    def finish(self) -> None:
        """Raises all of them, if there are any."""
        if not self._lines:
            return
        more = len(self._lines) - LINES
        lines = self._lines[:LINES] + ([f"and {more:,} more"] if more > 0 else [])
        advice = f"\n{self._advice}" if self._advice else ""
        head = printable(f"{self._source}: {len(self._lines)} {self._what}", None)
        raise self._kind(f"{head}:\n" + "\n".join(lines) + advice)
