"""Dataclasses are built from checked values, with the full key in every message."""

import dataclasses
import re
from typing import Annotated

import numpy as np
import pytest

from omnisat_jax.config.building import build, check_value, hints, split
from omnisat_jax.config.rules import NAME, Choice, ConfigError, Length, Range


@dataclasses.dataclass(frozen=True)
class Item:
    name: Annotated[str, NAME]
    size: Annotated[int, Range(1, 9)]


@dataclasses.dataclass(frozen=True)
class Inner:
    share: Annotated[float, Range(0, 1)]


@dataclasses.dataclass(frozen=True)
class Outer:
    flag: bool
    inner: Inner
    words: Annotated[tuple[Annotated[str, Choice(("a", "b"))], ...], Length(0, 2, distinct=True)]
    items: Annotated[tuple[Item, ...], Length(1, 2)]
    named: Annotated[dict[Annotated[str, NAME], Inner], Length(0, 2)]


VALUES = {
    "flag": True,
    "inner": {"share": 1},
    "words": ["a"],
    "items": {"x": {"size": np.int64(3)}},
    "named": {"first": {"share": np.float32(0.5)}},
}


def test_groups_become_dataclasses():
    found = build(Outer, VALUES)
    assert found == Outer(True, Inner(1.0), ("a",), (Item("x", 3),), {"first": Inner(0.5)})
    assert type(found.inner.share) is float and type(found.items[0].size) is int


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flag": 1}, "o.flag: expected True or False, found 1."),
        ({"flagg": True}, "unknown configuration key 'o.flagg'. Did you mean 'flag'?"),
        ({3: True}, "o: expected keys that are strings, found 3."),
        ({"inner": 3}, "o.inner: expected a group of keys, found 3."),
        ({"inner": {}}, "missing configuration keys: o.inner.share; x.py lists all keys"),
        ({"inner": {"share": True}}, "o.inner.share: expected a number from 0 to 1, found True."),
        ({"words": "a"}, "o.words: expected 0 to 2 entries, all different, each one of a, b, found 'a'."),
        ({"words": ["a", "a"]}, "o.words: expected 0 to 2 entries, all different, each one of a, b, found 2 (['a', 'a'])."),
        ({"words": ["c"]}, "o.words: expected 0 to 2 entries, all different, each one of a, b, found 'c'."),
        ({"items": {}}, "o.items: expected 1 to 2 of them, found 0."),
        ({"items": {"/": {"size": 1}}}, "the name '/' in o.items: expected a name of 1 to 128"),
        ({"items": {"x": {"size": 1, "name": "y"}}}, "unknown configuration key 'o.items.x.name': the key 'x' is the name of the group."),
        ({"items": {"x": 1}}, "o.items.x: expected a group of keys, found 1."),
        ({"named": {"x": {"share": 2}}}, "o.named.x.share: expected a number from 0 to 1, found 2."),
        ({"named": 1}, "o.named: expected names, each with a group of keys, found 1."),
    ],
)
def test_messages_have_the_full_key(changes, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        build(Outer, VALUES | changes, "o.", source="x.py")


@pytest.mark.parametrize("values", [None, 3, [], "x"])
def test_only_groups_are_built(values):
    with pytest.raises(ConfigError, match="^the configuration: expected a group of keys"):
        build(Outer, values)


def test_single_values_are_checked():
    assert check_value(Annotated[float, Range(0, 5)], 3, "k") == 3.0 and check_value(bool, np.bool_(True), "k") is True
    with pytest.raises(ConfigError, match="^k: expected something else, found 6[.]$"):
        check_value(Annotated[int, Range(0, 5)], 6, "k", "something else")


def test_annotations_have_types_and_rules():
    assert split(hints(Item)["size"]) == (int, Range(1, 9)) and split(bool) == (bool, None)
