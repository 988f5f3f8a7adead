"""Attention from reference times to dates, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from omnisat_jax.models.layers.reference_times import ReferenceTimes
from tests.layers_in_numpy import gradient, random_params, run

B, T, S, E, TIMES = 2, 5, 6, 4, 3
VALID = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 1]], bool)
MODULE = ReferenceTimes(TIMES, 360.0)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(B, T, E, S)).astype(np.float32)
    return x, rng.normal(size=(B, T, S)).astype(np.float32), rng.integers(-20, 400, (B, T)).astype(np.int32)


def expected(x, doubt, dates, valid, params):
    """(R*E,S) of one sample and its attention (T,S), in float64, with invalid dates left out by hand."""
    centre, width = np.asarray(params["centre"], float), np.exp(np.asarray(params["log_width"], float))
    distance = (dates[valid].astype(float) - centre[:, None]) / width[:, None]
    weights = np.exp(-0.5 * distance**2)[:, :, None] * np.exp(-6 / (1 + np.exp(-doubt[valid].astype(float))))
    weights = weights / weights.sum(1, keepdims=True)
    attention = np.zeros(doubt.shape)
    attention[valid] = weights.mean(0)
    return np.einsum("rts,tes->res", weights, x[valid]).reshape(-1, S), attention


def test_equals_numpy():
    x, doubt, dates = inputs()
    params = random_params(MODULE, x, doubt, dates, VALID)
    params = params | {
        "log_width": np.log([30.0, 60.0, 100.0]).astype(np.float32),
        "centre": np.array([10.0, 200.0, 350.0], np.float32),
    }
    out, attention = run(MODULE, params, x, doubt, dates, VALID)
    assert out.shape == (B, TIMES * E, S) and attention.shape == (B, T, S) and attention.dtype == jnp.float32
    for b in range(B):
        values, weights = expected(x[b], doubt[b], dates[b], VALID[b], params)
        np.testing.assert_allclose(out[b], values, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(attention[b], weights, rtol=1e-4, atol=1e-6)


def test_times_start_evenly_spaced_and_as_wide_as_their_spacing():
    params = MODULE.init(jax.random.key(0), *inputs(), VALID)["params"]
    np.testing.assert_allclose(params["centre"], [0, 180, 360])
    np.testing.assert_allclose(np.exp(params["log_width"]), 180, rtol=1e-6)
    alone = ReferenceTimes(1, 360.0).init(jax.random.key(0), *inputs(), VALID)["params"]
    assert np.isfinite(alone["log_width"]).all()


def test_invalid_dates_are_invisible():
    x, doubt, dates = inputs()
    params = random_params(MODULE, x, doubt, dates, VALID)
    before = run(MODULE, params, x, doubt, dates, VALID)
    moved = np.where(VALID, dates, 9999).astype(np.int32)
    other = np.where(VALID[:, :, None], doubt, -99).astype(np.float32)
    after = run(MODULE, params, np.where(VALID[:, :, None, None], x, 7).astype(np.float32), other, moved, VALID)
    for a, b in zip(before, after):
        np.testing.assert_array_equal(a, b)
    slope = gradient(MODULE, params, 0, x, doubt, dates, VALID)
    assert not slope[~VALID].any() and np.abs(slope[VALID]).max() > 1e-4


@settings(max_examples=20, deadline=None)
@given(st.integers(-2_000_000, 2_000_000), st.booleans())
def test_a_series_far_from_every_reference_time_is_read_from_its_nearest_dates(shift, doubted):
    """The weights of a Gaussian would all be 0 there; their ratios are not."""
    x, doubt, dates = inputs()
    params = MODULE.init(jax.random.key(0), x, doubt, dates, VALID)["params"]
    doubt = np.full_like(doubt, 50.0) if doubted else doubt
    out, attention = run(MODULE, params, x, doubt, dates + np.int32(shift), VALID)
    assert np.isfinite(out).all() and np.abs(out).max() > 0
    np.testing.assert_allclose(np.asarray(attention).sum(1), 1, rtol=1e-4)


def test_without_a_valid_date_the_result_is_zero_and_gradients_are_finite():
    x, doubt, dates = inputs()
    never = np.zeros((B, T), bool)
    params = random_params(MODULE, x, doubt, dates, never)
    out, attention = run(MODULE, params, x, doubt, dates, never)
    assert not np.asarray(out).any() and not np.asarray(attention).any()
    slopes = jax.grad(lambda p: (MODULE.apply({"params": p}, x, doubt, dates, never)[0] ** 2).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("doubted", [0, 3])
def test_a_doubted_date_has_less_weight(doubted):
    x, doubt, dates = inputs()
    params = MODULE.init(jax.random.key(0), x, doubt, dates, VALID)["params"]
    level, more = np.zeros_like(doubt), np.zeros_like(doubt)
    more[:, doubted] = 3.0
    before, after = (np.asarray(run(MODULE, params, x, given, dates, VALID)[1]) for given in (level, more))
    assert (after[0, doubted] < before[0, doubted]).all()
