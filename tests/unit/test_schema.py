import pytest

from configs import pastis, treesat
from omnisat_jax import schema
from tests.conftest import tiny


@pytest.mark.parametrize("preset", ["demo", "hd", "flanders"])
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
    assert (changed.pretrain.steps == 0) == (ablation == "no_pretrain")
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
    with pytest.raises(ValueError, match="demo, hd, flanders"):
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
        ("contrast.jitter", -0.1, "contrast.jitter and contrast.jitter_days must be 0 or more"),
        ("pretrain.batch_size", 0, "pretrain.batch_size must be positive"),
        ("finetune.parts", 3, "finetune.parts must be positive and divide finetune.batch_size 2"),
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
