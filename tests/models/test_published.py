"""OmniSat as published: its combiner, its switches, and the encoder for the authors' weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.models.published_encoder import PublishedEncoder, PublishedImageEncoder, PublishedSeriesEncoder
from omnisat_jax.models.published_fusion import PublishedFusion
from tests import layers_in_numpy as reference
from tests.conftest import tiny
from tests.layers_in_numpy import gradient, random_params, run
from tests.models.worlds import B, K, call, everything, make, world

M, P, D = 3, 4, 8
MODEL = schema.parse(tiny("published")).model
FUSION = PublishedFusion(1, 2, published=False)
PRESENT = np.array([[1, 0, 1], [1, 1, 1]], bool)
MASKED = np.random.default_rng(3).uniform(size=(B, M, P)) < 0.4


def draw(seed=0):
    return np.random.default_rng(seed).normal(size=(B, M, P, D)).astype(np.float32)


PARAMS = random_params(FUSION, draw(), PRESENT, MASKED)


def test_absent_modalities_are_never_keys():
    tokens = draw()
    rotten = np.where(PRESENT[:, :, None, None], tokens, np.float32(np.nan))
    out = run(FUSION, PARAMS, tokens, PRESENT)
    assert out.shape == (B, P + 1, D)
    np.testing.assert_allclose(out, run(FUSION, PARAMS, rotten, PRESENT), atol=1e-5)
    slope = gradient(FUSION, PARAMS, 0, rotten, PRESENT)
    assert not slope[~PRESENT].any() and np.isfinite(slope).all()
    np.testing.assert_allclose(run(FUSION, PARAMS, tokens)[1], out[1], atol=1e-5)  # all present is the default


def test_an_absent_modality_is_the_same_as_a_combiner_of_the_others():
    tokens, present = draw(), np.ones((B, M), bool)
    present[:, 1] = False
    np.testing.assert_allclose(run(FUSION, PARAMS, tokens, present), run(FUSION, PARAMS, tokens[:, [0, 2]]), atol=1e-5)


@pytest.mark.parametrize("keep", [False, True])
def test_masked_tokens_keep_their_position_where_asked(keep):
    module = PublishedFusion(1, 2, published=False, keep_position=keep)
    everything_masked = np.ones((B, M, P), bool)
    before, after = (run(module, PARAMS, x, PRESENT, everything_masked) for x in (draw(), draw(1)))
    np.testing.assert_allclose(before, after, atol=1e-5)
    moved = PARAMS | {"position": PARAMS["position"].copy()}
    moved["position"][1:] = moved["position"][:0:-1]
    changed = np.abs(run(module, moved, draw(), PRESENT, everything_masked) - before).max()
    assert (changed > 1e-4) == keep


def test_a_combiner_of_another_grid_is_refused():
    with pytest.raises(UserError, match="trained for 9 patches per tile, found 4"):
        jax.eval_shape(PublishedFusion(1, 2, patches=9).init, jax.random.key(0), draw())


def test_the_tile_token_predicts_and_is_added_to_the_patches():
    model, params, inputs = world("published")
    encoded = call(model, params, "encode", inputs)
    logits = call(model, params, "predict", encoded, everything(model))
    assert logits.shape == (B, K) and logits.dtype == jnp.float32
    stacked = np.stack([encoded.parts[name].tokens for name in model.names], 1)
    combined = run(PublishedFusion(1, 2, published=False), params["fusion"], stacked, everything(model))
    expected = reference.dense(reference.layer_norm(np.asarray(combined)[:, 0], params["head"]["LayerNorm_0"]), params["head"]["logits"])
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
    tokens = np.asarray(call(model, params, "tokens", encoded, everything(model)))
    np.testing.assert_allclose(tokens, combined[:, 1:] + combined[:, :1], atol=1e-4)
    untrained, _ = make("published", **{"model.published.train_tile": False})
    np.testing.assert_allclose(call(untrained, params, "tokens", encoded, everything(model)), combined[:, 1:], atol=1e-4)


def test_only_the_series_of_most_bands_has_a_norm_before_attention():
    _, params, _ = world("published")
    normed = {name for name in ("s2", "s1a", "s1d") if "in_norm" in params[f"encoders_{name}"]["ltae"]}
    assert normed == {"s2"}


def encoder(fusion=None, series=MODEL.patch_ltae):
    encoders = (
        ("aerial", PublishedImageEncoder(MODEL.patch_cnn, D, 8)),
        ("s2", PublishedSeriesEncoder(series, MODEL.ltae, D, 4, True)),
    )
    return PublishedEncoder(encoders, fusion or {"depth": 1, "heads": 2, "patches": P, "shared": True, "published": True})


def tiles():
    rng = np.random.default_rng(0)
    dates = rng.integers(0, 300, (B, 3)).astype(np.int32)
    return {
        "aerial": rng.normal(size=(B, 16, 16, 3)).astype(np.float32),
        "s2": (rng.normal(size=(B, 3, 8, 8, 4)).astype(np.float32), dates, np.ones((B, 3), bool)),
    }


def test_the_whole_encoder_and_what_is_unknown_to_it():
    module, inputs = encoder(), tiles()
    params = random_params(module, inputs)
    out = run(module, params, inputs)
    assert out.shape == (B, P + 1, D) and params.keys() == {"encoder_aerial", "encoder_s2", "fusion"}
    np.testing.assert_allclose(run(module, params, inputs | {"s2": inputs["s2"][:2]}), out, atol=1e-5)  # valid is optional
    values, dates, valid = inputs["s2"]
    absent = np.array([[True] * 3, [False] * 3])
    a, b = (run(module, params, inputs | {"s2": (v, dates, absent)}) for v in (values, np.full_like(values, np.nan)))
    np.testing.assert_allclose(a[1], b[1], atol=1e-5)
    np.testing.assert_allclose(a[0], out[0], atol=1e-5)


def test_other_modalities_and_grids_are_refused():
    inputs = tiles()
    with pytest.raises(UserError, match="expected the modalities aerial, s2, found s2"):
        jax.eval_shape(encoder().init, jax.random.key(0), {"s2": inputs["s2"]})
    with pytest.raises(UserError, match="must cover the same patches, found .*'aerial'"):
        jax.eval_shape(encoder().init, jax.random.key(0), inputs | {"aerial": inputs["aerial"][:, :8, :8]})
