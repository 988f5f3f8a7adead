"""Presets, constraints between keys, and flat configurations from files."""

import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from ml_collections import config_dict

from configs import pastis, treesat
from data.flair.reader import NOMENCLATURES
from data.reading.datasets import DATASETS
from omnisat_jax.config import schema
from omnisat_jax.config.rules import ConfigError
from omnisat_jax.modalities import RESERVED
from tests.conftest import tiny
from tests.keys import FLAT, LEAVES, nested


@pytest.mark.parametrize("preset", ["demo", "hd", "xl", "flanders"])
def test_pastis_presets_instantiate(preset):
    assert schema.parse(pastis.get_config(preset)).name == f"pastis_{preset}"


@pytest.mark.parametrize("ablation", pastis.ABLATIONS)
@pytest.mark.parametrize("size", pastis.SIZES)
def test_ablations_change_what_they_say(ablation, size):
    plain, changed = (schema.parse(pastis.get_config(preset)) for preset in (size, f"{size},{ablation}"))
    assert changed.name == f"pastis_{size}_{ablation}"
    names = {spec.name for spec in changed.modalities}
    gone = {"no_s1": {"s1a", "s1d"}, "no_spot": {"spot"}, "s2_only": {"s1a", "s1d", "spot"}}.get(ablation, set())
    assert names == {spec.name for spec in plain.modalities} - gone
    assert (changed.pretrain.steps == 0) == (ablation in ("no_pretrain", "equal_compute", "s2_only"))  # one sensor has nothing to be aligned with
    assert (changed.finetune.modality_dropout == 0) == (ablation == "no_dropout")


def test_ablations_join():
    config = pastis.get_config("no_pretrain,no_spot")
    assert config.name == "pastis_demo_no_pretrain_no_spot" and config.pretrain.steps == 0 and "spot" not in config.modalities
    with pytest.raises(ValueError, match="found 2 sizes and 0 rows: demo,hd"):
        pastis.get_config("demo,hd")


@pytest.mark.parametrize("preset", ["small", "full"])
def test_treesat_presets_instantiate(preset):
    assert schema.parse(treesat.get_config(preset)).task == "classify"


def test_unknown_preset_names_the_others():
    with pytest.raises(ValueError, match="demo, hd, xl, flanders"):
        pastis.get_config("demmo")


def test_unknown_key_names_the_nearest():
    config = tiny()
    config.finetune.unlock()
    config.finetune.learning_rat = 1.0
    with pytest.raises(schema.ConfigError, match="finetune.learning_rat.*Did you mean 'learning_rate'"):
        schema.parse(config)


def test_missing_key_is_named():
    config = tiny()
    del config.data.origin
    with pytest.raises(schema.ConfigError, match="data.origin"):
        schema.parse(config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("task", "segmnt", "task: expected one of segment, classify, found 'segmnt'. Did you mean 'segment'"),
        ("contrastive.group_size", 1, "contrastive.group_size"),
        ("contrastive.jitter", -0.1, "contrastive.jitter: expected a number from 0 to 2"),
        ("pretrain.batch_size", 0, "pretrain.batch_size: expected a whole number from 1 to 65536"),
        ("finetune.num_microbatches", 3, "finetune.num_microbatches must divide finetune.batch_size 2, found 3"),
        ("finetune.modality_dropout", 1.0, "finetune.modality_dropout"),
        ("modalities.s2.patch", 5, "same ground distance"),
        ("modalities.s2.encoder", "vit", "modalities.s2.encoder of a series"),
        ("model.fusion.heads", 5, "model.fusion.heads must divide"),
        ("data.fold", 0, "data.fold: expected a whole number from 1"),
    ],
)
def test_impossible_values_are_refused(key, value, message):
    with pytest.raises(schema.ConfigError, match=message):
        schema.parse(tiny(**{key: value}))


