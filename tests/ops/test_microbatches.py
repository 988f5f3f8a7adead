"""A batch in microbatches: the same result, gradients and order of tiles, in less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.ops.microbatches import in_microbatches
from omnisat_jax.ops.random import Streams
from tests import steps
from tests.conftest import QUICK_MODEL


@pytest.mark.parametrize("count", [1, 2, 3, 6])
@pytest.mark.parametrize("axis", [0, 1])
def test_values_gradients_and_order_are_those_of_the_whole_batch(count, axis):
    rng = np.random.default_rng(count)
    x, w = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)

    def together(w, count):
        def one(tiles, index):
            assert len(tiles["x"]) == 6 // count
            y = jnp.tanh(tiles["x"] @ w)
            return {"y": y if axis == 0 else jnp.stack([y, -y]), "scale": w.sum()}

        out = in_microbatches(one, count, {"x": x}, batch_axes={"y": axis, "scale": -1})
        y = out["y"].reshape(-1, 3)
        return (jax.nn.log_softmax(y @ y.T) * out["scale"]).sum(), out["y"]  # every tile is compared with every other

    (value, rows), gradient = jax.value_and_grad(together, has_aux=True)(w, count)
    (expected, whole), right = jax.value_and_grad(together, has_aux=True)(w, 1)
    np.testing.assert_allclose(rows, whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", ["pretrain", pytest.param("finetune", marks=[pytest.mark.exhaustive, pytest.mark.slow])])
def test_a_step_in_microbatches_is_the_same_step_in_less_memory(records, stage):
    _, tasks, batch = steps.bench(
        records,
        4,
        "demo,no_spot",
        ("s1d",),
        **(QUICK_MODEL if stage == "pretrain" else {}),
        **{
            "finetune.modality_dropout": 0.0,
            "pretrain.modality_dropout": 0.0,
            "contrastive.jitter": 0.2,
            "contrastive.jitter_days": 10.0,
        },
    )
    streams = Streams(jax.random.key(0), jnp.int32(3))
    params = jax.jit(tasks[stage].init)(jax.random.key(1), batch)

    def step(count):
        task = dataclasses.replace(tasks[stage], num_microbatches=count)
        return jax.jit(jax.value_and_grad(lambda params: task.loss(params, batch, streams), has_aux=True)).lower(params).compile()

    whole, divided = step(1), step(4)
    ((loss, _), gradient), ((right, _), expected) = divided(params), whole(params)
    np.testing.assert_allclose(loss, right, rtol=1e-5)
    # Sums in another order round otherwise; what counts is small beside the whole gradient of a parameter.
    worst = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / (np.abs(b).max() + 1e-2)), gradient, expected)
    assert max(jax.tree.leaves(worst)) < 1e-3, worst
    assert divided.memory_analysis().temp_size_in_bytes < 0.6 * whole.memory_analysis().temp_size_in_bytes
