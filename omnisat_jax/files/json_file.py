"""Reading of JSON files. Duplicate keys are refused, and every value is checked for its type where it is used."""

import collections
import json
import math
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from omnisat_jax.errors import DataError, reason, system_reason
from omnisat_jax.files.paths import check_name, check_text, need_file
from omnisat_jax.types import StrPath

LARGEST = 2**29  # bytes of a JSON file
_TYPES = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


class Value:
    """A JSON value together with where it was found.

    The methods return the value as the requested type, or raise a `DataError` that names the file and the key.
    """

    def __init__(self, value: Any, path: StrPath, key: str = "", tile: str = "-", advice: str = ""):
        """Wraps a value.

        Args:
          value: the plain JSON value.
          path: the file.
          key: position of the value in the file, such as "modalities.s2.bands[0]".
          tile: ID of the tile, for messages.
          advice: what to do if the value is wrong, for messages.
        """
        self.value: Any = value
        self.path = path if isinstance(path, pathlib.Path) else pathlib.Path(path)  # a path would be parsed again for every entry of a file
        self.key, self.tile, self.advice = key, tile, advice

    def error(self, expected: str, found: str | None = None, advice: str = "") -> DataError:
        """Returns the error to raise if the value is not what is expected."""
        at = f"{self.key}: " if self.key else ""
        if found is None:
            kind = _TYPES.get(type(self.value), type(self.value).__name__)
            found = f"{kind} of length {len(self.value)}" if isinstance(self.value, dict | list) else repr(self.value)
        return DataError(tile=self.tile, path=self.path, expected=f"{at}{expected}", found=found, advice=advice or self.advice)

    def _child(self, value, key):
        return Value(value, self.path, key, self.tile, self.advice)

    def _entry(self, key, value):
        return self._child(value, f"{self.key}.{key}" if self.key else key)

    def _object(self):
        if not isinstance(self.value, dict):
            raise self.error("an object")
        return self.value

    def items(self) -> dict[str, "Value"]:
        """Returns the entries of an object."""
        return {key: self._entry(key, value) for key, value in self._object().items()}

    def get(self, key: str) -> "Value":
        """Returns a required entry of an object."""
        found = self._object()
        if key not in found:
            raise self.error(f"a key {key!r}", f"only {', '.join(list(found)[:8])}" if found else "an empty object")
        return self._entry(key, found[key])

    def find(self, key: str, default: Any = None) -> "Value":
        """Returns an entry of an object, or `default` if it is missing or null."""
        found = self._object().get(key)
        return self._entry(key, default if found is None else found)

    def list(self, length: int | None = None) -> "list[Value]":
        """Returns the entries of a list, which must have `length` of them unless that is None."""
        if not isinstance(self.value, list):
            raise self.error("a list")
        if length is not None and len(self.value) != length:
            raise self.error(f"a list of length {length}")
        return [self._child(value, f"{self.key}[{index}]") for index, value in enumerate(self.value)]

    def text(self, what: str = "a string") -> str:
        """Returns a string that is only displayed; see `check_text`."""
        return check_text(self.value, what=f"{self.key}: {what}", path=self.path, tile=self.tile)

    def name(self, what: str = "a name", *, number: bool = False) -> str:
        """Returns a string that may become part of a path; see `check_name`. If `number` is true, the value may be an integer."""
        if not isinstance(self.value, str) and not (number and type(self.value) is int):
            raise self.error(what)
        return check_name(self.value, what=f"{self.key}: {what}", path=self.path, tile=self.tile)

    def choice(self, options: Sequence[str]) -> str:
        """Returns a string that must be one of `options`."""
        if not isinstance(self.value, str) or self.value not in options:
            raise self.error(f"one of {', '.join(options)}")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """Returns an integer between `low` and `high`, both included."""
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.error(f"a whole number from {low} to {high}")
        return self.value

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """Returns a finite number between `low` and `high`, both included."""
        # JSON integers may be larger than the largest float.
        if type(self.value) not in (int, float) or not abs(self.value) <= sys.float_info.max or not low <= self.value <= high:
            limits = "" if (low, high) == (-math.inf, math.inf) else f" from {low:g} to {high:g}"
            raise self.error(f"a finite number{limits}")
        return float(self.value)

    def boolean(self) -> bool:
        """Returns a boolean."""
        if type(self.value) is not bool:
            raise self.error("true or false")
        return self.value

    def unique(self, values: Sequence) -> Sequence:
        """Returns `values`, which were read from this value, after checking that they are distinct."""
        twice = sorted(str(value) for value, count in collections.Counter(values).items() if count > 1)
        if twice:
            raise self.error("each value once", f"{', '.join(twice[:5])} more than once")
        return values


def read_json(
    path: StrPath, *, what: str, tile: str = "-", root: StrPath | None = None, advice: str = "", largest: int = LARGEST
) -> Value:
    """Reads a JSON file.

    Args:
      path: file in UTF-8, with or without a byte order mark.
      what: what the file is, for messages.
      tile: ID of the tile, for messages.
      root: see `need_file`.
      advice: what to do about a bad file or value, for messages.
      largest: size in bytes up to which the file is read.

    Raises:
      DataError: the file is missing, too large, not valid JSON, nested too deeply, or has a key twice in one object.
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


def parse_json(content: bytes, path: StrPath, *, what: str, tile: str = "-", advice: str = "") -> Value:
    """Parses the content of a JSON file.

    Args:
      content: the bytes of the file.
      path, what, tile, advice: see `read_json`.

    Raises:
      DataError: not valid JSON, nested too deeply, or a key twice in one object.
    """
    try:
        return Value(json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once), path, tile=tile, advice=advice)
    except UnicodeDecodeError as error:
        raise DataError(tile=tile, path=path, expected=f"{what}: text in UTF-8", found=reason(error), advice=advice) from error
    except RecursionError:
        raise DataError(tile=tile, path=path, expected=what, found="lists or objects nested too deeply", advice=advice) from None
    except ValueError as error:
        raise DataError(
            tile=tile, path=path, expected=f"{what}: JSON", found=f"{len(content):,} bytes that are not valid JSON ({reason(error)})",
            advice=advice or "The file is truncated or of another kind: restore it.",
        ) from error  # fmt: skip


def _once(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = collections.Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {twice!r} more than once in one object")
    return found
