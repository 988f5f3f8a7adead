import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.models.decoder import Decoder, most_attended
from tests import layers_in_numpy as reference
from tests.layers_in_numpy import random_params, run

B, T, N, P, D = 2, 5, 3, 4, 8


@pytest.mark.parametrize(("share", "count"), [(1e-6, 1), (0.4, 2), (1.0, 5)])
def test_the_most_attended_valid_dates_are_chosen(share, count):
    attention = np.random.default_rng(0).uniform(size=(B, T, 2, 3)).astype(np.float32)
    valid = np.array([[1, 0, 1, 1, 1], [0, 0, 1, 0, 0]], bool)
    chosen, known = (np.asarray(x) for x in most_attended(jnp.asarray(attention), jnp.asarray(valid), share))
    assert chosen.shape == known.shape == (B, count)
    mean = np.where(valid, attention.mean((2, 3)), -1)
    for sample in range(B):
        np.testing.assert_array_equal(np.sort(mean[sample][chosen[sample]])[::-1], np.sort(mean[sample])[::-1][:count])
        np.testing.assert_array_equal(known[sample], valid[sample][chosen[sample]])
        assert len(set(chosen[sample])) == count


def test_the_choice_has_no_gradient():
    attention, valid = jnp.ones((1, T, 1, 1)), jnp.ones((1, T), bool)
    slope = jax.grad(lambda a: (most_attended(a, valid, 0.4)[0] * a.sum()).sum(), allow_int=True)(attention)
    np.testing.assert_allclose(slope, float(most_attended(attention, valid, 0.4)[0].sum()))


@pytest.mark.parametrize("dated", [False, True])
def test_decoders_equal_numpy(dated):
    rng = np.random.default_rng(0)
    tokens, dates = rng.normal(size=(B, P, D)).astype(np.float32), rng.integers(0, 400, (B, N)).astype(np.int32)
    module = Decoder(16, 12, 1000.0, jnp.float32)
    given = (tokens, dates) if dated else (tokens,)
    params = random_params(module, *given)
    x = tokens[:, None] + reference.date_sinusoid(dates, D, 1000.0)[:, :, None] if dated else tokens
    expected = reference.dense(reference.gelu(reference.dense(x, params["hidden"])), params["values"])
    out = run(module, params, *given)
    assert out.shape == ((B, N, P, 12) if dated else (B, P, 12)) and out.dtype == jnp.float32
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)


def test_values_are_float32():
    module, tokens = Decoder(16, 12, 1000.0, jnp.bfloat16), np.ones((B, P, D), np.float32)
    assert run(module, random_params(module, tokens), tokens).dtype == jnp.float32
