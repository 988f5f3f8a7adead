"""Texture bands against SciPy."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings, strategies as st

from omnisat_jax.errors import UserError
from omnisat_jax.ops.texture import add_texture, local_mean


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def scipy_mean(x, radius):
    return scipy.ndimage.uniform_filter(x, (0, 2 * radius + 1, 2 * radius + 1, 0), mode="mirror")


@settings(deadline=None, max_examples=12)  # every shape compiles
@given(st.integers(1, 3), st.integers(4, 9), st.integers(4, 9))
def test_local_means_equal_scipy(radius, height, width):
    x = draw(2, height, width, 3)
    np.testing.assert_allclose(local_mean(x, radius), scipy_mean(x, radius), rtol=1e-4, atol=1e-5)


def test_differences_and_variance_are_appended():
    x = draw(2, 8, 8, 3) + 7
    out = np.asarray(add_texture(x, 2))
    difference = x - scipy_mean(x, 2)
    np.testing.assert_array_equal(out[..., :3], x)
    np.testing.assert_allclose(out[..., 3:6], 5 * difference, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(out[..., 6:], np.log(scipy_mean((difference**2).mean(-1, keepdims=True), 2) + 1e-4), rtol=1e-3, atol=1e-3)


def test_a_smooth_image_has_no_texture_and_finite_values():
    out = np.asarray(add_texture(np.full((1, 6, 6, 2), 3.0, np.float32), 1))
    np.testing.assert_allclose(out[..., 2:4], 0, atol=1e-5)
    np.testing.assert_allclose(out[..., 4], np.log(1e-4), rtol=1e-4)


def test_an_image_smaller_than_its_window_is_refused():
    with pytest.raises(UserError, match="at least 4 px"):
        local_mean(draw(1, 3, 3, 1), 3)
