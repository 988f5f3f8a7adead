"""What a value of a configuration may be: the dataclasses say it beside each key, `build` checks it at the door.

A key is annotated once, `dropout: Annotated[float, Range(0, 1, "probability", but=(1,))]`, and every message says key, expected and found.
"""

import dataclasses
import datetime
import difflib
import functools
import re
import reprlib
import struct
import typing
from collections.abc import Collection

import numpy as np

from omnisat_jax.errors import UserError, printable, reason

SMALLEST = 2.0**-126  # of float32; devices take what is below it for 0


class ConfigError(UserError):
    """A configuration that cannot be run; the message names the key, what was expected and what was found."""


def nearest(word: str, candidates) -> str:
    """' Did you mean ...?' for the closest candidate, or the list of all of them."""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(candidates))}."


class Rule:
    """What a value may be, beside its type."""

    def expects(self, kind: type) -> str:
        """In words; kind: its type."""
        raise NotImplementedError

    def allows(self, value) -> bool:
        """Whether a value of the right type follows the rule."""
        raise NotImplementedError

    def remark(self, value) -> str:
        """What else to say of one that does not."""
        return ""


@dataclasses.dataclass(frozen=True)
class Range(Rule):
    """Numbers from `low` to `high`, both finite.

    Attributes:
      low, high: the ends, included.
      unit: of the number, or what it counts; "" = none.
      but: numbers that are left out; an end among them makes "from 0" to "above 0".
    """

    low: float
    high: float
    unit: str = ""
    but: tuple[float, ...] = ()

    def expects(self, kind: type) -> str:
        number = "a whole number" if kind is int else "a number"
        above, below = self.low in self.but, self.high in self.but
        ends = f"{'above' if above else 'from'} {self.low} {'and below' if below else 'up to' if above else 'to'} {self.high}"
        inner = "".join(f" but {x}" for x in self.but if self.low < x < self.high)
        return f"{number} {ends}{inner}{f' ({self.unit})' if self.unit else ''}"

    def allows(self, value) -> bool:
        # Devices compute in float32, where 1e-300 is 0 and 0.999999999 is 1.
        return self.low <= value <= self.high and value not in self.but and _single(value) not in self.but

    def remark(self, value) -> str:
        hidden = self.low <= value <= self.high and value not in self.but
        return f" ({_single(value):g} in float32)" if hidden else ""


def _single(value):
    """What is left of a number in float32."""
    single = struct.unpack("f", struct.pack("f", value))[0]
    return single if abs(single) >= SMALLEST else 0.0


@dataclasses.dataclass(frozen=True)
class Choice(Rule):
    """One of a few texts; of a registry, those that are in it when a value is checked."""

    among: Collection[str]

    def expects(self, kind: type) -> str:
        return f"one of {', '.join(text or repr(text) for text in self.among)}"

    def allows(self, value) -> bool:
        return value in self.among

    def remark(self, value) -> str:
        close = difflib.get_close_matches(value[:100], self.among, n=1, cutoff=0.5)
        return f". Did you mean {close[0]!r}?" if close else ""


@dataclasses.dataclass(frozen=True)
class Text(Rule):
    """Text to be shown, or a path: without control characters, line breaks, surrogates and marks of direction."""

    longest: int = 4096  # characters, as of a path on Linux

    def expects(self, kind: type) -> str:
        return f"printable text of at most {self.longest} characters"

    def allows(self, value) -> bool:
        return len(value) <= self.longest and value.isprintable()


@dataclasses.dataclass(frozen=True)
class Pattern(Rule):
    """Printable text of one form.

    Attributes:
      form: a regular expression that the whole text matches.
      words: what it means, for the message.
    """

    form: str
    words: str

    def expects(self, kind: type) -> str:
        return self.words

    def allows(self, value) -> bool:
        return value.isprintable() and re.fullmatch(self.form, value) is not None


# Becomes a folder. Brackets and stars are left out because the library of checkpoints takes paths for patterns.
NAME = Pattern(
    r"(?=\S)[^/\\\[\]*?.~-][^/\\\[\]*?]{0,127}(?<=\S)",
    "a name of 1 to 128 printable characters without / \\ [ ] * ? that begins with none of . - ~ and no space",
)


@dataclasses.dataclass(frozen=True)
class Day(Rule):
    """A day of the calendar as YYYY-MM-DD, or one of a few words instead."""

    words: tuple[str, ...] = ()

    def expects(self, kind: type) -> str:
        return " or ".join(["a day from 1900-01-01 to 2100-12-31 as YYYY-MM-DD", *map(repr, self.words)])

    def allows(self, value) -> bool:
        if value in self.words:
            return True
        try:
            return bool(_DAY.fullmatch(value)) and 1900 <= datetime.date.fromisoformat(value).year <= 2100
        except ValueError:
            return False

    def remark(self, value) -> str:
        return ", which is no such day" if _DAY.fullmatch(value) else ""


_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")  # fromisoformat alone takes weeks and other forms as well


@dataclasses.dataclass(frozen=True)
class Length:
    """How many entries a tuple has; `distinct`: all of them different."""

    low: int
    high: int
    distinct: bool = False

    def expects(self, of: str) -> str:
        """In words; of: what an entry is."""
        return f"{self.low} to {self.high} entries{', all different' if self.distinct else ''}, each {of}"

    def allows(self, value: tuple) -> bool:
        """Whether there are as many."""
        return self.low <= len(value) <= self.high and (not self.distinct or len(set(value)) == len(value))


