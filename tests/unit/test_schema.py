import pytest

from configs import pastis, treesat
from omnisat_jax import schema
from tests.conftest import tiny


@pytest.mark.parametrize("preset", ["demo", "hd", "flanders"])
def test_pastis_presets_instantiate(preset):
    assert schema.parse(pastis.get_config(preset)).name == f"pastis_{preset}"


@pytest.mark.parametrize("preset", ["small", "full"])
def test_treesat_presets_instantiate(preset):
    assert schema.parse(treesat.get_config(preset)).task == "classify"


def test_unknown_preset_names_the_others():
    with pytest.raises(ValueError, match="demo, hd"):
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
        ("task", "segmnt", "task must be one of segment, classify"),
        ("contrast.scope", "group:1", "contrast.scope"),
        ("contrast.scope", "local", "contrast.scope"),
        ("pretrain.batch_size", 0, "pretrain.batch_size must be positive"),
        ("finetune.modality_dropout", 1.0, "finetune.modality_dropout"),
        ("modalities.s2.patch", 5, "same ground distance"),
        ("modalities.s2.encoder", "vit", "modalities.s2.encoder of a series"),
        ("model.fusion.heads", 5, "model.fusion.heads must divide"),
        ("data.fold", 0, "data.fold counts from 1"),
    ],
)
def test_impossible_values_are_refused(key, value, message):
    with pytest.raises(schema.ConfigError, match=message):
        schema.parse(tiny(**{key: value}))


def test_wrong_type_is_named():
    values = tiny().to_dict() | {"seed": "zero"}
    with pytest.raises(schema.ConfigError, match="seed must be int, found 'zero'"):
        schema.parse(values)


def test_flatten_names_every_value():
    flat = schema.flatten(schema.parse(tiny()))
    assert flat["modalities.s2.patch"] == 4 and flat["model.utae.encoder_widths"] == [8, 12]
