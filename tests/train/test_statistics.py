"""Statistics are arguments of compiled programs, so those of one fold serve all."""

import dataclasses

import jax
import numpy as np
import pytest

from omnisat_jax.aot.report import make_trainer
from omnisat_jax.config import schema
from omnisat_jax.train.statistics import abstract, on_host, place
from tests.conftest import tiny
from tests.train.toy import one_device

KNOWN = {"s2": {"mean": [1000.0, 0.1], "std": [2.0, 3.0], "count": 7}}


def test_they_are_float32_arrays_on_every_device():
    placed, form = place(KNOWN, one_device()), abstract(KNOWN, one_device())
    assert set(placed["s2"]) == {"mean", "std"} and placed["s2"]["mean"].dtype == np.float32
    np.testing.assert_array_equal(placed["s2"]["mean"], np.array([1000, 0.1], np.float32))
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), placed) == jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), form)


@pytest.mark.parametrize("stage", ["finetune", pytest.param("pretrain", marks=pytest.mark.exhaustive)])
def test_other_statistics_have_the_same_programs(stage):
    config = schema.parse(tiny("omnisat_resnet,no_s1"))
    trainer, _ = make_trainer(config, stage, one_device())
    known = on_host(trainer.task.statistics)
    other = {name: {"mean": s["mean"] + 1, "std": 2 * s["std"]} for name, s in known.items()}
    task = trainer.task.with_statistics(other)
    programs = []
    for each in (trainer.task, task):
        changed = dataclasses.replace(trainer, task=each)
        programs.append([changed.trace_step().lower().as_text(), jax.jit(changed._create).lower(changed.abstract_root).as_text()])
    assert programs[0] == programs[1]
    assert dataclasses.replace(trainer, task=task).statistics["s2"]["mean"].tolist() == other["s2"]["mean"].tolist()
