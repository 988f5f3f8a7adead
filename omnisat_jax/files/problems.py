"""Everything that is wrong with a file or a folder, in one error."""

import contextlib
from collections.abc import Iterator

from omnisat_jax.errors import DataError, UserError, printable
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

LINES = 20  # at most, in a message: in a file of another kind every entry is wrong


class WeightsError(UserError):
    """Weights that do not fit. The message lists every entry that is wrong."""


class Problems:
    """Collects sentences "where: expected X, found Y" and raises them together. It is true once it holds one."""

    def __init__(self, source: StrPath, kind: type[UserError], *, noun: str, verbs: tuple[str, str], advice: str = ""):
        """Starts without a problem.

        Args:
          source: the file or folder that they are about.
          kind: class of the error to raise.
          noun: what has the problems, in the singular.
          verbs: what is said of one and of several of them.
          advice: what to do, or "".
        """
        self._source, self._kind, self._noun, self._verbs, self._advice = source, kind, noun, verbs, advice
        self._lines: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, where: str, text: str) -> None:
        """Adds a problem.

        Args:
          where: a file, or an entry of it.
          text: "expected X, found Y".
        """
        self._lines.append(printable(f"{where}: {text}").replace("\n", " "))

    @contextlib.contextmanager
    def gathered(self, where: str) -> Iterator[None]:
        """Turns a `UserError` of the body into a problem. The rest of the body is skipped."""
        try:
            yield
        except DataError as error:
            self.add(where, f"expected {error.expected}, found {error.found}")
        except UserError as error:
            self.add(where, str(error))

    def finish(self) -> None:
        """Raises all problems in one error, if there are any."""
        if not self._lines:
            return
        more = len(self._lines) - LINES
        lines = self._lines[:LINES] + ([f"and {more:,} more"] if more > 0 else [])
        advice = f"\n{self._advice}" if self._advice else ""
        head = printable(f"{self._source}: {number_of(len(self._lines), self._noun)} {self._verbs[len(self._lines) > 1]}", None)
        raise self._kind(f"{head}:\n" + "\n".join(lines) + advice)
