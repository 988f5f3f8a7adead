import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from omnisat_jax.ops import convolution
from omnisat_jax.ops.convolution import conv2d, direct, pad_borders
from tests.layers_in_numpy import convolve


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(4, 9),
    st.integers(4, 9),
    st.sampled_from([(3, 1), (3, 2), (4, 2), (5, 2)]),
    st.sampled_from(["reflect", "zeros"]),
)
def test_equals_the_platforms_convolution_in_value_and_gradient(batch, height, width, form, mode):
    side, stride = form
    keys = jax.random.split(jax.random.key(batch * 100 + height * 10 + width), 2)
    x = jax.random.normal(keys[0], (batch, height, width, 3))
    kernel = jax.random.normal(keys[1], (side, side, 3, 2))
    amount = (side - 1) // 2

    assert convolution._one_device()  # the form made for one CPU device, not the platform's own

    def total(function):
        def squares(x, k):
            out = function(x, k, stride, amount, mode)
            return (out**2).sum(), out

        return jax.jit(jax.grad(squares, (0, 1), has_aux=True))

    with jax.default_matmul_precision("highest"):
        (ours, value), (theirs, expected) = (total(f)(x, kernel) for f in (conv2d, direct))
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_too_small_to_reflect():
    with pytest.raises(ValueError, match="at least 2 px"):
        conv2d(jnp.ones((1, 1, 4, 1)), jnp.ones((3, 3, 1, 1)), 1, 1, "reflect")


@pytest.mark.parametrize(("side", "stride", "amount"), [(3, 1, 1), (3, 2, 1), (4, 2, 1), (2, 1, 0)])
@pytest.mark.parametrize("mode", ["reflect", "zeros"])
@pytest.mark.parametrize("function", [conv2d, direct])
def test_equals_numpy(function, side, stride, amount, mode):
    rng = np.random.default_rng(side)
    x, kernel = rng.normal(size=(2, 6, 5, 3)).astype(np.float32), rng.normal(size=(side, side, 3, 2)).astype(np.float32)
    with jax.default_matmul_precision("highest"):
        found = function(jnp.asarray(x), jnp.asarray(kernel), stride, amount, mode)
    np.testing.assert_allclose(found, convolve(x, kernel, stride, amount, mode), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_borders_are_those_of_numpy(mode):
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    width = ((0, 0), (2, 2), (2, 2), (0, 0))
    np.testing.assert_array_equal(pad_borders(x, 2, mode), np.pad(x, width, mode={"zeros": "constant"}.get(mode, mode)))
    assert pad_borders(x, 0, mode) is x


def test_other_borders_are_refused():
    with pytest.raises(ValueError, match="must be 'reflect' or 'zeros', found 'wrap'"):
        pad_borders(jnp.ones((1, 4, 4, 1)), 1, "wrap")


@pytest.mark.parametrize(("batch", "pixels", "size"), [(12, 100, 6), (7, 100, 7), (7, 400, 1), (3, 10**6, 1), (8, 128, 8)])
def test_groups_divide_the_batch_and_fit_the_cache(batch, pixels, size):
    assert convolution._group(batch, pixels) == size


def test_a_group_of_a_symbolic_batch_is_one_image():
    (batch,) = jax.export.symbolic_shape("batch")
    assert convolution._group(batch, 100) == 1
