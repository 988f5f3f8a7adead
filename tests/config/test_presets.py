"""What a preset promises holds of the configuration that is run."""

import pytest

from configs import pastis
from omnisat_jax.config import presets
from omnisat_jax.config.rules import ConfigError


def changed(preset, **changes):
    config = pastis.get_config(preset)
    before = presets.budget_of(config)
    config.update_from_flattened_dict(changes)
    presets.need_kept(preset, before, config)


@pytest.mark.parametrize("preset", ["demo,equal_compute", "demo,no_pretrain", "utae", "s2_only"])
def test_a_preset_without_pre_training_is_given_none(preset):
    with pytest.raises(ConfigError, match=f"expected no change of pretrain.steps, as the preset {preset} does not pre-train, found 200; choose"):
        changed(preset, **{"pretrain.steps": 200})


@pytest.mark.parametrize("key", ["pretrain.batch_size", "finetune.steps", "finetune.batch_size"])
def test_equal_compute_stays_equal(key):
    with pytest.raises(ConfigError, match=f"as equal_compute of the preset hd,equal_compute has computed its own .* found {key}=3; for other steps leave"):
        changed("hd,equal_compute", **{key: 3})
    changed("hd,no_pretrain", **{key: 3})


def test_other_changes_are_free():
    changed("demo", **{"pretrain.steps": 200, "finetune.steps": 3})
    changed("demo", **{"pretrain.steps": 0})
    changed("demo,equal_compute", **{"finetune.learning_rate": 0.5, "pretrain.steps": 0})
    assert presets.budget_of(3) == presets.budget_of({"pretrain": None}) == {}
