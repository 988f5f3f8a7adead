"""Numbers and keys of JSON from outside that Python's own types cannot hold, or that would take for ever."""

import json
import math

import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.files.json_file import Value, parse_json


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
