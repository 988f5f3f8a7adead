"""JSON from outside: whole, of bounded depth, no key twice, every value checked for its type where it is used."""

import collections
import json
import math
import os
import pathlib
import sys
from collections.abc import Sequence

from omnisat_jax.errors import DataError, reason, system_reason
from omnisat_jax.files.paths import check_name, check_text, need_file

LARGEST = 2**29  # bytes of a JSON file
_TYPES = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


class Value:
    """A JSON value that knows where it was found. Its methods return what is asked for, or raise `DataError` with the file and the key."""

    def __init__(self, value, path, key: str = "", tile: str = "-", advice: str = ""):
        """key: of the value from the file's root, as "modalities.s2.bands[0]"; advice: what to do if it is wrong."""
        self.value, self.path, self.key, self.tile, self.advice = value, pathlib.Path(path), key, tile, advice

    def error(self, expected: str, found: str | None = None, advice: str = "") -> DataError:
        """What to raise where the value is not what is expected."""
        at = f"{self.key}: " if self.key else ""
        if found is None:
            kind = _TYPES.get(type(self.value), type(self.value).__name__)
            found = f"{kind} of {len(self.value)}" if isinstance(self.value, dict | list) else repr(self.value)
        return DataError(tile=self.tile, path=self.path, expected=f"{at}{expected}", found=found, advice=advice or self.advice)

    def _child(self, value, key):
        return Value(value, self.path, key, self.tile, self.advice)

    def items(self) -> dict[str, "Value"]:
        """The entries of an object."""
        if not isinstance(self.value, dict):
            raise self.error("an object")
        return {key: self._child(value, f"{self.key}.{key}" if self.key else key) for key, value in self.value.items()}

    def get(self, key: str) -> "Value":
        """An entry that must be there."""
        found = self.items()
        if key not in found:
            raise self.error(f"a key {key!r}", f"only {', '.join(list(found)[:8])}" if found else "an empty object")
        return found[key]

    def find(self, key: str, default=None) -> "Value":
        """An entry, or `default` where there is none or it is null."""
        found = self.items().get(key)
        return self._child(default, f"{self.key}.{key}" if self.key else key) if found is None or found.value is None else found

    def list(self, length: int | None = None) -> "list[Value]":
        """The entries of a list, of a given length if one is given."""
        if not isinstance(self.value, list):
            raise self.error("a list")
        if length is not None and len(self.value) != length:
            raise self.error(f"a list of {length}")
        return [self._child(value, f"{self.key}[{index}]") for index, value in enumerate(self.value)]

    def text(self, what: str = "a text") -> str:
        """A text that is only shown."""
        return check_text(self.value, what=f"{self.key}: {what}", path=self.path, tile=self.tile)

    def name(self, what: str = "a name") -> str:
        """A name that may become part of a path."""
        if isinstance(self.value, dict | list):
            raise self.error(what)
        return check_name(self.value, what=f"{self.key}: {what}", path=self.path, tile=self.tile)

    def choice(self, options: Sequence[str]) -> str:
        """One of several texts."""
        if not isinstance(self.value, str) or self.value not in options:
            raise self.error(f"one of {', '.join(options)}")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.error(f"a whole number from {low} to {high}")
        return self.value

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from `low` to `high`."""
        # Whole numbers of any length are JSON, and those beyond the largest float cannot become one.
        if type(self.value) not in (int, float) or not abs(self.value) <= sys.float_info.max or not low <= self.value <= high:
            limits = "" if (low, high) == (-math.inf, math.inf) else f" from {low:g} to {high:g}"
            raise self.error(f"a finite number{limits}")
        return float(self.value)

    def boolean(self) -> bool:
        """true or false."""
        if type(self.value) is not bool:
            raise self.error("true or false")
        return self.value

    def unique(self, values: Sequence) -> Sequence:
        """`values`, which were read from this one, shown to differ from each other."""
        twice = sorted(str(value) for value, count in collections.Counter(values).items() if count > 1)
        if twice:
            raise self.error("each value once", f"{', '.join(twice[:5])} more than once")
        return values


def read_json(path, *, what: str, tile: str = "-", root=None, advice: str = "", largest: int = LARGEST) -> Value:
    """A JSON file as a `Value`.

    Args:
      path: file in UTF-8, with or without a byte order mark.
      what: it is, for messages.
      root: see `need_file`.
      largest: bytes that are read.

    Raises:
      DataError: missing, truncated, too large, too deep, a key twice, or no JSON.
    """
    path = need_file(path, what=what, tile=tile, root=root, advice=advice or "Restore it from the archive.")
    size = os.path.getsize(path)
    if size > largest:
        raise DataError(tile=tile, path=path, expected=f"{what} of at most {largest:,} bytes", found=f"{size:,} bytes")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(tile=tile, path=path, expected=what, found=system_reason(error), advice=advice) from error
    return parse_json(content, path, what=what, tile=tile, advice=advice)


def parse_json(content: bytes, path, *, what: str, tile: str = "-", advice: str = "") -> Value:
    """JSON that was read from a file as a `Value`.

    Raises:
      DataError: truncated, too deep, a key twice, or no JSON.
    """
    try:
        return Value(json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once), path, tile=tile, advice=advice)
    except UnicodeDecodeError as error:
        raise DataError(tile=tile, path=path, expected=f"{what}: text in UTF-8", found=reason(error), advice=advice) from error
    except RecursionError:
        raise DataError(tile=tile, path=path, expected=what, found="lists or objects nested too deeply", advice=advice) from None
    except ValueError as error:
        raise DataError(
            tile=tile, path=path, expected=f"{what}: JSON", found=f"{len(content):,} bytes that are none ({reason(error)})",
            advice=advice or "The file is truncated or of another kind: restore it.",
        ) from error  # fmt: skip


def _once(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = collections.Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {twice!r} more than once in one object")
    return found
