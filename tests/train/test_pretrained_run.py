"""What of the configuration of a pre-trained run must be as in the run that takes its parameters."""

import json

import pytest

from configs import pastis
from omnisat_jax.config import schema
from omnisat_jax.config.registry import ENCODERS, EncoderInfo
from omnisat_jax.errors import UserError
from omnisat_jax.train.pretrained_run import need_same_encoders

NAMES = ("s1a", "s1d", "s2", "spot")


def flat(preset="demo", **changes):
    config = pastis.get_config(preset)
    config.update_from_flattened_dict(changes)
    return schema.flatten(schema.parse(config))


@pytest.fixture
def other(tmp_path):
    """Writes the configuration of the run that was pre-trained; returns its folder."""

    def write(values):
        (tmp_path / "config.json").write_text(json.dumps(values))
        return tmp_path

    return write


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3, "finetune.steps": 5, "pretrain.ema_decay": 0.5, "contrastive.temperature": 0.3},
        {"model.head.width": 8, "model.projection.width": 8, "model.remat": True, "model.temporal_first.dropout": 0.4, "model.fusion.attention": "xla"},
        {"model.utae.encoder_widths": (8, 8), "model.vit.depth": 1, "model.ltae.period": 99.0},  # of encoders that neither run has
        {"modalities.s2.dates_train": 3},
    ],
)
def test_what_taken_parameters_do_not_depend_on_may_differ(other, changes):
    need_same_encoders(other(flat()), flat(**changes), NAMES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.fusion.heads": 2}, "model.fusion.heads: 4 there, 2 here"),
        ({"model.norm": "pixel"}, "model.norm: 'image' there, 'pixel' here"),
        ({"model.temporal_first.days": 100.0}, "model.temporal_first.days"),
        ({"model.utae.border": "zeros"}, "model.utae.border"),  # temporal_first pads by it as well
        ({"modalities.s2.encoder": "utae"}, "modalities.s2.encoder: 'temporal_first' there, 'utae' here"),
        ({"modalities.spot.encoder": "vit"}, "modalities.spot.encoder"),
        ({"data.origin": "2018-01-01"}, "data.origin"),
        ({"model.resnet.texture_radius": 3}, "model.resnet.texture_radius"),
    ],
)
def test_what_they_depend_on_may_not(other, changes, message):
    with pytest.raises(UserError, match=f"(?s)pretrain_from: expected a run whose encoders.*{message}") as raised:
        need_same_encoders(other(flat()), flat(**changes), NAMES)
    assert "Set the values of that run" in str(raised.value)


def test_modalities_of_one_run_alone_are_not_compared(other):
    there = flat(**{"modalities.spot.encoder": "vit", "model.resnet.blocks": 3})
    need_same_encoders(other(there), flat("demo,no_spot"), ("s1a", "s1d", "s2"))
    need_same_encoders(other(flat("demo,no_spot")), flat(), NAMES)
    with pytest.raises(UserError, match="modalities.spot.encoder"):
        need_same_encoders(other(there), flat(), NAMES)


def test_a_shared_modality_is_needed(other):
    with pytest.raises(UserError, match="expected a run with one of the modalities spot, found s1a, s1d, s2 in"):
        need_same_encoders(other(flat("demo,no_spot")), flat(), ("spot",))


def test_a_run_of_an_earlier_version_is_read_by_its_keys(other):
    values = {key: value for key, value in flat().items() if key != "model.resnet.texture_radius"}  # which was 0 then
    with pytest.raises(UserError, match="model.resnet.texture_radius: 0 there, 2 here"):
        need_same_encoders(other(values), flat(), NAMES)
    need_same_encoders(other(values), flat(**{"model.resnet.texture_radius": 0}), NAMES)


def test_of_encoders_that_do_not_say_what_they_read_everything_is_compared(other, monkeypatch):
    monkeypatch.setitem(ENCODERS._entries, "resnet", EncoderInfo("image", dense_map=True))
    with pytest.raises(UserError, match="model.vit.depth"):
        need_same_encoders(other(flat()), flat(**{"model.vit.depth": 1}), NAMES)


def test_a_folder_without_configuration_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json.*pretrain_from must name the folder of a run"):
        need_same_encoders(tmp_path, flat(), NAMES)
