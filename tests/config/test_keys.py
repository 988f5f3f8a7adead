"""Every key of the configuration is checked: its type, its range, and the message that names it."""

import math
import re
import typing

import pytest
from hypothesis import given, settings, strategies as st

from omnisat_jax.config import building, schema
from omnisat_jax.config.rules import Choice, Day, Length, Range
from tests.conftest import ROOT, tiny
from tests.keys import BAD, FLAT, LEAVES, accepted, nested


def test_every_key_but_switches_has_a_rule():
    assert LEAVES.keys() == {key for key in FLAT if not key.startswith("modalities.") or key.startswith("modalities.s2.")}
    for key, (kind, rule) in LEAVES.items():
        assert (rule is None) == (kind is bool), key
        if kind in (int, float):
            assert isinstance(rule, Range) and math.isfinite(rule.low) and math.isfinite(rule.high), key
        if typing.get_origin(kind) is tuple:
            assert isinstance(rule, Length) and building.split(typing.get_args(kind)[0])[1], key


REFUSED = {"nan", "inf", "-inf", "huge", "1e30", "beyond repr", "None", "group", "array", "nested", "complex", "numpy", "bytes"}
REFUSED |= {"control", "surrogate"}


@pytest.mark.parametrize("key", [key for key in FLAT if not key.endswith(".name")])
def test_any_value_of_a_key_is_accepted_or_refused_in_one_sentence(key):
    kind, rule = LEAVES[re.sub(r"^modalities\.\w+", "modalities.s2", key)]
    for bad, value in BAD.items():
        config = accepted(FLAT | {key: value}, key)
        assert config is None or bad not in REFUSED, bad
        if bad in ("True", "numpy bool"):
            assert (config is not None) == (kind is bool)
        if bad == "text" and config is not None:
            assert kind is str
        if bad in ("negative", "numpy int"):
            assert config is None or rule.low < 0


@pytest.mark.parametrize(
    ("key", "kind", "rule"), [(k, kind, r) for k, (kind, r) in LEAVES.items() if isinstance(r, Range)]
)
def test_ranges_include_their_ends(key, kind, rule):
    def takes(value):
        return accepted_alone(key, value)

    step = 1 if kind is int else 1e-6
    for end, outside in ((rule.low, rule.low - step), (rule.high, rule.high * (1 + 1e-6) + step)):
        assert takes(kind(end)) == (end not in rule.excluding)
        assert not takes(kind(outside))
    assert not any(takes(kind(value)) for value in rule.excluding)


