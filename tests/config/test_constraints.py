"""Values that fit together; constraints of single architectures and stages. Others are in test_schema.py."""

import pytest

from omnisat_jax.config import schema
from omnisat_jax.config.constraints import need
from tests.conftest import tiny

NO_PRETRAINING = {"pretrain.steps": 0}


def changed(remove=(), **changes):
    values = tiny(**changes).to_dict()
    for name in remove:
        del values["modalities"][name]
    return values


@pytest.mark.parametrize(
    ("remove", "changes", "message"),
    [
        ((), {"model.width": 18}, "model.width must be divisible by 4, found 18"),
        ((), {"model.ltae.width": 18}, r"model.ltae.width must be divisible by 2 \* model.ltae.heads, found 18 and 2"),
        ((), {"model.vit.heads": 3}, "model.vit.heads must divide model.width 16, found 3"),
        ((), {"contrastive.views": ("s2", "s3")}, "contrastive.views must name configured modalities, found s3. Did you mean 's2'"),
        ((), {"contrastive.group_size": 3}, "pretrain.batch_size 2 must be a multiple of contrastive.group_size 3"),
        ((), {"pretrain_from": "runs/x", "pretrain.steps": 0}, "pretrain_from names a run, but pretrain.steps is 0, so nothing"),
        ((), {"finetune.encoder_rate": 0.5, **NO_PRETRAINING}, "finetune.encoder_rate slows .* set it to 1, found 0.5"),
        ((), {"contrastive.weight": 0.0}, "contrastive.weight and reconstruction.weight are 0"),
        ((), {"data.protocol": "tile_f1"}, "data.protocol 'tile_f1' scores labels of tiles: set task to 'classify'"),
        (("spot", "location"), {"model.architecture": "early"}, "'early' has no pre-training: set pretrain.steps to 0, found 4"),
        ((), {"model.architecture": "late", **NO_PRETRAINING}, "'late' takes series only, found .*spot"),
        (("location",), {"model.architecture": "published"}, "'published' has no dense head: set task to 'classify'"),
    ],
)
def test_values_that_do_not_fit_together_name_their_keys(remove, changes, message):
    with pytest.raises(schema.ConfigError, match=message):
        schema.parse(changed([name for name in remove if name in tiny().modalities], **changes))


def test_a_location_alone_is_not_enough():
    values = tiny().to_dict()
    values["modalities"] = {"location": values["modalities"]["spot"] | {"kind": "location", "channels": 2, "encoder": "location"}}
    with pytest.raises(schema.ConfigError, match="modalities: expected at least one sensor besides the location, found none"):
        schema.parse(values)


def test_constraints_of_skipped_pretraining_do_not_apply():
    schema.parse(changed(**{"contrastive.weight": 0.0, "pretrain.steps": 0}))
    schema.parse(changed(**{"contrastive.granularities": ("tile",), "pretrain.batch_size": 1, "pretrain.steps": 0}))


def test_only_finetuning_has_a_rate_of_encoders():
    values = changed(**{"finetune.encoder_rate": 0.0})
    assert schema.parse(values).finetune.encoder_rate == 0
    values["pretrain"]["encoder_rate"] = 0.0
    with pytest.raises(schema.ConfigError, match="unknown configuration key 'pretrain.encoder_rate'"):
        schema.parse(values)


def test_need_raises_with_its_message():
    need(1, "not raised")
    with pytest.raises(schema.ConfigError, match="^raised$"):
        need([], "raised")
