"""Rules for the values of a configuration, which annotate the keys of its dataclasses.

A key is annotated once, `dropout: Annotated[float, Range(0, 1, "probability", excluding=(1,))]`. `config.building` checks the values against the
rules; every message says the key, what was expected and what was found.
"""

import dataclasses
import datetime
import difflib
import re
import reprlib
import struct
from collections.abc import Collection, Iterable
from typing import Any

from omnisat_jax.errors import UserError, printable

SMALLEST = 2.0**-126  # smallest normal float32; devices flush smaller numbers to 0


class ConfigError(UserError):
    """A configuration that cannot be run. The message names the key, what was expected and what was found."""


def nearest(word: str, candidates: Iterable[str]) -> str:
    """Returns " Did you mean ...?" with the closest candidate, or a list of all candidates if none is close."""
    candidates = sorted(candidates)
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(candidates)}."


class Rule:
    """A condition on a value, besides its type."""

    def expects(self, kind: type) -> str:
        """Describes the allowed values of type `kind` in words."""
        raise NotImplementedError

    def allows(self, value: Any) -> bool:
        """Whether a value of the right type is allowed."""
        raise NotImplementedError

    def remark(self, value: Any) -> str:
        """Returns what to add to the message about a value that is not allowed, or ""."""
        return ""


@dataclasses.dataclass(frozen=True)
class Range(Rule):
    """A range of numbers.

    Attributes:
      low: the smallest number, finite.
      high: the largest number, finite.
      unit: unit of the number, or what it counts; "" if none.
      excluding: numbers in the range that are not allowed, for example an end of an open interval.
    """

    low: float
    high: float
    unit: str = ""
    excluding: tuple[float, ...] = ()

    def expects(self, kind: type) -> str:
        number = "a whole number" if kind is int else "a number"
        above, below = self.low in self.excluding, self.high in self.excluding
        join = ("and " if above else "to ") + ("below " if below else "up to " if above else "")
        ends = f"{'above' if above else 'from'} {self.low} {join}{self.high}"
        inner = "".join(f" except {x}" for x in self.excluding if self.low < x < self.high)
        return f"{number} {ends}{inner}{f' ({self.unit})' if self.unit else ''}"

    def allows(self, value: float) -> bool:
        # Devices compute in float32, where 1e-300 is 0 and 0.999999999 is 1.
        return self.low <= value <= self.high and value not in self.excluding and _single(value) not in self.excluding

    def remark(self, value: float) -> str:
        hidden = self.low <= value <= self.high and value not in self.excluding
        return f" ({_single(value):g} in float32)" if hidden else ""


def _single(value: float) -> float:
    """Rounds a number to float32."""
    single = struct.unpack("f", struct.pack("f", value))[0]
    return single if abs(single) >= SMALLEST else 0.0


@dataclasses.dataclass(frozen=True)
class Choice(Rule):
    """One of several strings.

    Attributes:
      among: the strings; of a registry, those that are registered when a value is checked.
    """

    among: Collection[str]

    def expects(self, kind: type) -> str:
        return f"one of {', '.join(text or repr(text) for text in self.among)}"

    def allows(self, value: str) -> bool:
        return value in self.among

    def remark(self, value: str) -> str:
        close = difflib.get_close_matches(value[:100], self.among, n=1, cutoff=0.5)
        return f". Did you mean {close[0]!r}?" if close else ""


@dataclasses.dataclass(frozen=True)
class Text(Rule):
    """Text for display, or a path: without control characters, line breaks, surrogates and direction marks.

    Attributes:
      longest: characters it may have; by default the longest path on Linux.
    """

    longest: int = 4096

    def expects(self, kind: type) -> str:
        return f"printable text of at most {self.longest} characters"

    def allows(self, value: str) -> bool:
        return len(value) <= self.longest and value.isprintable()


@dataclasses.dataclass(frozen=True)
class Pattern(Rule):
    """Printable text that matches a regular expression.

    Attributes:
      form: the regular expression; the whole text must match.
      words: description of the allowed texts, for messages.
    """

    form: str
    words: str

    def expects(self, kind: type) -> str:
        return self.words

    def allows(self, value: str) -> bool:
        return value.isprintable() and re.fullmatch(self.form, value) is not None


# Used as a folder name. Brackets, stars and question marks are not allowed, as the checkpoint library treats paths as glob patterns.
NAME = Pattern(
    r"(?=\S)[^/\\\[\]*?.~-][^/\\\[\]*?]{0,127}(?<=\S)",
    "a name of 1 to 128 printable characters without / \\ [ ] * ? that begins with none of . - ~ and no space",
)


@dataclasses.dataclass(frozen=True)
class Day(Rule):
    """A calendar day as YYYY-MM-DD.

    Attributes:
      words: strings that are allowed instead of a day.
    """

    words: tuple[str, ...] = ()

    def expects(self, kind: type) -> str:
        return " or ".join(["a day from 1900-01-01 to 2100-12-31 as YYYY-MM-DD", *map(repr, self.words)])

    def allows(self, value: str) -> bool:
        if value in self.words:
            return True
        try:
            return bool(_DAY.fullmatch(value)) and 1900 <= datetime.date.fromisoformat(value).year <= 2100
        except ValueError:
            return False

    def remark(self, value: str) -> str:
        return ", which is not a calendar day" if _DAY.fullmatch(value) else ""


_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")  # fromisoformat also accepts weeks and other forms


@dataclasses.dataclass(frozen=True)
class Length:
    """The number of entries of a tuple or group.

    Attributes:
      low: the smallest number.
      high: the largest number.
      distinct: whether all entries must differ.
    """

    low: int
    high: int
    distinct: bool = False

    def expects(self, of: str) -> str:
        """Describes the allowed tuples in words; `of` describes an entry."""
        return f"{self.low} to {self.high} entries{', all different' if self.distinct else ''}, each {of}"

    def allows(self, value: tuple) -> bool:
        """Whether the number of entries is allowed."""
        return self.low <= len(value) <= self.high and (not self.distinct or len(set(value)) == len(value))


class _Short(reprlib.Repr):
    """`repr` of bounded length."""

    def __init__(self):
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 120
        self.maxlist = self.maxtuple = 8

    def repr_int(self, x, level):
        return repr(x) if x.bit_length() < 256 else f"a whole number of {x.bit_length()} bits"


_SHORT = _Short()


def found(value: Any) -> str:
    """Describes any value for a message, on one short line."""
    return "a group of keys" if is_group(value) else printable(" ".join(_SHORT.repr(value).split()))


def is_group(value: Any) -> bool:
    """Whether `value` has keys and values, like a dict or a ConfigDict."""
    return hasattr(value, "keys") and hasattr(value, "items")
