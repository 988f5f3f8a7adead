"""L-TAE against NumPy, with padded dates left out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.models.layers.ltae import LTAE
from tests import layers_in_numpy as reference
from tests.layers_in_numpy import gradient, random_params, run

B, T, S, C, HEADS, WIDTH, KEY = 2, 5, 3, 6, 2, 8, 4
CONFIG = schema.LTAEConfig(heads=HEADS, key_dim=KEY, width=WIDTH, period=1000.0, dropout=0.5, attention_dropout=0.5)
VALID = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 1]], bool)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(B, T, S, C)).astype(np.float32), rng.integers(-20, 400, (B, T)).astype(np.int32)


def one_sequence(x, dates, params, output_widths):
    """(C,) at one position and sample from the valid dates x (T',C); and attention (N,T')."""
    x = reference.group_norm(x[None], HEADS, params["in_norm"])[0]
    x = reference.dense(x, params["expand"])
    x = x + np.tile(reference.date_sinusoid(dates, WIDTH // HEADS, 1000.0), HEADS)
    keys = reference.dense(x, params["key"]).reshape(-1, HEADS, KEY)
    attention = reference.softmax(np.einsum("tnd,nd->nt", keys, params["query"]) / np.sqrt(KEY))
    share = x.reshape(-1, HEADS, WIDTH // HEADS)
    out = np.concatenate([attention[n] @ share[:, n] for n in range(HEADS)])
    for index in range(len(output_widths)):
        out = np.maximum(reference.layer_norm(reference.dense(out, params[f"mlp{index}"]), params[f"mlp{index}_norm"]), 0)
    return reference.group_norm(out[None], HEADS, params["out_norm"])[0], attention


def test_equals_numpy():
    x, dates = inputs()
    module = LTAE(CONFIG, (10, 6))
    params = random_params(module, x, dates, VALID, train=False)
    out, attention = run(module, params, x, dates, VALID, train=False)
    assert out.shape == (B, S, 6) and attention.shape == (B, HEADS, T, S) and attention.dtype == jnp.float32
    for b in range(B):
        for s in range(S):
            expected, weights = one_sequence(x[b, VALID[b], s], dates[b, VALID[b]], params, (10, 6))
            np.testing.assert_allclose(out[b, s], expected, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(attention[b, :, VALID[b], s].T, weights, rtol=1e-4, atol=1e-5)
    assert not np.asarray(attention).swapaxes(1, 2)[~VALID].any()


@pytest.mark.parametrize("faithful", [False, True])
def test_padded_dates_are_visible_to_the_faithful_form_only(faithful):
    x, dates = inputs()
    module = LTAE(CONFIG, (6,), faithful=faithful)
    params = random_params(module, x, dates, VALID, train=False)
    other = np.where(VALID[:, :, None, None], x, 7.0).astype(np.float32)
    moved = np.where(VALID, dates, 9999).astype(np.int32)
    before, after = (run(module, params, *given, VALID, train=False)[0] for given in ((x, dates), (other, moved)))
    assert np.allclose(before, after, atol=1e-5) != faithful
    if not faithful:
        slope = gradient(module, params, 0, x, dates, VALID, train=False)
        assert not slope[~VALID].any() and np.abs(slope[VALID]).max() > 1e-4


def test_the_order_of_dates_changes_nothing():
    x, dates = inputs()
    module, order = LTAE(CONFIG, (6,)), np.array([3, 0, 4, 2, 1])
    params = random_params(module, x, dates, VALID, train=False)
    out, attention = run(module, params, x, dates, VALID, train=False)
    other, weights = run(module, params, x[:, order], dates[:, order], VALID[:, order], train=False)
    np.testing.assert_allclose(out, other, atol=1e-4)
    np.testing.assert_allclose(np.asarray(attention)[:, :, order], weights, atol=1e-5)


def test_without_a_valid_date_the_result_is_a_constant():
    x, dates = inputs()
    never = np.zeros((B, T), bool)
    module = LTAE(CONFIG, (6,))
    params = random_params(module, x, dates, never, train=False)
    out, attention = run(module, params, x, dates, never, train=False)
    assert np.isfinite(out).all() and not np.asarray(attention).any()
    np.testing.assert_allclose(out, np.broadcast_to(np.asarray(out)[:1, :1], out.shape), atol=1e-6)
    assert np.isfinite(gradient(module, params, 0, x, dates, never, train=False)).all()


def test_the_first_dense_layer_exists_where_it_is_needed_or_asked_for():
    x, dates = np.zeros((1, 2, 1, WIDTH), np.float32), np.zeros((1, 2), np.int32)

    def names(**changes):
        return random_params(LTAE(CONFIG, (6,), **changes), x, dates, np.ones((1, 2), bool), train=False).keys()

    assert "expand" not in names() and "expand" in names(expand=True)
    assert "in_norm" in names() and "in_norm" not in names(normalise_input=False)


def test_dropout_is_drawn_in_training_only():
    x, dates = inputs()
    module = LTAE(dataclasses.replace(CONFIG, dropout=0.5), (16,))
    params = random_params(module, x, dates, VALID, train=False)

    def trained(seed):
        return np.asarray(module.apply({"params": params}, x, dates, VALID, train=True, rngs={"dropout": jax.random.key(seed)})[0])

    assert np.abs(trained(0) - trained(1)).max() > 1e-3
    np.testing.assert_array_equal(trained(0), trained(0))


def test_computation_in_bfloat16_keeps_attention_in_float32():
    x, dates = inputs()
    module = LTAE(CONFIG, (6,), jnp.bfloat16)
    params = random_params(module, x, dates, VALID, train=False)
    out, attention = jax.eval_shape(lambda: module.apply({"params": params}, x, dates, VALID, train=False))
    assert out.dtype == jnp.bfloat16 and attention.dtype == jnp.float32
