"""The speed that the training loop reports."""

import contextlib
import types
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.train import loop
from omnisat_jax.train.step import TrainState
from omnisat_jax.train.timing import Profile

STEP, SAVE, EVALUATION = 2.0, 100.0, 50.0  # s


class Clock:
    def __init__(self):
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Late:
    """A loss that is there when it is read, a step after it was asked for."""

    def __init__(self, clock: Clock):
        self._clock = clock

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self._clock.now += STEP
        return np.ones((), np.float32)


def test_speed_is_that_of_steps_without_saves_and_evaluations(monkeypatch, tmp_path):
    clock, written = Clock(), []
    monkeypatch.setattr(loop, "time", clock)
    zero = jnp.zeros((), jnp.int32)
    state = TrainState(step=zero, skipped=zero, params={}, opt_state=())

    def spend(seconds: float, result: Any = None) -> Any:
        clock.now += seconds
        return result

    hooks = loop.LoopHooks(
        step=lambda state, batch: (state, {"loss": Late(clock), "finite": np.ones(())}),
        batches=iter([({}, {})] * 12),
        validate=lambda params, step: spend(EVALUATION, {"score": 1.0}),
        rank=lambda scores: scores["score"],
        save=lambda step, state, value: spend(SAVE),
        write=lambda step, values: written.append((step, values)),
        show=lambda step, values: None,
        stop=lambda step: False,
        ledger=types.SimpleNamespace(during=lambda cause: contextlib.nullcontext(), next_batch=lambda batches, pending: next(batches)),
        profile=Profile(tmp_path, None),
        flops=6.0,
        peak=12.0,
        tile_names=lambda host: [],
    )
    config: Any = types.SimpleNamespace(steps=12, batch_size=8, log_every=2, eval_every=5, save_every=3)
    loop.run_loop(state, 0, config, 0, hooks)
    speeds = {step: values for step, values in written if "loss" in values}
    assert list(speeds) == [2, 4, 6, 8, 10, 12]
    assert clock.now == 12 * STEP + 6 * SAVE + 3 * EVALUATION
    for values in speeds.values():
        assert values["examples_per_second"] == pytest.approx(8 / STEP)
        assert values["teraflops"] == pytest.approx(3e-12) and values["hfu"] == pytest.approx(0.25)
