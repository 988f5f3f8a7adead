import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.models.skysense import DatedEncoding, SpatialEncoder, TemporalFusion
from tests.conftest import tiny
from tests.layers_in_numpy import random_params, run
from tests.models.worlds import B, K, T, call, everything, world

MODEL = schema.parse(tiny("skysense")).model
P, D = 4, 16
NAMES = ("a", "b")
FUSION = TemporalFusion(MODEL.skysense, MODEL.fusion, 1000.0, NAMES, jnp.float32)
PRESENT = np.array([[1, 1], [1, 0]], bool)


@pytest.mark.parametrize(("fine", "side"), [(True, 2 * 5), (False, 2 * 20)])
def test_images_finer_than_the_labels_are_halved_twice(fine, side):
    module = SpatialEncoder(8, D, 20, fine, "image", jnp.float32)
    maps, tokens = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.ones((3, 40, 40, 2)))[0])
    assert maps.shape == (3, side, side, 8) and tokens.shape == (3, 4, D)


def encoded(seed=0):
    """{name: DatedEncoding} of two modalities of T dates and of one."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, dates in zip(NAMES, (T, 1)):
        dated = rng.normal(size=(B, dates, P, D)).astype(np.float32)
        valid = np.ones((B, dates), bool)
        valid[0, 1:2] = False
        days = rng.integers(0, 400, (B, dates)).astype(np.int32)
        out[name] = DatedEncoding(dated[:, 0], dated[:, 0], valid, dated, days, valid)
    return out


def fuse(given, params=None, present=PRESENT, masked=None):
    params = random_params(FUSION, encoded(), PRESENT, np.zeros((B, 2, P), bool), train=False) if params is None else params
    return np.asarray(run(FUSION, params, given, present, masked, train=False))


def test_absent_modalities_and_invalid_dates_may_hold_anything():
    given = encoded()
    a, b = given["a"], given["b"]
    rotten = {
        "a": a._replace(dated=np.where(a.valid[:, :, None, None], a.dated, np.float32(np.nan)), dates=np.where(a.valid, a.dates, 9999)),
        "b": b._replace(dated=np.where(PRESENT[:, 1, None, None, None], b.dated, np.float32(np.nan))),
    }
    assert fuse(given).shape == (B, P, D)
    np.testing.assert_allclose(fuse(given), fuse(rotten), atol=1e-5)


def test_every_patch_is_fused_alone_and_dates_have_no_order():
    given = encoded()
    a = given["a"]
    changed = a.dated.copy()
    changed[:, :, 1] = np.random.default_rng(9).normal(size=(B, T, D))
    distance = np.abs(fuse(given) - fuse(given | {"a": a._replace(dated=changed)})).max((0, 2))
    assert distance[1] > 1e-3 and distance[[0, 2, 3]].max() < 1e-5
    order = [2, 0, 1]
    shuffled = a._replace(dated=a.dated[:, order], dates=a.dates[:, order], valid=a.valid[:, order])
    np.testing.assert_allclose(fuse(given), fuse(given | {"a": shuffled}), atol=1e-4)
    later = a._replace(dates=a.dates + 90)
    assert np.abs(fuse(given) - fuse(given | {"a": later})).max() > 1e-3


def test_masked_patches_are_replaced_at_all_dates():
    masked = np.zeros((B, 2, P), bool)
    masked[:, 0, 2] = True
    given, other = encoded(), encoded()
    other["a"].dated[:, :, 2] = 5.0
    np.testing.assert_allclose(fuse(given, masked=masked), fuse(other, masked=masked), atol=1e-5)


def test_nothing_present_is_defined():
    out = fuse(encoded(), present=np.zeros((B, 2), bool))
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[0], out[1], atol=1e-6)


def test_the_whole_model_takes_an_image_for_a_series_of_one_date():
    model, params, inputs = world("skysense")
    assert call(model, params, "__call__", inputs, everything(model)).shape == (B, 8, 8, K)
    inputs = inputs | {"s2": inputs["s2"] | {"valid": inputs["s2"]["valid"].at[0, 1].set(False)}}
    out = call(model, params, "encode", inputs).parts
    image, series = out["spot"], out["s2"]
    assert image.dated.shape == (B, 1, P, D) and not np.asarray(image.dates).any() and series.dated.shape == (B, T, P, D)
    np.testing.assert_allclose(series.tokens[0], np.asarray(series.dated)[0, [0, 2]].mean(0), atol=1e-5)
    np.testing.assert_allclose(series.attention[0, :, 0, 0], [0.5, 0, 0.5])
    assert model.attention_of(out) == {}
