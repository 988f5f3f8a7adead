"""Building of checked dataclasses from configuration values.

The fields of the dataclasses are annotated with the rules of `config.rules`.
"""

import dataclasses
import functools
import typing
from typing import Any

import numpy as np

from omnisat_jax.config.rules import ConfigError, Length, found, is_group, nearest
from omnisat_jax.errors import printable, reason

T = typing.TypeVar("T")


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Returns {key: annotation} of a configuration dataclass."""
    return typing.get_type_hints(cls, include_extras=True)


def split(hint: Any) -> tuple[Any, Any]:
    """Returns the type and the rule of an annotation. The rule is None if there is none."""
    return typing.get_args(hint)[:2] if typing.get_origin(hint) is typing.Annotated else (hint, None)


def build(cls: type[T], values: Any, prefix: str = "", *, source: str = "configs/base.py") -> T:
    """Builds a configuration dataclass after checking every value.

    Args:
      cls: the dataclass; its fields are annotated with `Range`, `Choice` and so on.
      values: a dict or ConfigDict with exactly the keys of the dataclass.
      prefix: precedes the keys in messages, for example "model.utae.".
      source: the file that lists all keys, for messages.

    Returns:
      The dataclass. Groups are dataclasses as well, and sequences are tuples.

    Raises:
      ConfigError: a key is unknown or missing, or a value has the wrong type or is not allowed. The message names the full key.
    """
    if not is_group(values):
        raise ConfigError(f"{prefix[:-1] or 'the configuration'}: expected a group of keys, found {found(values)}.")
    values, known = {key: _entry(values, key, prefix) for key in values}, hints(cls)
    for key in values:
        if not isinstance(key, str):
            raise ConfigError(f"{prefix[:-1] or 'the configuration'}: expected keys that are strings, found {found(key)}.")
        if key not in known:
            raise ConfigError(f"unknown configuration key {printable(prefix + key)!r}.{nearest(key[:100], list(known))}")
    missing = [prefix + key for key in known if key not in values]
    if missing:
        raise ConfigError(f"missing configuration keys: {', '.join(missing)}; {source} lists all keys")
    return cls(**{key: _value(hint, values[key], prefix + key, source) for key, hint in known.items()})


def _entry(values, key, prefix):
    try:
        return values[key]
    except Exception as error:  # ConfigDict raises its own exceptions for references without a value
        raise ConfigError(f"{prefix}{printable(str(key))}: expected a value, found none ({reason(error)}).") from error


def _value(hint, value, key, source):
    kind, rule = split(hint)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return build(kind, value, key + ".", source=source)
    if typing.get_origin(kind) is dict:
        name, cls = typing.get_args(kind)
        return {given: build(cls, entry, f"{key}.{given}.", source=source) for given, entry in _named(name, rule, value, key)}
    if typing.get_origin(kind) is not tuple:
        return check_value(hint, value, key)
    inner = typing.get_args(kind)[0]
    if not (isinstance(inner, type) and dataclasses.is_dataclass(inner)):
        return _several(inner, rule, value, key)
    items = []
    for given, entry in _named(hints(inner)["name"], rule, value, key):
        if is_group(entry):
            if "name" in entry:
                raise ConfigError(f"unknown configuration key '{key}.{given}.name': the key {given!r} is the name of the group.")
            entry = {"name": given, **{field: _entry(entry, field, f"{key}.{given}.") for field in entry}}
        items.append(build(inner, entry, f"{key}.{given}.", source=source))
    return tuple(items)


def _named(hint, length: Length, value, key: str) -> list[tuple[Any, Any]]:
    """The (name, entry) pairs of a group of groups, with checked names."""
    if not is_group(value):
        raise ConfigError(f"{key}: expected names, each with a group of keys, found {found(value)}.")
    if not length.low <= len(value) <= length.high:
        raise ConfigError(f"{key}: expected {length.low} to {length.high} of them, found {len(value)}.")
    return [(check_value(hint, name, f"the name {found(name)} in {key}"), entry) for name, entry in value.items()]


def _several(hint, length: Length, value, key: str) -> tuple:
    kind, rule = split(hint)
    expected = length.expects(rule.expects(kind))
    if not isinstance(value, tuple | list):
        raise ConfigError(f"{key}: expected {expected}, found {found(value)}.")
    items = tuple(check_value(hint, item, key, expected) for item in value[: length.high + 1])
    if not length.allows(items):
        raise ConfigError(f"{key}: expected {expected}, found {len(value)} ({found(value)}).")
    return items


def check_value(hint: Any, value: Any, key: str, expected: str | None = None) -> Any:
    """Checks a bool, int, float or str.

    Args:
      hint: the annotated type.
      value: the value to check.
      key: the full key, for messages.
      expected: description of the allowed values, for messages; None takes that of the rule.

    Returns:
      The value as a plain Python object, also of a NumPy scalar.

    Raises:
      ConfigError: the value has another type or is not allowed.
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
