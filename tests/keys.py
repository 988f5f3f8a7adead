"""Every key of the configuration: its value in the tiny configuration, its rule, and values that it may be given by mistake."""

import dataclasses
import json
import math
import typing

import numpy as np

from omnisat_jax.config import building, schema
from tests.conftest import tiny

FLAT = schema.flatten(schema.parse(tiny()))
# Values that a key may be given by mistake.
BAD = {
    "zero": 0, "negative": -1, "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "huge": 10**30, "1e30": 1e30, "beyond repr": 10**5000,
    "fraction": 0.5, "tiny": 1e-300, "text": "zero", "empty": "", "control": "a\x1b[31m\n", "surrogate": "\udcff", "path": "../x", "None": None,
    "list": [0], "empty list": [], "nested": [[[[]]]], "True": True, "group": {"a": 1}, "bytes": b"x", "array": np.zeros(3), "complex": 1j,
    "numpy": np.float32("nan"), "numpy int": np.int64(-5), "numpy bool": np.bool_(True),
}  # fmt: skip


def nested(flat):
    """Nested groups of keys, as in a ConfigDict."""
    values = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        group = values
        for name in path:
            group = group.setdefault(name, {})
        if len(path) < 2 or path[0] != "modalities" or last != "name":
            group[last] = value
    return values


def accepted(flat, *changed):
    """The parsed configuration, or None if it is refused in one sentence that names a changed key."""
    try:
        config = schema.parse(nested(flat))
    except schema.ConfigError as error:
        message = str(error)
        assert any(key in message for key in changed), message
        assert len(message) < 1000 and message.isprintable(), message
        return None
    for key, value in schema.flatten(config).items():
        for number in value if isinstance(value, list) else [value]:
            assert type(number) in (bool, int, str) or math.isfinite(number), (key, value)
    assert schema.flatten(schema.unflatten(json.loads(json.dumps(schema.flatten(config))))) == schema.flatten(config)
    return config


def leaves(cls=schema.ExperimentConfig, prefix=""):
    """(dotted key, type, rule) of every key; those of modalities once, of s2."""
    for key, hint in building.hints(cls).items():
        kind, rule = building.split(hint)
        inner = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
        if dataclasses.is_dataclass(inner):
            yield from leaves(inner, prefix + key + (".s2." if inner is not kind else "."))
        else:
            yield prefix + key, kind, rule


LEAVES = {key: (kind, rule) for key, kind, rule in leaves()}
