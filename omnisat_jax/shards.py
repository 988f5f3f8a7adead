"""Shares of work for several machines or processes that write into one folder."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TypeVar

from omnisat_jax.errors import UserError, printable

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of `count` shares of some work.

    Attributes:
      index: from 0.
      count: of shares.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UserError(f"shard: expected an index from 0 to {self.count - 1} of {self.count}, found {self.index}")

    @classmethod
    def parse(cls, text: str, option: str) -> "Shard":
        """Reads "I/N".

        Args:
          text: what was given.
          option: of the command line, for messages.

        Raises:
          UserError: the text has another form, or I is not less than N.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if not match or not int(match[1]) < int(match[2]):
            raise UserError(f"{option}: expected I/N with I from 0 to N - 1, such as 0/4, found {printable(repr(text))}")
        return cls(int(match[1]), int(match[2]))

    def of(self, work: Sequence[T]) -> list[T]:
        """Every `count`-th piece of the work, from the `index`-th on."""
        return list(work[self.index :: self.count])

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