@pytest.mark.parametrize("name", [*sorted(RESERVED), "Labels", "2s", "s-2", "../x", "", "s2\n", "s" * 65, "sé", 2, None])
def test_names_of_modalities_are_checked(name):
    values = tiny().to_dict()
    values["modalities"][name] = values["modalities"].pop("s2")
    with pytest.raises(schema.ConfigError, match="in modalities: expected a name of 1 to 64 letters"):
        schema.parse(values)


@pytest.mark.parametrize("name", ["S2_L2A", "s2", "weights", "labels_2", "x" * 64])
def test_other_names_of_modalities_are_accepted(name):
    values = tiny().to_dict()
    values["modalities"][name] = values["modalities"].pop("s2")
    assert name in [spec.name for spec in schema.parse(values).modalities]


def test_names_of_modalities_differ_as_files():
    values = tiny().to_dict()
    values["modalities"]["S2"] = values["modalities"]["s2"]
    with pytest.raises(schema.ConfigError, match="modalities: expected names that differ .* found .*S2"):
        schema.parse(values)


def test_the_name_location_is_reserved():
    values = tiny().to_dict()
    values["modalities"]["location"] = values["modalities"].pop("s2")
    with pytest.raises(schema.ConfigError, match="modalities.location.kind must be 'location'"):
        schema.parse(values)


def test_the_number_of_modalities_is_limited():
    values = tiny().to_dict()
    values["modalities"] = {f"s{i}": values["modalities"]["s2"] for i in range(11)}
    with pytest.raises(schema.ConfigError, match="modalities: expected 1 to 10 of them, found 11"):
        schema.parse(values)


@pytest.mark.parametrize(
    "values",
    [
        None,
        3,
        [],
        "x",
        {1: 2},
        {"modalities": []},
        {**tiny().to_dict(), "modalities": {"s2": None}},
        {**tiny().to_dict(), "model": None},
    ],
)
def test_other_values_than_configurations_are_refused(values):
    with pytest.raises(schema.ConfigError):
        schema.parse(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrastive.temperature": 3.0, "contrastive.learned_temperature": True}, "contrastive.temperature: expected 0.01 to 1.0 if"),
        ({"contrastive.views": ("s2",), "contrastive.fused": False}, "contrastive.granularities 'patch': expected at least 2 views"),
        ({"contrastive.granularities": ("pixel",), "contrastive.views": ("s2", "s1a")}, "contrastive.granularities 'pixel': expected at least 2 modalities"),
        ({"contrastive.granularities": ("tile",), "pretrain.batch_size": 1}, "expected pretrain.batch_size of at least 2, found 1"),
        ({"contrastive.group_size": -1}, "contrastive.group_size: expected a whole number from 0 to 99999"),
        ({"contrastive.granularities": ("patch", "patch")}, "contrastive.granularities: expected 1 to 3 entries, all different"),
        ({"reconstruction.weight": 1.0, "reconstruction.mask_ratio": 0.0, "pretrain.modality_dropout": 0.0}, "nothing is hidden"),
        ({"model.fusion.attention": "cudnn", "model.precision": "float32"}, "model.fusion.attention 'cudnn' computes in bfloat16"),
        ({"data.nomenclature": "12"}, "data.nomenclature: expected '' for data.dataset 'pastis'"),
        ({"modalities.spot.patch": 1000, "modalities.spot.resolution": 0.04}, "modalities.spot.patch: expected patch \\* patch"),
        ({"model.utae.encoder_widths": (8, 8, 8)}, "must have the same length"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(schema.ConfigError, match=message):
        schema.parse(tiny(**changes))


def test_references_without_a_value_are_named():
    config = tiny()
    del config.seed
    config.seed = config_dict.required_placeholder(int)
    with pytest.raises(schema.ConfigError, match="^seed: expected a value, found none"):
        schema.parse(config)


def test_numpy_scalars_become_plain_values():
    flat = FLAT | {"seed": np.int64(3), "finetune.clip": np.float32(2), "data.float16": np.bool_(True), "name": np.str_("a")}
    found = schema.parse(nested(flat))
    assert [type(x) for x in (found.seed, found.finetune.clip, found.data.float16, found.name)] == [int, float, bool, str]
    assert (found.seed, found.finetune.clip, found.data.float16, found.name) == (3, 2.0, True, "a")


def test_datasets_and_nomenclatures_are_those_of_the_readers():
    assert LEAVES["data.dataset"][1].among == tuple(DATASETS)
    assert LEAVES["data.nomenclature"][1].among == ("", *NOMENCLATURES)


def test_flatten_names_every_value():
    flat = schema.flatten(schema.parse(tiny()))
    assert flat["modalities.s2.patch"] == 4 and flat["model.utae.encoder_widths"] == [8, 12]


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ([], "expected keys and values"),
        (None, "expected keys and values"),
        ("x", "expected keys and values"),
        ({1: 2}, "expected keys that are strings"),
        (FLAT | {"model": 1}, "model: expected a value or a group of keys, found both"),
        ({"model": 1, **FLAT}, "expected a value or a group of keys, found both"),
        (FLAT | {"seed.a": 1}, "seed.a: expected a value or a group of keys, found both"),
        (FLAT | {"seed": {"a": 1}}, "seed: expected a value, found a group"),
        (FLAT | {".".join("a" * 5000): 1}, "no key has more than 3 parts"),
        (FLAT | {"": 1}, "unknown configuration key ''"),
        (FLAT | {"..": 1}, "unknown configuration key"),
        (FLAT | {"modalities": 1}, "found both"),
        (FLAT | {"modalities.s2": 1}, "found both"),
        (FLAT | {"modalities.s2.name": "s3"}, "modalities.s2.name: expected 's2', found 's3'"),
        (FLAT | {"modalities.s9.name": "s9"}, "missing configuration keys: modalities.s9.kind"),
        (FLAT | {"modalities.a.b.kind": "image"}, "no key has more than 3 parts"),
        (FLAT | {"\x1b[2J": 1}, "unknown configuration key"),
        (FLAT | {"model.ltae.heads": 0}, "model.ltae.heads: expected a whole number"),
        (FLAT | {"model.ltae.heads": "1" * 10_000}, "model.ltae.heads: expected a whole number"),
    ],
)
def test_malformed_flat_configurations_are_refused(flat, message):
    with pytest.raises(schema.ConfigError, match=re.escape(message)) as caught:
        schema.unflatten(flat)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=5),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from([*FLAT, "model", "", "."]), x),
    )
)
@settings(deadline=None)
def test_random_flat_configurations_are_refused(flat):
    with pytest.raises(schema.ConfigError):
        schema.unflatten(flat)


