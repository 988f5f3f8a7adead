import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from omnisat_jax.config import schema
from omnisat_jax.optim.optimizer import Average, averaged, decayed, keep_average, make_optimizer, schedule
from tests.conftest import tiny

STAGE = schema.parse(tiny()).finetune


def stage(**changes):
    return dataclasses.replace(STAGE, **{"steps": 100, "warmup": 0.1, "learning_rate": 0.5, "weight_decay": 0.0, "clip": 1e6} | changes)


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    rate = schedule(stage())
    for step in range(11):
        assert float(rate(step)) == pytest.approx(0.5 * step / 10, abs=1e-6)
    for step in range(10, 101):
        assert float(rate(step)) == pytest.approx(0.5 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2, abs=1e-6)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 1.0), (5, 1.0), (100, 0.0)])
def test_the_rate_is_defined_at_the_ends_of_the_ranges(steps, warmup):
    rate = schedule(stage(steps=steps, warmup=warmup))
    values = [float(rate(step)) for step in range(steps + 1)]
    assert np.isfinite(values).all() and values[0] == 0 and max(values) <= 0.5


def test_only_kernels_decay():
    params = {"dense": {"kernel": 1.0, "bias": 1.0}, "norm": {"scale": 1.0, "bias": 1.0}, "query": 1.0, "temperature": {"log": 1.0}}
    expected = {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False, "bias": False}, "query": False, "temperature": {"log": False}}
    assert decayed(params) == expected


def steps_of(config, gradients):
    """The parameters after each gradient, from ones."""
    params = {"kernel": jnp.ones(3), "bias": jnp.ones(3)}
    optimizer = make_optimizer(config)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update({"kernel": gradient, "bias": gradient}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        yield params


def adamw(config, gradients, decay):
    """AdamW (Loshchilov & Hutter, ICLR 2019, algorithm 2) of one parameter that starts at ones."""
    x, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    rate = schedule(config)
    for step, gradient in enumerate(gradients):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        corrected, second = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
        x = x - float(rate(step)) * (corrected / (np.sqrt(second) + 1e-8) + decay * x)
        yield x


def test_updates_are_those_of_adamw():
    config = stage(weight_decay=0.1, warmup=0.02)
    gradients = np.random.default_rng(0).normal(size=(4, 3))
    found = list(steps_of(config, jnp.asarray(gradients, jnp.float32)))
    for params, kernel, bias in zip(found, adamw(config, gradients, 0.1), adamw(config, gradients, 0.0), strict=True):
        np.testing.assert_allclose(params["kernel"], kernel, rtol=1e-4)
        np.testing.assert_allclose(params["bias"], bias, rtol=1e-4)


def test_gradients_are_clipped_by_their_global_norm():
    gradients = np.random.default_rng(1).normal(size=(4, 3))
    norms = np.sqrt(2 * (gradients**2).sum(1))  # the same gradient for kernel and bias
    clipped = gradients * np.minimum(1, 0.5 / norms)[:, None]
    config = stage(clip=0.5, warmup=0.02)
    for params, expected in zip(steps_of(config, jnp.asarray(gradients, jnp.float32)), adamw(config, clipped, 0.0), strict=True):
        np.testing.assert_allclose(params["bias"], expected, rtol=1e-4)


def test_the_average_of_the_parameters_equals_numpy_and_changes_no_update():
    gradients = jnp.asarray(np.random.default_rng(2).normal(size=(30, 3)), jnp.float32)
    plain, config = list(steps_of(stage(), gradients)), stage(ema_decay=0.6)
    params = {"kernel": jnp.ones(3), "bias": jnp.ones(3)}
    optimizer = make_optimizer(config)
    state = optimizer.init(params)
    average = np.full(3, np.nan)  # the initial parameters have no part in it
    for step, (gradient, expected) in enumerate(zip(gradients, plain, strict=True)):
        updates, state = optimizer.update({"kernel": gradient, "bias": gradient}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        np.testing.assert_array_equal(params["kernel"], expected["kernel"])
        rate = min(0.6, step / (10 + step))
        average = np.asarray(params["kernel"]) if step == 0 else rate * average + (1 - rate) * np.asarray(params["kernel"])
        np.testing.assert_allclose(averaged(state)["kernel"], average, rtol=1e-5)
    assert np.abs(averaged(state)["kernel"] - params["kernel"]).max() > 1e-3
    assert averaged(make_optimizer(stage()).init(params)) is None


MODULES = {"encoders_s2": {"layer": {"kernel": jnp.ones(3), "bias": jnp.ones(3)}}, "head": {"kernel": jnp.ones(3)}}


def trained(config, rates, start=MODULES):
    """(Parameters, optimizer state) after ten steps of random gradients."""
    rng, optimizer, params = np.random.default_rng(3), make_optimizer(config, rates), start
    state = optimizer.init(params)
    for _ in range(10):
        gradients = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
        updates, state = optimizer.update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params, state


def test_a_factor_of_a_module_is_one_of_its_learning_rate_and_of_its_decay():
    config = stage(weight_decay=0.3)
    slowed, _ = trained(config, {"encoders_s2": 0.25, "projections_patch_s2": 0.25})  # fine-tuning has no projections
    whole, _ = trained(config, {})
    slower, _ = trained(dataclasses.replace(config, learning_rate=0.25 * config.learning_rate), {})
    np.testing.assert_allclose(slowed["encoders_s2"]["layer"]["kernel"], slower["encoders_s2"]["layer"]["kernel"], rtol=1e-5)
    np.testing.assert_allclose(slowed["encoders_s2"]["layer"]["bias"], slower["encoders_s2"]["layer"]["bias"], rtol=1e-5)
    np.testing.assert_array_equal(slowed["head"]["kernel"], whole["head"]["kernel"])
    assert np.abs(slowed["encoders_s2"]["layer"]["kernel"] - whole["encoders_s2"]["layer"]["kernel"]).max() > 0.1


def test_frozen_modules_and_their_average_stay_the_same_to_the_last_bit():
    start = jax.tree.map(lambda p: jnp.asarray(np.random.default_rng(4).normal(size=p.shape), jnp.float32), MODULES)
    params, state = trained(stage(weight_decay=0.3, ema_decay=0.7), {"encoders_s2": 0.0}, start)
    for found in (params, averaged(state)):
        jax.tree.map(np.testing.assert_array_equal, found["encoders_s2"], start["encoders_s2"])
        assert np.abs(found["head"]["kernel"] - start["head"]["kernel"]).max() > 0.1


def test_without_factors_the_state_has_the_parts_of_earlier_checkpoints():
    config = stage(ema_decay=0.5)
    adam = optax.adamw(schedule(config), weight_decay=config.weight_decay, mask=decayed)
    earlier = optax.chain(optax.clip_by_global_norm(config.clip), adam, keep_average(0.5))
    whole, slowed = make_optimizer(config), make_optimizer(config, {"head": 0.5})
    assert jax.tree.structure(whole.init(MODULES)) == jax.tree.structure(earlier.init(MODULES))
    assert jax.tree.leaves(slowed.init(MODULES)) and isinstance(slowed.init(MODULES)[-1], Average)
