"""U-TAE: the collapse of skip connections against NumPy, sizes, and what a date may change."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.utae import UTAE, FrameEncoder, UTAEDecoder, UTAENetwork, UTAEStream, collapse
from omnisat_jax.ops.patches import resize
from tests.conftest import tiny
from tests.layers_in_numpy import gradient, random_params, run

MODEL = schema.parse(tiny()).model
THREE = dataclasses.replace(MODEL.utae, encoder_widths=(4, 6, 8), decoder_widths=(4, 4, 8))
B, T = 2, 3


def series(side=8, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    dates = rng.integers(0, 400, (B, T)).astype(np.int32)
    return rng.normal(size=(B, T, side, side, channels)).astype(np.float32), dates, np.array([[1, 1, 1], [1, 0, 1]], bool)


@pytest.mark.parametrize(("channels", "heads", "used"), [(8, 4, 4), (6, 4, 3)])
def test_skips_are_sums_over_dates_with_one_group_of_channels_per_head(channels, heads, used):
    rng = np.random.default_rng(0)
    skip = rng.normal(size=(B, T, 4, 4, channels)).astype(np.float32)
    attention = rng.uniform(size=(B, heads, T, 2, 2)).astype(np.float32)
    expected = np.zeros((B, 4, 4, channels))
    for head in range(used):
        part = slice(head * channels // used, (head + 1) * channels // used)
        weights = np.asarray(resize(attention[:, head].reshape(B * T, 2, 2, 1), 4)).reshape(B, T, 4, 4, 1)
        expected[..., part] = (weights * skip[..., part]).sum(1)
    np.testing.assert_allclose(collapse(jnp.asarray(skip), jnp.asarray(attention)), expected, rtol=1e-4, atol=1e-5)


def test_attention_on_one_date_picks_its_map():
    skip = np.random.default_rng(0).normal(size=(B, T, 4, 4, 4)).astype(np.float32)
    attention = np.zeros((B, 2, T, 2, 2), np.float32)
    attention[:, :, 1] = 1
    np.testing.assert_allclose(collapse(jnp.asarray(skip), jnp.asarray(attention)), skip[:, 1], atol=1e-6)


def shapes(module, *arguments, **keywords):
    made = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), *arguments, **keywords)[0])
    return jax.tree.map(lambda leaf: leaf.shape, made)


def test_levels_halve():
    assert shapes(FrameEncoder(THREE, "image", jnp.float32), jnp.ones((2, 8, 8, 3))) == [(2, 8, 8, 4), (2, 4, 4, 6), (2, 2, 2, 8)]
    maps = [jnp.ones((2, 8, 8, 4)), jnp.ones((2, 4, 4, 6)), jnp.ones((2, 2, 2, 8))]
    assert shapes(UTAEDecoder(THREE), maps) == (2, 8, 8, 4)


def test_sides_that_cannot_be_halved_are_padded_and_cut_off_again():
    values, dates, valid = series(side=10)
    maps, attention = shapes(UTAEStream(THREE, MODEL.ltae), values, dates, valid, train=False)
    assert maps == [(B, 12, 12, 4), (B, 6, 6, 6), (B, 3, 3, 8)] and attention == (B, MODEL.ltae.heads, T, 3, 3)
    features, _ = shapes(UTAENetwork(THREE, MODEL.ltae), values, dates, valid, train=False)
    assert features == (B, 10, 10, 4)
    out = shapes(UTAE(THREE, MODEL.ltae, 16, 5), values, dates, valid, train=False)
    assert out.tokens == (B, 4, 16) and out.features == (B, 10, 10, 4) and out.attention == (B, T, 3, 3)


def test_tiles_and_padded_dates_do_not_mix_and_attention_sums_to_one():
    values, dates, valid = series()
    module = UTAE(MODEL.utae, MODEL.ltae, 16, 4)
    params = random_params(module, values, dates, valid, train=False)
    out = run(module, params, values, dates, valid, train=False)
    np.testing.assert_allclose(np.asarray(out.attention).sum(1), 1, atol=1e-5)
    assert not np.asarray(out.attention)[1, 1].any()
    other = values.copy()
    other[0], other[1, 1] = 5.0, np.nan
    found = run(module, params, other, dates, valid, train=False)
    for a, b in zip(out, found):
        np.testing.assert_allclose(a[1], b[1], atol=1e-4)
    assert np.abs(out.features[0] - found.features[0]).max() > 1e-2
    slope = gradient(module, params, 0, other[1:], dates[1:], valid[1:], train=False)
    assert np.isfinite(slope).all() and not slope[0, 1].any() and slope[0, 0].any()


def test_the_faithful_form_sees_padded_dates():
    values, dates, valid = series()
    more = np.concatenate([values, np.zeros_like(values[:, :1])], 1), np.pad(dates, ((0, 0), (0, 1))), np.pad(valid, ((0, 0), (0, 1)))
    for faithful in (False, True):
        module = UTAENetwork(MODEL.utae, MODEL.ltae, faithful=faithful)
        params = random_params(module, values, dates, valid, train=False)
        plain, padded = (run(module, params, *given, train=False)[0] for given in ((values, dates, valid), more))
        assert np.allclose(plain, padded, atol=1e-4) != faithful


def test_recomputation_changes_nothing():
    values, dates, valid = series()
    plain, again = (UTAE(MODEL.utae, MODEL.ltae, 16, 4, remat=remat) for remat in (False, True))
    params = random_params(plain, values, dates, valid, train=False)
    np.testing.assert_allclose(*(run(m, params, values, dates, valid, train=False).tokens for m in (plain, again)), atol=1e-6)


def test_default_utae_has_the_published_size():
    """1,087,260 in the original; norms in another place and tokens instead of a class head make the difference small."""
    from configs import pastis

    model = schema.parse(pastis.get_config("hd")).model
    module = UTAE(model.utae, model.ltae, model.width, 4)
    inputs = (jnp.ones((1, 2, 32, 32, 10)), jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2), bool))
    made = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=False))
    token = 4 * 4 * 32 * 256 + 256
    count = sum(np.prod(x.shape) for x in jax.tree.leaves(made)) - token
    assert abs(count - 1_087_260) / 1_087_260 < 0.03, count
