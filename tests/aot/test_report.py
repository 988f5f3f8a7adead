"""The report of a compiled step: from the trainer that trains, and bounds that follow from its numbers."""

import dataclasses
import types

import jax
import pytest

from omnisat_jax.aot import report
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.parallel.chips import CHIPS
from tests.conftest import tiny
from tests.train.toy import one_device

GIB = 2**30


def config():
    return schema.parse(tiny("omnisat_resnet,no_spot", **{"model.precision": "float32"}))


def test_the_trainer_is_that_of_a_run_on_nominal_tiles():
    trainer, facts = report.make_trainer(config(), "pretrain", one_device())
    batch = trainer.abstract_batch["s2"]["values"]
    assert trainer.task.step_name == "contrastive_step" and batch.shape == (2, 4, 128, 128, 10)
    parameters = sum(x.size for x in jax.tree.leaves(trainer.abstract_state.params))
    assert facts == report.StageFacts(batch_size=2, parameter_bytes=4 * parameters, token_bytes=3 * 2 * 32**2 * 16 * 4)


def test_slower_encoders_are_part_of_the_step():
    settings = config()
    settings = dataclasses.replace(settings, finetune=dataclasses.replace(settings.finetune, encoder_rate=0.5))
    assert report.make_trainer(settings, "pretrain", one_device())[0].rates == {}
    rates = report.make_trainer(settings, "finetune", one_device())[0].rates
    assert rates.keys() >= {"encoders_s2", "fusion"} and "head" not in rates and set(rates.values()) == {0.5}


def test_a_batch_that_cannot_be_cut_is_refused():
    settings = config()
    settings = dataclasses.replace(settings, pretrain=dataclasses.replace(settings.pretrain, num_microbatches=4))
    with pytest.raises(UserError, match="pretrain.batch_size 2 must be a multiple of the number of devices, 1, times 4 microbatches"):
        report.make_trainer(settings, "pretrain", one_device())


def test_a_batch_is_raised_to_fill_the_chips():
    mesh = types.SimpleNamespace(size=16)
    settings = config()
    settings = dataclasses.replace(settings, finetune=dataclasses.replace(settings.finetune, batch_size=40, num_microbatches=2))
    filled, raised = report.fill_chips(settings, mesh)
    assert (filled.pretrain.batch_size, filled.finetune.batch_size) == (16, 64) and raised == {"pretrain": 2, "finetune": 40}
    assert report.fill_chips(filled, mesh) == (filled, {})


def test_bounds_follow_from_the_numbers_of_the_program():
    memory = types.SimpleNamespace(
        argument_size_in_bytes=2 * GIB, output_size_in_bytes=GIB, alias_size_in_bytes=GIB, temp_size_in_bytes=4 * GIB, generated_code_size_in_bytes=0
    )
    program = types.SimpleNamespace(memory_analysis=lambda: memory, as_text=lambda: "ENTRY %main (p: f32[4]) -> f32[4] {\n  %p = f32[4]{0} parameter(0)\n  ROOT %q = f32[4]{0} negate(%p)\n}")
    chip = CHIPS["v5e"]
    found = report.describe(program, operations_of=(4 * 1 * chip.flops, 4 * 2 * chip.flops), facts=report.StageFacts(8, 1, 2), chip=chip, chips=4)
    assert found["fits"] and found["needed_bytes"] == 6 * GIB and found["batch_size"] == 8
    assert found["seconds"]["compute"] == 2 and found["seconds"]["communication"] == 0 and found["hfu"] == 0.5
    assert found["traffic_bytes"] == 2 * 4 * 4 and found["seconds"]["memory"] == pytest.approx(32 / chip.bandwidth)
    assert found["attention"] == "XLA"
    memory.temp_size_in_bytes = 15 * GIB
    assert not report.describe(program, (1.0, 1.0), report.StageFacts(8, 1, 2), chip, 4)["fits"]
    program.as_text = lambda: 'ENTRY %main (p: f32[4]) -> f32[4] {\n  ROOT %q = f32[4]{0} custom-call(%p), custom_call_target="__cudnn$fmhaSoftmax"\n}'
    assert report.describe(program, (1.0, 1.0), report.StageFacts(8, 1, 2), chip, 4)["attention"] == "cuDNN"
