"""Plain operations compute what the others compute, and are used inside `plain()` only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.models.encoders.image import _pool
from omnisat_jax.ops.convolution import conv2d
from omnisat_jax.ops.patches import resize, resizing_weights
from omnisat_jax.ops.plain import broadcast_to, is_plain, plain


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_plain_form(function, *arguments):
    with plain():
        return jax.jit(lambda *given: function(*given))(*arguments)


def primitives(function, *arguments):
    return str(jax.make_jaxpr(lambda *given: function(*given))(*arguments))


def test_it_is_off_by_default_and_again_after_an_error():
    assert not is_plain()
    with pytest.raises(KeyError), plain():
        assert is_plain()
        raise KeyError
    assert not is_plain()


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize(("side", "stride", "amount"), [(3, 1, 1), (4, 2, 1), (3, 2, 1), (5, 2, 2), (3, 1, 0)])
def test_convolution(mode, side, stride, amount):
    x, kernel = draw(3, 8, 6, 4), draw(side, side, 4, 5, seed=1)

    def convolve(x, kernel):
        return conv2d(x, kernel, stride, amount, mode)

    np.testing.assert_allclose(in_plain_form(convolve, x, kernel), convolve(x, kernel), rtol=0, atol=1e-4)
    with plain():
        assert not {"platform_index", "scan", "while", "custom_vjp"} & set(primitives(convolve, x, kernel).split())
        assert "pad[" not in primitives(convolve, x, kernel)
    assert "platform_index" in primitives(convolve, x, kernel)


@pytest.mark.parametrize(("height", "width", "side"), [(4, 4, 8), (8, 8, 4), (5, 7, 6), (3, 3, 1), (1, 1, 3), (4, 6, 4), (7, 7, 3)])
def test_resizing(height, width, side):
    x = draw(2, height, width, 3)
    np.testing.assert_allclose(in_plain_form(lambda x: resize(x, side), x), resize(x, side), rtol=0, atol=1e-6)
    assert resizing_weights(height, side).shape == (side, height)
    np.testing.assert_allclose(resizing_weights(height, side).sum(1), 1)


def test_broadcasting():
    x = draw(1, 3, 2)
    np.testing.assert_array_equal(in_plain_form(lambda x: broadcast_to(x, (4, 3, 2)), x), broadcast_to(x, (4, 3, 2)))
    assert broadcast_to(jnp.ones((3, 1)), (2, 3, 5)).shape == in_plain_form(lambda x: broadcast_to(x, (2, 3, 5)), jnp.ones((3, 1))).shape


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7), (1, 4), (2, 3)])
def test_pooling(height, width):
    x = draw(2, height, width, 3)
    np.testing.assert_array_equal(in_plain_form(_pool, x), _pool(x))
    with plain():
        assert "reduce_window" not in primitives(_pool, x)
