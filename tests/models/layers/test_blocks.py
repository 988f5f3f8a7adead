"""Shared layers against NumPy, with random parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.models.layers.blocks import (
    Affine,
    Conv,
    ConvNormAct,
    TemporalGroupNorm,
    gelu,
    groups_for,
    map_norm,
)
from tests import layers_in_numpy as reference
from tests.layers_in_numpy import random_params, run


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_gelu_is_exact():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    np.testing.assert_allclose(gelu(jnp.asarray(x)), reference.gelu(x), atol=2e-6)


@pytest.mark.parametrize(("channels", "wanted", "groups"), [(8, 4, 4), (6, 4, 3), (7, 4, 1), (3, 8, 3), (1, 4, 1)])
def test_groups_divide_the_channels(channels, wanted, groups):
    assert groups_for(channels, wanted) == groups


@pytest.mark.parametrize(("side", "stride", "border"), [(3, 1, "zeros"), (3, 2, "reflect"), (4, 2, "reflect"), (1, 1, "zeros"), (1, 2, "zeros")])
def test_convolution(side, stride, border):
    x = draw(2, 6, 6, 3)
    module = Conv(5, side, stride, border)
    params = random_params(module, x)
    assert {key: value.shape for key, value in params.items()} == {"kernel": (side, side, 3, 5), "bias": (5,)}
    expected = reference.convolve(x, params["kernel"], stride, (side - 1) // 2, border) + params["bias"]
    np.testing.assert_allclose(run(module, params, x), expected, rtol=1e-4, atol=1e-4)


def test_convolution_without_bias():
    assert random_params(Conv(5, use_bias=False), draw(1, 4, 4, 3)).keys() == {"kernel"}


def test_affine_is_a_scale_and_a_shift():
    x, module = draw(2, 3, 4), Affine()
    params = random_params(module, x)
    np.testing.assert_allclose(run(module, params, x), x * params["scale"] + params["bias"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["image", "pixel", "affine"])
def test_norms_of_maps(kind):
    x = draw(2, 3, 4, 8)
    module = map_norm(kind, 8, 4, jnp.float32, "norm")
    params = random_params(module, x)
    expected = {
        "image": lambda: reference.group_norm(x, 4, params),
        "pixel": lambda: reference.layer_norm(x, params, 1e-5),
        "affine": lambda: x * params["scale"] + params["bias"],
    }[kind]()
    np.testing.assert_allclose(run(module, params, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("activation", "function"), [("relu", lambda x: np.maximum(x, 0)), ("gelu", reference.gelu), ("none", lambda x: x)]
)
def test_convolution_norm_and_activation_in_this_order(activation, function):
    x = draw(2, 5, 5, 3)
    module = ConvNormAct(8, border="zeros", activation=activation)
    params = random_params(module, x)
    convolved = reference.convolve(x, params["conv"]["kernel"], 1, 1, "zeros") + params["conv"]["bias"]
    np.testing.assert_allclose(run(module, params, x), function(reference.group_norm(convolved, 4, params["norm"])), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", ["image", "pixel", "affine"])
def test_computation_is_in_the_dtype_and_parameters_in_float32(norm):
    module, x = ConvNormAct(8, norm=norm, dtype=jnp.bfloat16), draw(1, 4, 4, 3)
    params = random_params(module, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    assert jax.eval_shape(lambda: module.apply({"params": params}, x)).dtype == jnp.bfloat16


def test_no_norm_but_affine_looks_at_other_images_and_pixel_norm_keeps_brightness():
    x = draw(2, 4, 4, 3)
    for norm in ("image", "pixel", "affine"):
        module = ConvNormAct(8, norm=norm)
        params = random_params(module, x)
        np.testing.assert_allclose(run(module, params, x)[:1], run(module, params, x[:1]), rtol=1e-5, atol=1e-5)


def test_temporal_norm_is_that_of_the_valid_dates_alone():
    x, valid = draw(2, 5, 3, 8), np.array([[1, 1, 0, 1, 1], [0, 1, 0, 0, 1]], bool)
    module = TemporalGroupNorm(4)
    params = random_params(module, x, valid)
    out = np.asarray(run(module, params, jnp.where(valid[:, :, None, None], x, jnp.float32(1e6)), valid))
    assert out.dtype == np.float32 and not out[~valid].any()
    for sample in range(2):
        for position in range(3):
            dates = x[sample, valid[sample], position]  # (T',C)
            expected = reference.group_norm(dates[None], 4, params)[0]
            np.testing.assert_allclose(out[sample, valid[sample], position], expected, rtol=1e-4, atol=1e-4)


def test_temporal_norm_without_a_valid_date_is_zero_with_a_finite_gradient():
    x, valid = draw(1, 3, 2, 4), np.zeros((1, 3), bool)
    module = TemporalGroupNorm(2)
    params = random_params(module, x, valid)
    assert not np.asarray(run(module, params, x, valid)).any()
    assert np.isfinite(reference.gradient(module, params, 0, x, valid)).all()