def accepted_alone(key, value):
    """Whether the value of one key is allowed, whatever the other keys are."""
    *path, last = key.replace("modalities.s2", "modalities").split(".")
    cls = schema.ExperimentConfig
    for part in path:
        kind = building.split(building.hints(cls)[part])[0]
        cls = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    try:
        return building.check_value(building.hints(cls)[last], value, key) == value
    except schema.ConfigError as error:
        assert str(error).startswith(f"{key}: expected ") and ", found " in str(error)
        return False


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_any_values_of_several_keys_are_accepted_or_refused_in_one_sentence(data):
    keys = data.draw(st.lists(st.sampled_from([k for k in FLAT if not k.endswith(".name")]), min_size=1, max_size=6, unique=True))
    value = st.one_of(
        st.integers(-3, 70), st.integers(), st.floats(), st.text(max_size=8), st.booleans(), st.none(), st.sampled_from(list(BAD.values())),
        st.lists(st.integers(-1, 40), max_size=5), st.sampled_from([value for value in FLAT.values()]),
    )  # fmt: skip
    flat = FLAT | {key: data.draw(value, label=key) for key in keys}
    # A constraint may name the other key first.
    accepted(flat, *keys)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", "zero", "seed: expected a whole number from 0 to 4294967295, found 'zero'."),
        ("finetune.learning_rate", math.nan, "finetune.learning_rate: expected a number above 0 and up to 10, found nan."),
        ("finetune.learning_rate", 1e-300, "finetune.learning_rate: expected a number above 0 and up to 10, found 1e-300 (0 in float32)."),
        ("model.head.dropout", 1 - 1e-9, "model.head.dropout: expected a number from 0 to below 1 (probability), found 0.999999999 (1 in float32)."),
        ("finetune.clip", 0.0, "finetune.clip: expected a number from 0.001 to 1000000 (gradient norm), found 0.0."),
        ("mesh.data", 0, "mesh.data: expected a whole number from -1 to 1048576 except 0 (devices), found 0."),
        ("data.buffer", 10**9, "data.buffer: expected a whole number from 1 to 64 (batches), found 1000000000."),
        ("data.float16", 1, "data.float16: expected True or False, found 1."),
        ("data.origin", "2021-02-30", "data.origin: expected a day from 1900-01-01 to 2100-12-31 as YYYY-MM-DD or 'season' or 'year', found '2021-02-30', which is not a calendar day."),
        ("data.dataset", "pasits", "data.dataset: expected one of pastis, treesat, flair, tiles, found 'pasits'. Did you mean 'pastis'?"),
        ("model.resnet.widths", (), "model.resnet.widths: expected 2 to 8 entries, each a whole number from 1 to 4096 (channels), found 0 (())."),
        ("model.utae", 3, "model.utae: expected a group of keys, found 3."),
        ("model.width", {"a": 1}, "model.width: expected a whole number from 8 to 4096 (channels), found a group of keys."),
        ("contrastive.views", ("s2", "s2"), "contrastive.views: expected 0 to 10 entries, all different, each a name"),
    ],
)  # fmt: skip
def test_messages_name_the_key_what_is_expected_and_what_is_found(key, value, message):
    flat = {k: v for k, v in FLAT.items() if not k.startswith(key + ".")} | {key: value}
    with pytest.raises(schema.ConfigError, match=re.escape(message)):
        schema.parse(nested(flat))


@pytest.mark.parametrize(
    "day",
    ["2021-02-30", "never", "2018/09/01", "20180901", "2018-W35-6", "2018-9-1", "0001-01-01", "٢٠١٨-٠٩-٠١", "", "2018-09-01 "],
)
def test_days_that_do_not_exist_are_refused(day):
    with pytest.raises(schema.ConfigError, match="data.origin: expected a day"):
        schema.parse(tiny(**{"data.origin": day}))


@pytest.mark.parametrize("day", ["season", "year", "2018-09-01", "2020-02-29"])
def test_days_that_exist_are_accepted(day):
    assert schema.parse(tiny(**{"data.origin": day})).data.origin == day


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "", ".", "..", ".hidden", "-rf", "a\nb", "a\x1b[0m", "run[1]", "a*", " a", "a ", "x" * 129]
)
def test_names_that_are_not_folder_names_are_refused(name):
    with pytest.raises(schema.ConfigError, match="^name: expected a name of 1 to 128"):
        schema.parse(tiny(name=name))


@pytest.mark.parametrize("name", ["a", "pastis_demo", "my run", "Köln-2024.1", "x" * 128])
def test_other_names_are_accepted(name):
    assert schema.parse(tiny(name=name)).name == name


def test_comments_beside_the_defaults_name_every_choice():
    prefixes = {
        "base": ("",),
        "_data": ("data.",),
        "_model": ("model.",),
        "stage": ("pretrain.", "finetune."),
        "modality": ("modalities.s2.",),
    }
    named, prefix = set(), ()
    for line in (ROOT / "configs" / "base.py").read_text().splitlines():
        if line.startswith("def "):
            prefix = prefixes.get(line[4 : line.index("(")], ())
        assignment = re.match(r"    \w\.([\w.]+) = .*?(#.*)?$", line)
        for key in [start + assignment[1] for start in prefix] if assignment else []:
            rule = LEAVES.get(key, (None, None))[1]
            if isinstance(rule, Choice | Day):
                comment = assignment[2] or ""
                assert not [word for word in getattr(rule, "among", None) or rule.words if word not in comment], key
                named.add(key)
    assert named == {
        key for key, (_, rule) in LEAVES.items() if isinstance(rule, Choice | Day)
    }
