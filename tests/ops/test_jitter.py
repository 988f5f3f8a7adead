"""Jitter of bands and dates: what it changes, how much, and that only training sees it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st

from omnisat_jax.ops.jitter import draw_jitter, jittered
from omnisat_jax.ops.random import Streams
from tests import steps
from tests.conftest import QUICK_MODEL

B, T, H, C = 3, 4, 2, 5


def tiles(seed=0):
    rng = np.random.default_rng(seed)
    valid = rng.uniform(size=(B, T)) < 0.7
    series = rng.normal(size=(B, T, H, H, C)).astype(np.float32) * valid[..., None, None, None]
    image = rng.normal(size=(B, 2 * H, 2 * H, 3)).astype(np.float32)
    image[:, 0] = 0.0
    dates = np.where(valid, rng.integers(1, 300, (B, T)), 0).astype(np.int32)
    entries = {
        "s2": {"values": series, "dates": dates, "valid": valid},
        "spot": {"values": image},
        "location": {"values": rng.normal(size=(B, 2)).astype(np.float32)},
    }
    return jax.tree.map(jnp.asarray, entries)


@given(seed=st.integers(0, 99), bands=st.sampled_from([0.0, 0.2, 1.0]), days=st.sampled_from([0.0, 10.0]))
@settings(max_examples=25, deadline=None)
def test_gain_offset_and_days_are_per_tile_and_unknown_values_stay(seed, bands, days):
    inputs = tiles(seed)
    drawn = draw_jitter(jax.random.key(seed), inputs, bands=bands, days=days)
    out = jittered(inputs, drawn)
    assert set(drawn) == {"s2", "spot"}
    np.testing.assert_array_equal(out["location"]["values"], inputs["location"]["values"])
    for name in drawn:
        before, after = np.asarray(inputs[name]["values"]), np.asarray(out[name]["values"])
        np.testing.assert_array_equal(after[before == 0], 0)
        gain, offset = (x.reshape(B, *[1] * (before.ndim - 2), -1) for x in drawn[name][:2])
        np.testing.assert_allclose(after, np.where(before == 0, 0, before * gain + offset), rtol=1e-6, atol=1e-6)
    valid, before = np.asarray(inputs["s2"]["valid"]), np.asarray(inputs["s2"]["dates"])
    after = np.asarray(out["s2"]["dates"])
    assert after.dtype == np.int32
    np.testing.assert_array_equal(after[~valid], 0)
    moved = np.asarray(drawn["s2"].days)
    for tile in range(B):
        np.testing.assert_array_equal((after - before)[tile][valid[tile]], moved[tile])
    if not bands:
        np.testing.assert_array_equal(out["spot"]["values"], inputs["spot"]["values"])
    if not days:
        assert not moved.any()


def test_spreads_are_as_configured():
    many = {"s2": {"values": jnp.ones((4000, 1, 1, 1, 2)), "dates": jnp.ones((4000, 1), int), "valid": jnp.ones((4000, 1), bool)}}
    drawn = draw_jitter(jax.random.key(1), many, bands=0.2, days=10.0)["s2"]
    assert abs(float(jnp.log(drawn.gain).std()) - 0.2) < 0.01 and abs(float(drawn.offset.std()) - 0.2) < 0.01
    assert abs(float(drawn.days.std()) - 10) < 0.5
    # Neither of two bands nor gain and offset move together.
    assert abs(np.corrcoef(drawn.gain[:, 0], drawn.gain[:, 1])[0, 1]) < 0.06
    assert abs(np.corrcoef(drawn.gain[:, 0], drawn.offset[:, 0])[0, 1]) < 0.06


def test_training_sees_jitter_and_evaluation_does_not(records):
    _, tasks, batch = steps.bench(records, 2, "demo,no_s1", **QUICK_MODEL)
    plain = tasks["pretrain"]
    term = next(term for term in plain.terms if term.name == "contrastive")
    jittered_term = dataclasses.replace(term, config=dataclasses.replace(term.config, jitter=0.5, jitter_days=20.0))
    other = dataclasses.replace(plain, terms=tuple(jittered_term if each is term else each for each in plain.terms))
    params = jax.jit(plain.init)(jax.random.key(0), batch)
    streams = Streams(jax.random.key(0), jnp.int32(0))
    losses = [float(jax.jit(lambda task=task: task.loss(params, batch, streams)[0])()) for task in (plain, other)]
    assert np.isfinite(losses).all() and abs(losses[0] - losses[1]) > 1e-4
    scores = [jax.jit(lambda task=task: task.evaluate(params, batch, None))() for task in (plain, other)]
    jax.tree.map(np.testing.assert_array_equal, *scores)
