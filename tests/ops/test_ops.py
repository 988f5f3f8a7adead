"""Positions on the sphere and in time, and the draws of pre-training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import sph_harm_y

from omnisat_jax.ops.dates import interpolation_weights
from omnisat_jax.ops.patches import roll_map, roll_tokens, to_patches
from omnisat_jax.ops.random import mask_tokens, stratified
from omnisat_jax.ops.sphere import spherical_harmonics


@pytest.mark.parametrize(("degrees", "tolerance"), [(1, 1e-6), (10, 2e-5), (20, 1e-4)])
def test_spherical_harmonics_equal_scipy(degrees, tolerance):
    rng = np.random.default_rng(0)
    place = np.stack([rng.uniform(-180, 180, 8), rng.uniform(-89, 89, 8)], 1).astype(np.float32)
    found = spherical_harmonics(jnp.asarray(place), degrees)
    theta, phi = np.deg2rad(90 - place[:, 1].astype(float)), np.deg2rad(place[:, 0].astype(float))
    expected = []
    for degree in range(degrees):
        for m in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(m), theta, phi)
            expected.append(value.real if m == 0 else np.sqrt(2) * (value.real if m > 0 else value.imag))
    np.testing.assert_allclose(found, np.stack(expected, -1), atol=tolerance)


def test_poles_are_finite():
    out = spherical_harmonics(jnp.asarray([[0.0, 90.0], [10.0, -90.0]]), 5)
    assert np.isfinite(out).all()


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.int32, 6, elements=st.integers(-50, 400), unique=True),
    hnp.arrays(bool, 6),
    hnp.arrays(np.int32, 4, elements=st.integers(-80, 430)),
)
def test_interpolation_equals_numpy(dates, valid, at):
    weights = np.asarray(interpolation_weights(jnp.asarray(dates)[None], jnp.asarray(valid)[None], jnp.asarray(at)[None]))[0]
    if not valid.any():
        assert not weights.any()
        return
    values = np.random.default_rng(0).normal(size=6)
    order = np.argsort(dates[valid])
    expected = np.interp(at, dates[valid][order], values[valid][order])
    np.testing.assert_allclose(weights @ values, expected, atol=1e-5)
    assert not weights[:, ~valid].any() and (weights >= 0).all()


def test_every_sample_has_the_same_number_of_masked_tokens():
    masked = np.asarray(mask_tokens(jax.random.key(0), (5, 3, 16), 0.75))
    assert masked.shape == (5, 3, 16) and (masked.sum((1, 2)) == 36).all()
    assert len({row.tobytes() for row in masked}) == 5


def test_stratified_draws_are_ascending_and_apart():
    draws = np.asarray(stratified(jax.random.key(0), 50))
    assert ((draws >= 0) & (draws < 1)).all() and len(np.unique((draws * 50).astype(int))) == 50


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(-4, 4), st.integers(-4, 4))
def test_rolling_maps_and_their_tokens_is_one_thing_and_can_be_undone(grid, patch, down, right):
    shift = jnp.asarray([down, right])
    x = np.random.default_rng(0).normal(size=(2, grid * patch, grid * patch, 3)).astype(np.float32)
    moved = roll_map(x, shift, grid)
    np.testing.assert_array_equal(to_patches(moved, patch), roll_tokens(to_patches(x, patch), shift))
    np.testing.assert_array_equal(roll_map(moved, -shift, grid), x)
    uneven = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    np.testing.assert_array_equal(roll_map(roll_map(uneven, shift, grid), -shift, grid), uneven)
