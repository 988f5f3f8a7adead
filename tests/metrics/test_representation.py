"""Label-free scores of embeddings whose values are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.metrics.representation import COLLAPSED, position_r2, representation_scores


def views(shape, seed=0):
    z = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(z / np.linalg.norm(z, axis=-1, keepdims=True), jnp.float32)


def test_monitors_of_known_embeddings():
    here = jnp.ones((2, 6), bool)
    one = views((1, 6, 40, 8))
    same = representation_scores(jnp.concatenate([one, one]), here)
    assert same["alignment"] == pytest.approx(0, abs=1e-5) and same["retrieval"] == 1
    assert 7 < same["effective_rank"] <= 8  # all directions alike
    other = representation_scores(jnp.concatenate([one, -one]), here)
    assert other["alignment"] == pytest.approx(4, abs=1e-4) and other["retrieval"] < 0.5
    collapsed = representation_scores(jnp.broadcast_to(one[:, :1, :1], (2, 6, 40, 8)), here)
    assert collapsed["uniformity"] == pytest.approx(0, abs=1e-4) and collapsed["effective_rank"] < COLLAPSED
    two = jnp.asarray([[1.0, 0], [-1, 0]])[jnp.arange(2 * 6 * 40) % 2].reshape(2, 6, 40, 2)
    assert representation_scores(two, here)["effective_rank"] == pytest.approx(1, abs=1e-3)


def test_monitors_do_not_see_absent_views():
    z, here = views((3, 4, 5, 6)), np.ones((3, 4), bool)
    here[1, 2] = here[0, 0] = False
    found = representation_scores(z, jnp.asarray(here))
    garbage = representation_scores(jnp.where(here[..., None, None], z, 7.0), jnp.asarray(here))
    for name in found:
        np.testing.assert_allclose(found[name], garbage[name], rtol=1e-4, err_msg=name)


def test_position_is_predicted_only_from_embeddings_that_encode_it():
    rng = np.random.default_rng(0)
    here = np.ones((2, 6), bool)
    here[1, 3:] = False
    blind = rng.normal(size=(2, 6, 36, 8)).astype(np.float32)
    assert abs(position_r2(jnp.asarray(blind), jnp.asarray(here))) < 0.1
    rows, columns = np.mgrid[:6, :6].reshape(2, 36)
    encoding = blind.copy()
    encoding[..., 0], encoding[..., 1] = rows + encoding[..., 2], columns - 3 * encoding[..., 3]
    assert position_r2(jnp.asarray(encoding), jnp.asarray(here)) == pytest.approx(1, abs=1e-3)
    one = np.stack([encoding[0], blind[1]])
    assert position_r2(jnp.asarray(one), jnp.asarray(here)) == pytest.approx(0.5, abs=0.1)
    # Values of absent views do not count; a view that no tile has does not enter the mean.
    assert position_r2(jnp.asarray(np.where(here[..., None, None], encoding, np.nan)), jnp.asarray(here)) > 0.99
    assert position_r2(jnp.asarray(one), jnp.asarray(here & [[True], [False]])) == pytest.approx(1, abs=1e-3)
    assert position_r2(jnp.asarray(encoding[:, :, :1]), jnp.asarray(here)) == 0
