"""The temporal-first encoder: what a date, a tile and a distant pixel may change."""

import dataclasses

import jax
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.temporal_first import TemporalFirst
from tests.conftest import tiny
from tests.layers_in_numpy import gradient, random_params, run

MODEL = schema.parse(tiny()).model
CONFIG = dataclasses.replace(MODEL.temporal_first, times=4, date_width=3, width=6, blocks=1, dropout=0.0)
B, T, SIDE = 2, 3, 8
DATES, VALID = np.array([[5, 100, 300], [40, 90, 200]], np.int32), np.array([[1, 1, 1], [1, 0, 1]], bool)


def series(channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(B, T, SIDE, SIDE, channels)).astype(np.float32)


def made(**changes):
    module = TemporalFirst(dataclasses.replace(CONFIG, **changes), "zeros", 16, 4)
    return module, random_params(module, series(), DATES, VALID, train=False)


def test_shapes_and_attention():
    module, params = made()
    out = run(module, params, series(), DATES, VALID, train=False)
    assert out.tokens.shape == (B, 4, 16) and out.features.shape == (B, SIDE, SIDE, 6) and out.attention.shape == (B, T, SIDE, SIDE)
    np.testing.assert_allclose(np.asarray(out.attention).sum(1), 1, rtol=1e-4)
    assert not np.asarray(out.attention)[1, 1].any()


def test_tiles_and_invalid_dates_do_not_mix():
    module, params = made()
    values = series()
    out = run(module, params, values, DATES, VALID, train=False)
    other = values.copy()
    other[0], other[1, 1] = 5.0, np.nan
    found = run(module, params, other, DATES, VALID, train=False)
    for a, b in zip(out, found):
        np.testing.assert_allclose(a[1], b[1], atol=1e-5)
    assert np.abs(out.features[0] - found.features[0]).max() > 1e-2
    slope = gradient(module, params, 0, other[1:], DATES[1:], VALID[1:], train=False)
    assert np.isfinite(slope).all() and not slope[0, 1].any() and slope[0, 0].any()


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_a_block_sees_one_more_pixel(blocks):
    module, params = made(blocks=blocks)
    values = series()
    moved = values.copy()
    moved[:, :, 0, 0] += 1.0
    changed = (
        np.abs(
            run(module, params, values, DATES, VALID, train=False).features
            - run(module, params, moved, DATES, VALID, train=False).features
        ).max((0, 3))
        > 1e-6
    )
    assert changed[: blocks + 1, : blocks + 1].all() and changed.sum() == (blocks + 1) ** 2


def test_recomputing_activations_changes_nothing():
    module, params = made()
    again = dataclasses.replace(module, remat=True)
    values = series()
    for which in (module, again):
        assert jax.tree.structure(which.init(jax.random.key(0), values, DATES, VALID, train=False)["params"]) == jax.tree.structure(
            params
        )
    np.testing.assert_allclose(
        gradient(module, params, 0, values, DATES, VALID, train=False),
        gradient(again, params, 0, values, DATES, VALID, train=False),
        rtol=1e-4,
        atol=1e-6,
    )


def test_dropout_is_for_training_only():
    module, params = made(dropout=0.5)
    values = series()
    still = [module.apply({"params": params}, values, DATES, VALID, train=False).tokens for _ in range(2)]
    np.testing.assert_array_equal(*still)
    dropped = [
        module.apply({"params": params}, values, DATES, VALID, train=True, rngs={"dropout": jax.random.key(k)}).tokens
        for k in (0, 1)
    ]
    assert np.abs(dropped[0] - dropped[1]).max() > 1e-3