def test_more_steps_of_fine_tuning_stand_in_for_pretraining():
    for size in ("demo", "hd"):
        with_it, without = (pastis.get_config(preset) for preset in (size, f"{size},equal_compute"))
        seen = with_it.pretrain.steps * with_it.pretrain.batch_size + with_it.finetune.steps * with_it.finetune.batch_size
        assert without.pretrain.steps == 0 and 0 <= without.finetune.steps * without.finetune.batch_size - seen < without.finetune.batch_size


@pytest.mark.parametrize("preset", ["no_pretrain,equal_compute", "equal_compute,no_pretrain", "utae,equal_compute", "hd,dual,equal_compute", "equal_compute,s2_only"])
def test_nothing_stands_in_for_a_pretraining_that_there_is_not(preset):
    with pytest.raises(ValueError, match="equal_compute: expected a preset with pre-training"):
        pastis.get_config(preset)


def test_a_single_sensor_has_nothing_to_be_aligned_with():
    assert pastis.get_config("s2_only").pretrain.steps == 0
    masked = schema.parse(pastis.get_config("s2_only,masked"))
    assert masked.pretrain.steps > 0 and masked.contrastive.weight == 0 and masked.reconstruction.weight == 1
    with pytest.raises(ConfigError, match="expected at least 2 views .modalities, and the fused one. to align, found 1"):
        schema.parse(tiny("s2_only", **{"pretrain.steps": 4, "contrastive.weight": 1.0}))
    assert schema.parse(tiny("satclip")).contrastive.views == ("location",)  # which fusion never sees