class _Short(reprlib.Repr):
    """`repr` that ends whatever it is given."""

    def __init__(self):
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 120
        self.maxlist = self.maxtuple = 8

    def repr_int(self, x, level):
        return repr(x) if x.bit_length() < 256 else f"a whole number of {x.bit_length()} bits"


_SHORT = _Short()


def found(value) -> str:
    """A value for a message: short, in one line, whatever it is."""
    return "a group of keys" if is_group(value) else printable(" ".join(_SHORT.repr(value).split()))


def is_group(value) -> bool:
    """Whether `value` has keys and values, as a dict or a ConfigDict."""
    return hasattr(value, "keys") and hasattr(value, "items")


@functools.cache
def hints(cls) -> dict[str, typing.Any]:
    """{key: annotation} of a dataclass of settings."""
    return typing.get_type_hints(cls, include_extras=True)


def split(hint) -> tuple[typing.Any, typing.Any]:
    """(type, rule) of an annotation; None where there is no rule."""
    return typing.get_args(hint)[:2] if typing.get_origin(hint) is typing.Annotated else (hint, None)


def build(cls, values, prefix: str = "", *, home: str = "configs/base.py"):
    """A dataclass of settings, every value of it typed and in its range.

    Args:
      cls: the dataclass; its fields are annotated with `Range`, `Choice` and so on.
      values: a dict or ConfigDict of its keys.
      prefix: of the keys in messages, such as "model.utae.".
      home: the file that has all keys.

    Raises:
      ConfigError: an unknown, missing, wrongly typed or impossible value, with its full key.
    """
    if not is_group(values):
        raise ConfigError(f"{prefix[:-1] or 'the configuration'}: expected a group of keys, found {found(values)}.")
    values, known = {key: _entry(values, key, prefix) for key in values}, hints(cls)
    for key in values:
        if not isinstance(key, str):
            raise ConfigError(f"{prefix[:-1] or 'the configuration'}: expected keys of text, found {found(key)}.")
        if key not in known:
            raise ConfigError(f"unknown configuration key {printable(prefix + key)!r}.{nearest(key[:100], list(known))}")
    missing = [prefix + key for key in known if key not in values]
    if missing:
        raise ConfigError(f"missing configuration keys: {', '.join(missing)}; {home} has them all")
    return cls(**{key: _value(hint, values[key], prefix + key, home) for key, hint in known.items()})


def _entry(values, key, prefix):
    try:
        return values[key]
    except Exception as error:  # a reference of a ConfigDict without a value has an exception of its own
        raise ConfigError(f"{prefix}{printable(str(key))}: expected a value, found none ({reason(error)}).") from error


def _value(hint, value, key, home):
    kind, rule = split(hint)
    if dataclasses.is_dataclass(kind):
        return build(kind, value, key + ".", home=home)
    if typing.get_origin(kind) is dict:
        name, cls = typing.get_args(kind)
        return {given: build(cls, entry, f"{key}.{given}.", home=home) for given, entry in _named(name, rule, value, key)}
    if typing.get_origin(kind) is not tuple:
        return check_value(hint, value, key)
    inner = typing.get_args(kind)[0]
    if not dataclasses.is_dataclass(inner):
        return _several(inner, rule, value, key)
    items = []
    for given, entry in _named(hints(inner)["name"], rule, value, key):
        if is_group(entry):
            if "name" in entry:
                raise ConfigError(f"unknown configuration key '{key}.{given}.name': the group {given!r} is named by its key.")
            entry = {"name": given, **{field: _entry(entry, field, f"{key}.{given}.") for field in entry}}
        items.append(build(inner, entry, f"{key}.{given}.", home=home))
    return tuple(items)


def _named(hint, length, value, key):
    """(name, entry) of a group of groups, its names checked."""
    if not is_group(value):
        raise ConfigError(f"{key}: expected names, each with a group of keys, found {found(value)}.")
    if not length.low <= len(value) <= length.high:
        raise ConfigError(f"{key}: expected {length.low} to {length.high} of them, found {len(value)}.")
    return [(check_value(hint, name, f"the name {found(name)} in {key}"), entry) for name, entry in value.items()]


def _several(hint, length, value, key):
    kind, rule = split(hint)
    expected = length.expects(rule.expects(kind))
    if not isinstance(value, tuple | list):
        raise ConfigError(f"{key}: expected {expected}, found {found(value)}.")
    items = tuple(check_value(hint, item, key, expected) for item in value[: length.high + 1])
    if not length.allows(items):
        raise ConfigError(f"{key}: expected {expected}, found {len(value)} ({found(value)}).")
    return items


def check_value(hint, value, key: str, expected: str | None = None):
    """One bool, int, float or str; a NumPy scalar becomes the plain one.

    Args:
      hint: the annotated type.
      value: from outside.
      key: for the message.
      expected: for the message; by default what the rule of the type says.

    Raises:
      ConfigError: another type, or outside the range.
    """
    kind, rule = split(hint)
    given = value
    value = value.item() if isinstance(value, np.generic) else value
    number = kind is float and type(value) is int
    if (type(value) is kind or number) and (rule is None or rule.allows(value)):
        return float(value) if number else value
    if expected is None:
        expected = rule.expects(kind) if rule else "True or False"
    remark = rule.remark(value) if rule and (type(value) is kind or number) else ""
    raise ConfigError(f"{key}: expected {expected}, found {found(given)}{remark}{'' if remark.endswith('?') else '.'}")
