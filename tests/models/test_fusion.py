"""Fusion: what an absent modality, a masked token and a position may do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.models.fusion import Fusion
from tests.layers_in_numpy import gradient, random_params, run

B, M, P, D = 2, 3, 4, 8
CONFIG = schema.FusionConfig(depth=1, heads=2, mlp_ratio=2, dropout=0.5, attention="xla")
NAMES = ("a", "b", "c")
PRESENT = np.array([[1, 0, 1], [0, 1, 1]], bool)
MODULE = Fusion(CONFIG, NAMES)


def draw(seed=0):
    return np.random.default_rng(seed).normal(size=(B, M, P, D)).astype(np.float32)


MASKED = np.random.default_rng(3).uniform(size=(B, M, P)) < 0.4
PARAMS = random_params(MODULE, draw(), PRESENT, MASKED, train=False)


def test_shapes_and_dtypes():
    module = Fusion(CONFIG, NAMES, jnp.bfloat16)
    made, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), draw(), PRESENT, train=False))
    assert made.shape == (B, P, D) and made.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    assert variables["params"].keys() == {"modality_a", "modality_b", "modality_c", "block0", "cross", "query", "norm"}


@pytest.mark.parametrize("filler", [7.0, np.nan])
def test_absent_modalities_may_hold_anything(filler):
    tokens = draw()
    rotten = np.where(PRESENT[:, :, None, None], tokens, np.float32(filler))
    plain, other = (run(MODULE, PARAMS, x, PRESENT, train=False) for x in (tokens, rotten))
    np.testing.assert_allclose(plain, other, atol=1e-5)
    slope = gradient(MODULE, PARAMS, 0, rotten, PRESENT, train=False)
    assert not slope[~PRESENT].any() and np.abs(slope[PRESENT]).min() > 0


def test_absent_is_the_same_as_never_configured():
    """A model of two modalities with the parameters of the third left out."""
    tokens, present = draw(), np.ones((B, M), bool)
    present[:, 1] = False
    smaller = {name: value for name, value in PARAMS.items() if name != "modality_b"}
    expected = run(Fusion(CONFIG, ("a", "c")), smaller, tokens[:, [0, 2]], present[:, [0, 2]], train=False)
    np.testing.assert_allclose(run(MODULE, PARAMS, tokens, present, train=False), expected, atol=1e-5)


def test_the_order_of_modalities_changes_nothing():
    order = [2, 0, 1]
    other = Fusion(CONFIG, tuple(NAMES[i] for i in order))
    tokens = draw()
    given = tokens[:, order], PRESENT[:, order], MASKED[:, order]
    np.testing.assert_allclose(
        run(other, PARAMS, *given, train=False), run(MODULE, PARAMS, tokens, PRESENT, MASKED, train=False), atol=1e-5
    )


def test_masked_tokens_are_replaced():
    tokens = draw()
    other = np.where(MASKED[..., None], draw(seed=1), tokens)
    np.testing.assert_allclose(*(run(MODULE, PARAMS, x, PRESENT, MASKED, train=False) for x in (tokens, other)), atol=1e-5)
    slope = gradient(MODULE, PARAMS, 0, tokens, PRESENT, MASKED, train=False)
    assert not slope[MASKED].any() and slope[~MASKED & PRESENT[:, :, None]].any()
    # A masked token is still a key, unlike an absent one: it says where nothing is known, and its vector is learned.
    changed = PARAMS | {"mask": PARAMS["mask"][::-1]}
    found, moved = (run(MODULE, params, tokens, PRESENT, MASKED, train=False) for params in (PARAMS, changed))
    assert np.abs(found - moved).max() > 1e-3


def test_nothing_present_is_the_same_for_every_tile():
    nothing = np.zeros((B, M), bool)
    tokens = draw()
    out = np.asarray(run(MODULE, PARAMS, tokens, nothing, train=False))
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[0], out[1], atol=1e-6)
    assert not gradient(MODULE, PARAMS, 0, tokens, nothing, train=False).any()


def test_tiles_do_not_mix_and_patches_have_positions():
    tokens = draw()
    whole = np.asarray(run(MODULE, PARAMS, tokens, PRESENT, train=False))
    np.testing.assert_allclose(whole[:1], run(MODULE, PARAMS, tokens[:1], PRESENT[:1], train=False), atol=1e-5)
    same = np.broadcast_to(tokens[:, :, :1], tokens.shape)
    out = np.asarray(run(MODULE, PARAMS, same, PRESENT, train=False))
    assert np.abs(out[:, 0] - out[:, 1]).max() > 1e-3


def test_any_grid_can_be_fused_with_the_same_parameters():
    assert run(MODULE, PARAMS, np.ones((1, M, 9, D), np.float32), PRESENT[:1], train=False).shape == (1, 9, D)


def test_recomputation_changes_nothing():
    again = Fusion(CONFIG, NAMES, remat=True)
    np.testing.assert_allclose(*(run(m, PARAMS, draw(), PRESENT, MASKED, train=False) for m in (MODULE, again)), atol=1e-6)
