"""Batch normalization of embeddings: the definition, absent views, precision, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.losses.infonce import infonce_loss
from omnisat_jax.ops.batch_norm import batch_norm

V, B, P, E = 3, 4, 5, 6
PRESENT = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)


def embeddings(common=0.0, seed=0):
    """Unit vectors that share `common` times one direction."""
    z = np.random.default_rng(seed).normal(size=(V, B, P, E)) + common * np.ones(E)
    return jnp.asarray(z / np.linalg.norm(z, axis=-1, keepdims=True), jnp.float32)


def test_mean_0_and_variance_1_over_present_rows_then_unit_length():
    z = embeddings(common=3)
    found = np.asarray(batch_norm(z, jnp.asarray(PRESENT)))
    for view in range(2):
        rows = np.asarray(z[view], np.float64)
        known = rows[PRESENT[view]].reshape(-1, E)
        expected = (rows - known.mean(0)) / known.std(0)
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        np.testing.assert_allclose(found[view][PRESENT[view]], expected[PRESENT[view]], atol=2e-3)
    assert np.isfinite(found).all()


def test_a_common_direction_is_removed():
    """What all embeddings share hides their differences from the loss."""
    present = jnp.ones((V, B), bool)
    near, far = embeddings(common=30), embeddings()
    assert jnp.einsum("vbpe,vbqe->vbpq", near, near).min() > 0.9
    similar = jnp.einsum("vbpe,wcqe->vbpwcq", *2 * [batch_norm(near, present)])
    assert abs(similar.mean()) < 0.05 and similar.min() < -0.7
    gradient = jax.grad(lambda z: infonce_loss(batch_norm(z, present), present, 0.1)[0])
    plain = jax.grad(lambda z: infonce_loss(z, present, 0.1)[0])
    assert jnp.abs(gradient(near)).mean() > 5 * jnp.abs(plain(near)).mean() and jnp.isfinite(gradient(far)).all()


@pytest.mark.parametrize("same", ["all rows", "a view", "one row"])
def test_equal_embeddings_have_finite_gradients(same):
    z, present = embeddings(), jnp.ones((V, B), bool)
    if same == "all rows":
        z = jnp.broadcast_to(z[:1, :1, :1], z.shape)
    elif same == "a view":
        z = z.at[0].set(z[0, 0, 0])
    else:
        z, present = z[:, :1, :1], present[:, :1]
    loss, gradient = jax.value_and_grad(lambda z: infonce_loss(batch_norm(z, present), present, 0.1)[0])(z)
    assert np.isfinite(loss) and jnp.isfinite(gradient).all() and jnp.isfinite(batch_norm(z, present)).all()


def test_absent_rows_change_nothing_even_if_they_are_not_finite():
    z, present = embeddings(), jnp.asarray(PRESENT)
    other = jnp.where(present[:, :, None, None], z, jnp.nan)
    a, b = (np.asarray(batch_norm(x, present))[PRESENT] for x in (z, other))
    np.testing.assert_array_equal(a, b)


def test_half_precision_is_computed_in_float32():
    z, present = embeddings(common=3).astype(jnp.bfloat16), jnp.ones((V, B), bool)
    found = batch_norm(z, present)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found, batch_norm(z.astype(jnp.float32), present), atol=4e-3)
