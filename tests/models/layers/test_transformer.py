"""Attention and blocks against NumPy."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.models.layers import transformer
from omnisat_jax.models.layers.transformer import Attention, Block, Mlp
from tests import layers_in_numpy as reference
from tests.layers_in_numpy import gradient, random_params, run

B, Q, L, D, HEADS = 2, 3, 5, 8, 2
MASK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]], bool)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X, Y = draw(B, Q, D), draw(B, L, D, seed=1)


def attend(x, y, mask, params):
    """Multi-head attention, masked keys removed."""
    out = np.zeros((B, x.shape[1], D))
    for b in range(B):
        keys = y[b][mask[b]]
        q, k, v = (
            np.einsum("ld,dne->lne", values, params[name]["kernel"]) + params[name]["bias"]
            for values, name in ((x[b], "query"), (keys, "key"), (keys, "value"))
        )
        weights = reference.softmax(np.einsum("qne,lne->nql", q, k) / np.sqrt(D // HEADS))
        heads = np.einsum("nql,lne->qne", weights, v)
        out[b] = np.einsum("qne,ned->qd", heads, params["out"]["kernel"]) + params["out"]["bias"]
    return out


def test_attention_equals_numpy_with_masked_keys_removed():
    module = Attention(HEADS, "xla", jnp.float32)
    params = random_params(module, X, Y, MASK)
    np.testing.assert_allclose(run(module, params, X, Y, MASK), attend(X, Y, MASK, params), rtol=1e-4, atol=1e-4)
    everything = np.ones_like(MASK)
    np.testing.assert_allclose(run(module, params, X, Y, None), attend(X, Y, everything, params), rtol=1e-4, atol=1e-4)


def test_masked_keys_get_no_gradient():
    module = Attention(HEADS, "xla", jnp.float32)
    params = random_params(module, X, Y, MASK)
    slope = gradient(module, params, 1, X, Y, MASK)
    assert not slope[~MASK].any() and (np.abs(slope[MASK]).max(-1) > 0).all()


def test_without_a_key_the_result_is_zero_and_its_gradient_finite():
    module, mask = Attention(HEADS, "xla", jnp.float32), MASK.copy()
    mask[0] = False
    params = random_params(module, X, Y, mask)
    out = np.asarray(run(module, params, X, Y, mask))
    assert not out[0].any() and out[1].any()
    for wanted in (0, 1):
        slope = gradient(module, params, wanted, X, Y, mask)
        assert np.isfinite(slope).all() and not slope[0].any()


def test_cudnn_is_refused_where_it_cannot_run():
    with pytest.raises(UserError, match="'cudnn': expected a GPU, bfloat16 .*, found cpu, float32 and heads of 4 channels"):
        Attention(HEADS, "cudnn", jnp.float32).init(jax.random.key(0), X, Y, MASK)


@pytest.mark.parametrize(
    ("size", "dtype", "lengths", "backend", "client", "capability", "expected"),
    [
        (32, jnp.bfloat16, (16, 64), "gpu", "CUDA 13000", "9.0", True),
        (32, jnp.bfloat16, (16, 64), "gpu", "CUDA 13000", "8.0", True),
        (32, jnp.bfloat16, (16, 64), "gpu", "CUDA 13000", "7.5", False),
        (32, jnp.bfloat16, (16, 64), "gpu", "rocm 60000", "9.0", False),
        (32, jnp.bfloat16, (16, 63), "gpu", "CUDA 13000", "9.0", False),
        (32, jnp.float32, (16, 64), "gpu", "CUDA 13000", "9.0", False),
        (8, jnp.bfloat16, (16, 64), "gpu", "CUDA 13000", "9.0", False),
        (32, jnp.bfloat16, (16, 64), "cpu", "cpu", "0", False),
    ],
)
def test_auto_means_cudnn_where_it_runs(monkeypatch, size, dtype, lengths, backend, client, capability, expected):
    device = types.SimpleNamespace(client=types.SimpleNamespace(platform_version=client), compute_capability=capability)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert transformer._prefers_cudnn(size, dtype, lengths) is expected


def test_auto_is_xla_on_cpus():
    params = random_params(Attention(HEADS, "xla", jnp.float32), X, Y, MASK)
    xla, auto = (run(Attention(HEADS, how, jnp.float32), params, X, Y, MASK) for how in ("xla", "auto"))
    np.testing.assert_array_equal(xla, auto)


def test_mlp():
    module = Mlp(3, 0.0, jnp.float32)
    params = random_params(module, X, train=False)
    assert params["Dense_0"]["kernel"].shape == (D, 3 * D)
    expected = reference.dense(reference.gelu(reference.dense(X, params["Dense_0"])), params["Dense_1"])
    np.testing.assert_allclose(run(module, params, X, train=False), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cross", [False, True])
def test_a_block_is_two_residual_branches_with_norms_before_them(cross):
    module, context = Block(HEADS, 2, 0.0, "xla", jnp.float32), Y if cross else None
    mask = MASK if cross else np.array([[1, 1, 0], [0, 1, 1]], bool)
    params = random_params(module, X, mask, train=False, context=context)
    names = [f"LayerNorm_{index}" for index in range(3 if cross else 2)]
    assert params.keys() == {*names, "Attention_0", "Mlp_0"}
    y = reference.layer_norm(X, params["LayerNorm_0"])
    keys = reference.layer_norm(Y, params["LayerNorm_1"]) if cross else y
    x = X + attend(y, keys, mask, params["Attention_0"])
    hidden = reference.gelu(reference.dense(reference.layer_norm(x, params[names[-1]]), params["Mlp_0"]["Dense_0"]))
    expected = x + reference.dense(hidden, params["Mlp_0"]["Dense_1"])
    out = run(module, params, X, mask, train=False, context=context)
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)


def test_dropout_is_drawn_in_training_only():
    module = Block(HEADS, 2, 0.5, "xla", jnp.float32)
    params = random_params(module, X, None, train=False)

    def trained(seed):
        return np.asarray(module.apply({"params": params}, X, None, True, rngs={"dropout": jax.random.key(seed)}))

    assert np.abs(trained(0) - trained(1)).max() > 1e-3
    plain = run(Block(HEADS, 2, 0.0, "xla", jnp.float32), params, X, None, train=False)
    np.testing.assert_allclose(run(module, params, X, None, train=False), plain, rtol=1e-6)
