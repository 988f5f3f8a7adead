"""The dense InfoNCE against plain NumPy in float64, row by row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from omnisat_jax.errors import UserError
from omnisat_jax.losses.infonce import Comparison, infonce_loss, resolve_group_size


def infonce_oracle(z, present, temperature, group, copies=None, positives="mean"):
    v, b, p, _ = z.shape
    z = z.astype(np.float64)
    copies = np.zeros((v, v, b), bool) if copies is None else copies
    losses = []
    rows = [(m, i, j) for m in range(v) for i in range(b) for j in range(p) if present[m, i]]
    for m, i, j in rows:
        near = [r for r in rows if r[1] // group == i // group and not (r[1] == i and (r[0] == m or copies[r[0], m, i]))]
        positive = [r for r in near if r[1] == i and r[2] == j]
        if positive:
            score = {r: z[r] @ z[m, i, j] / temperature for r in near}
            logits = [score[r] for r in positive]
            combined = np.mean(logits) if positives == "mean" else np.log(np.exp(logits).sum())
            losses.append(np.log(sum(np.exp(score[r]) for r in near)) - combined)
    return np.mean(losses) if losses else 0.0


def unit(shape, seed=0):
    z = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


@settings(max_examples=15, deadline=None)
@given(hnp.arrays(bool, (3, 4)), hnp.arrays(bool, (3, 3, 4)), st.sampled_from([0, 2]), st.sampled_from(["mean", "sum"]))
def test_infonce_equals_the_oracle_for_any_presence_and_any_copies(present, drawn, group, positives):
    z, copies = unit((3, 4, 2, 5)), drawn | drawn.swapaxes(0, 1)
    loss, accuracy = infonce_loss(
        jnp.asarray(z), jnp.asarray(present), 0.1, Comparison(group, positives), copies=jnp.asarray(copies)
    )
    np.testing.assert_allclose(loss, infonce_oracle(z, present, 0.1, group or 4, copies, positives), rtol=1e-5, atol=1e-6)
    assert 0 <= accuracy <= 1


def test_one_easy_positive_does_not_satisfy_the_loss():
    """Two views agree with each other and not with the third: the loss is as large as that of the pairs that disagree."""
    z = np.broadcast_to(np.eye(12)[:6].reshape(1, 3, 2, 12), (3, 3, 2, 12)).copy()
    z[2] = np.eye(12)[6:].reshape(3, 2, 12)
    mean, total = (infonce_loss(jnp.asarray(z), jnp.ones((3, 3), bool), 0.1, Comparison(0, kind))[0] for kind in ("mean", "sum"))
    assert mean > 4 > 2 > total


def test_copies_are_neither_positives_nor_negatives():
    z = np.broadcast_to(np.eye(6).reshape(1, 3, 2, 6), (2, 3, 2, 6))
    every = jnp.ones((2, 2, 3), bool)
    assert infonce_loss(jnp.asarray(z), jnp.ones((2, 3), bool), 0.05, copies=every) == (0, 0)


def test_infonce_ignores_what_is_absent_and_has_finite_gradients():
    z, present = unit((2, 3, 2, 4)), np.array([[1, 1, 0], [1, 0, 1]], bool)
    other = z.copy()
    other[~present] = 7.0
    f = jax.value_and_grad(lambda z: infonce_loss(z, jnp.asarray(present), 0.1)[0])
    a, grad = f(jnp.asarray(z))
    b, _ = f(jnp.asarray(other))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert np.isfinite(grad).all() and not np.asarray(grad)[~present].any()


def test_infonce_is_low_when_aligned_and_zero_without_pairs():
    z = np.broadcast_to(np.eye(6).reshape(1, 3, 2, 6), (2, 3, 2, 6))
    loss, accuracy = infonce_loss(jnp.asarray(z), jnp.ones((2, 3), bool), 0.05)
    assert loss < 1e-3 and accuracy == 1
    alone = jnp.asarray([[True, False, True], [False, True, False]])
    assert infonce_loss(jnp.asarray(z), alone, 0.05)[0] == 0
    with pytest.raises(UserError, match="groups of 2"):
        infonce_loss(jnp.asarray(z), alone, 0.05, Comparison(2))


def test_group_sizes():
    assert resolve_group_size(6, 0) == 6 and resolve_group_size(6, 3) == 3
    with pytest.raises(UserError, match="a batch of 6 tiles cannot be cut into groups of 4"):
        resolve_group_size(6, 4)


def test_groups_are_compared_alone():
    """The loss of two groups is the mean of their losses; everything is counted once."""
    z = jnp.asarray(unit((2, 4, 3, 5)))
    present = jnp.ones((2, 4), bool)
    together, accuracy = infonce_loss(z, present, 0.1, Comparison(2))
    alone = [infonce_loss(z[:, tiles], present[:, tiles], 0.1) for tiles in (slice(0, 2), slice(2, 4))]
    np.testing.assert_allclose(together, (alone[0][0] + alone[1][0]) / 2, rtol=1e-6)
    np.testing.assert_allclose(accuracy, (alone[0][1] + alone[1][1]) / 2, rtol=1e-6)
