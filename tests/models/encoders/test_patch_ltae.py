import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.patch_ltae import PatchLTAE
from tests.conftest import tiny
from tests.layers_in_numpy import gradient, random_params, run

MODEL = schema.parse(tiny()).model
B, T, PATCH = 2, 4, 4
VALID = np.array([[1, 1, 1, 1], [0, 1, 1, 0]], bool)


def series():
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, T, 8, 12, 3)).astype(np.float32), rng.integers(0, 400, (B, T)).astype(np.int32)


@pytest.mark.parametrize("normalise", [False, True])
def test_every_patch_is_encoded_alone(normalise):
    values, dates = series()
    module = PatchLTAE(MODEL.patch_ltae, MODEL.ltae, 16, PATCH, normalise_input=normalise)
    params = random_params(module, values, dates, VALID, train=False)
    assert ("in_norm" in params["ltae"]) == normalise
    out = run(module, params, values, dates, VALID, train=False)
    assert out.tokens.shape == (B, 6, 16) and out.features is None and out.attention.shape == (B, T, 2, 3)
    np.testing.assert_allclose(np.asarray(out.attention).sum(1), 1, atol=1e-5)
    assert not np.asarray(out.attention)[~VALID].any()
    changed = values.copy()
    changed[:, :, :PATCH, PATCH : 2 * PATCH] += 1.0  # the second patch
    moved = np.abs(np.asarray(run(module, params, changed, dates, VALID, train=False).tokens - out.tokens)).max(-1)
    assert (moved[:, 1] > 1e-3).all() and moved[:, [0, 2, 3, 4, 5]].max() < 1e-5


def test_invalid_dates_may_hold_anything():
    values, dates = series()
    module = PatchLTAE(MODEL.patch_ltae, MODEL.ltae, 16, PATCH)
    params = random_params(module, values, dates, VALID, train=False)
    rotten = np.where(VALID[:, :, None, None, None], values, np.nan).astype(np.float32)
    moved = np.where(VALID, dates, 9999).astype(np.int32)
    a, b = (run(module, params, *given, VALID, train=False).tokens for given in ((values, dates), (rotten, moved)))
    np.testing.assert_allclose(a, b, atol=1e-5)
    slope = gradient(module, params, 0, rotten, dates, VALID, train=False)
    assert np.isfinite(slope).all() and not slope[~VALID].any()


def test_without_a_valid_date_all_tokens_are_the_same():
    values, dates = series()
    module, never = PatchLTAE(MODEL.patch_ltae, MODEL.ltae, 16, PATCH), jnp.zeros((B, T), bool)
    params = random_params(module, values, dates, never, train=False)
    tokens = np.asarray(run(module, params, values, dates, never, train=False).tokens)
    assert np.isfinite(tokens).all()
    np.testing.assert_allclose(tokens, np.broadcast_to(tokens[:1, :1], tokens.shape), atol=1e-6)
