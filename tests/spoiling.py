"""Mutates one entry of a JSON structure with values drawn by hypothesis."""

import copy
import functools
import math

from hypothesis import strategies as st

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([10**9, -(10**9), 2**64, 10**400, 1e308, math.nan, math.inf, -0.0]),
    st.text(max_size=4), st.sampled_from(["\ud800", "s2", "../x", "\x1b[1m"]), st.floats(),
)  # fmt: skip
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)


def places(value, path=()):
    """The path of every entry of nested lists and objects."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield from ([path] if path else [])
    for key, entry in inside:
        yield from places(entry, (*path, key))


def spoil(data, value):
    """A copy of `value` with one entry replaced, removed or added."""
    value = copy.deepcopy(value)
    *above, last = data.draw(st.sampled_from(list(places(value))))
    parent = functools.reduce(lambda entry, key: entry[key], above, value)
    how = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if how == "replace":
        parent[last] = data.draw(VALUES)
    elif how == "remove":
        del parent[last]
    elif isinstance(parent, dict):
        parent[data.draw(st.text(max_size=4) | st.just(f"{last}.x"))] = data.draw(VALUES)
    else:
        parent.insert(last, data.draw(VALUES))
    return value
