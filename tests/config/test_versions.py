"""Configurations of earlier versions are read with the present keys and values."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st

from omnisat_jax.config import schema, versions
from tests.keys import BAD, FLAT

OLD_NAMES = {new: old for old, new in versions.RENAMED.items()}


def spelled(**values):
    """FLAT with the names and spellings of earlier versions."""
    old = {}
    for key, value in FLAT.items():
        key = OLD_NAMES.get(key, re.sub("^contrastive[.]", "contrast.", key))
        old[key] = "+".join(value) if key == "contrast.granularity" else "global" if key == "contrast.scope" else value
    return old | values


def test_present_configurations_are_unchanged():
    assert versions.upgrade(FLAT) == FLAT and versions.upgrade({}) == versions.ADDED


def test_names_and_spellings_of_earlier_versions_are_read():
    old = spelled()
    assert "contrast.weight" in old and "model.assembly" in old and "pretrain.parts" in old and "contrastive.weight" not in old
    assert schema.flatten(schema.unflatten(old)) == FLAT
    found = schema.unflatten(spelled(**{"contrast.granularity": "patch+tile", "contrast.scope": "group:2", "finetune.parts": 2}))
    assert found.contrastive.granularities == ("patch", "tile")
    assert (found.contrastive.group_size, found.finetune.num_microbatches) == (2, 2)
    assert [schema.unflatten(spelled(**{"model.head.unimodal": value})).model.head.unimodal for value in (True, False)] == ["sum", "none"]


def test_keys_that_were_added_are_keys_of_the_configuration():
    assert not [key for key in versions.ADDED if key not in FLAT]
    old = {key: value for key, value in FLAT.items() if key not in versions.ADDED}
    assert schema.flatten(schema.unflatten(old)) == FLAT | versions.ADDED


def test_keys_of_later_versions_get_the_earlier_behaviour(monkeypatch):
    old = {key: value for key, value in FLAT.items() if key != "contrastive.roll" and not key.endswith(".dates_eval")}
    with pytest.raises(schema.ConfigError, match="missing configuration keys"):
        schema.unflatten(old)
    monkeypatch.setattr(versions, "ADDED", {"contrastive.roll": False, "modalities.*.dates_eval": 0})
    assert schema.unflatten(old).contrastive.roll is False
    assert {spec.dates_eval for spec in schema.unflatten(old).modalities} == {0}
    assert versions.upgrade(FLAT) == FLAT


@pytest.mark.parametrize("value", ["", "group", "group:", "group:-2", "group:1e3", "group:123456", "group:٣", "Global", "global ", "group:2\n", 2.5, None, [2]])
def test_other_group_sizes_are_refused_by_key(value):
    with pytest.raises(schema.ConfigError, match="contrastive.group_size: expected a whole number from 0 to 99999"):
        schema.unflatten(spelled(**{"contrast.scope": value}))


@pytest.mark.parametrize("value", ["", "+", "patch+", "patch+patch", "patch+tile+pixel+patch", "pitch", "patch tile", 3, None, {}])
def test_other_granularities_are_refused_by_key(value):
    with pytest.raises(schema.ConfigError, match="contrastive.granularities|contrast.granularity"):
        schema.unflatten(spelled(**{"contrast.granularity": value}))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("old", "new"), [*versions.RENAMED.items(), ("contrast.weight", "contrastive.weight")])
def test_a_key_under_both_of_its_names_is_refused(old, new, order):
    pairs = [*FLAT.items(), (old, FLAT[new])][::order]
    with pytest.raises(schema.ConfigError, match=f"^{re.escape(new)}: expected the key under one name"):
        versions.upgrade(dict(pairs))


def test_keys_that_only_resemble_earlier_ones_are_unchanged():
    flat = {"contrasts.weight": 1, "model.assembly.x": 1, "x.contrast.weight": 1, 3: 1, None: 2, ("contrast.weight",): 3}
    assert versions.upgrade(flat) == flat | versions.ADDED


KEYS = st.sampled_from([*FLAT, *versions.RENAMED, "contrast.weight", "contrast", "contrast.", ".", ""]) | st.text(max_size=5) | st.integers()
VALUES = st.sampled_from([*[value for value in BAD.values() if not isinstance(value, np.ndarray)], "global", "group:3", "patch+tile", math.nan])


@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_any_flat_configuration_is_upgraded_or_refused_in_one_sentence(flat):
    try:
        found = versions.upgrade(flat)
    except schema.ConfigError as error:
        assert "\n" not in str(error)
    else:
        names = {versions.RENAMED.get(key, key) for key in flat}
        assert len(found) == len(names | versions.ADDED.keys())
