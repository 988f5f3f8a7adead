"""JSON files: duplicate keys, values beyond the types of Python, and messages that name the key."""

import json
import math

import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.files.json_file import Value, parse_json, read_json


@pytest.mark.parametrize("value", [10**400, -(10**400), math.nan, math.inf, True, "1", None])
def test_only_finite_numbers_are_numbers(value):
    with pytest.raises(DataError, match="a finite number"):
        Value(value, "x.json").number()
    assert Value(10**300, "x.json").number() == 1e300


def test_many_entries_are_compared_in_one_pass():
    """Ten thousand times ten thousand comparisons would take minutes."""
    names = [str(index) for index in range(200_000)]
    assert Value(names, "x.json").unique(names) == names
    with pytest.raises(DataError, match="17 more than once"):
        Value(names, "x.json").unique([*names, "17"])
    text = "{" + ",".join(f"{json.dumps(name)}:0" for name in [*names, "199999"]) + "}"
    with pytest.raises(DataError, match="'199999' more than once"):
        parse_json(text.encode(), "x.json", what="a file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSON, found 0 bytes that are not valid JSON"),
        (b'{"a": 1', "not valid JSON"),
        (b"\xff\xfe{}", "text in UTF-8"),
        (b"[" * 100_000, "lists or objects nested too deeply"),
        (b'{"a": 1, "a": 2}', "key 'a' more than once"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=f"a.json: expected a file.*{message}"):
        read_json(tmp_path / "a.json", what="a file")


def test_large_files_are_not_read(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="a file of at most 5 bytes, found 6 bytes"):
        read_json(tmp_path / "a.json", what="a file", largest=5)


TREE = Value({"a": {"b": [1, "x", None, True]}, "n": None}, "x.json", tile="7")


def test_one_entry_is_read_without_touching_the_others(monkeypatch):
    made, init = [], Value.__init__
    large = Value({str(number): number for number in range(1000)}, "x.json")
    monkeypatch.setattr(Value, "__init__", lambda self, *arguments: made.append(1) or init(self, *arguments))
    assert large.get("7").integer(0, 9) == 7 and large.find("8").key == "8" and large.find("no", 3).value == 3
    assert len(made) == 3


def test_values_know_their_keys():
    entries = TREE.get("a").get("b").list()
    assert [entry.key for entry in entries] == ["a.b[0]", "a.b[1]", "a.b[2]", "a.b[3]"]
    assert (entries[0].integer(0, 1), entries[1].choice(("x", "y")), entries[3].boolean()) == (1, "x", True)
    assert TREE.find("n", 5).value == 5 == TREE.find("none", 5).value and list(TREE.items()) == ["a", "n"]


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda v: v.get("c"), "expected a key 'c', found only a, n"),
        (lambda v: v.get("a").get("b").items(), r"a.b: an object, found a list of length 4"),
        (lambda v: v.get("a").list(), "a: a list, found an object of length 1"),
        (lambda v: v.get("a").get("b").list(3), "a.b: a list of length 3, found a list of length 4"),
        (lambda v: v.get("a").get("b").list()[0].choice(("x",)), r"a.b\[0\]: one of x, found 1"),
        (lambda v: v.get("a").get("b").list()[0].integer(2, 3), r"a whole number from 2 to 3, found 1"),
        (lambda v: v.get("a").get("b").list()[3].integer(0, 3), "a whole number from 0 to 3, found True"),
        (lambda v: v.get("a").get("b").list()[0].boolean(), "true or false, found 1"),
        (lambda v: v.get("a").get("b").list()[2].text(), "a.b.2.: a string: printable text"),
        (lambda v: v.get("a").name(), "a: a name, found an object"),
    ],
)
def test_wrong_values_name_file_and_key(attempt, message):
    with pytest.raises(DataError, match=f"tile 7: x.json: .*{message}"):
        attempt(TREE)
