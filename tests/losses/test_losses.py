"""Losses against plain NumPy in float64, loop by loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from omnisat_jax.config import schema
from omnisat_jax.losses.classification import multilabel_loss
from omnisat_jax.losses.infonce import infonce_loss
from omnisat_jax.losses.infonce_ring import ring_infonce_loss
from omnisat_jax.losses.segmentation import segmentation_loss
from omnisat_jax.ops.random import drop_modalities
from omnisat_jax.parallel.mesh import make_mesh


def contrast_oracle(z, present, temperature, group):
    v, b, p, _ = z.shape
    z = z.astype(np.float64)
    losses = []
    rows = [(m, i, j) for m in range(v) for i in range(b) for j in range(p) if present[m, i]]
    for m, i, j in rows:
        near = [r for r in rows if r[1] // group == i // group and not (r[0] == m and r[1] == i)]
        positive = [r for r in near if r[1] == i and r[2] == j]
        if positive:
            score = {r: z[r] @ z[m, i, j] / temperature for r in near}
            losses.append(np.log(sum(np.exp(score[r]) for r in near)) - np.log(sum(np.exp(score[r]) for r in positive)))
    return np.mean(losses) if losses else 0.0


def unit(shape, seed=0):
    z = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


@settings(max_examples=15, deadline=None)
@given(hnp.arrays(bool, (3, 4)), st.sampled_from([0, 2]))
def test_contrast_equals_the_oracle_for_any_presence(present, group):
    z = unit((3, 4, 2, 5))
    loss, accuracy = infonce_loss(jnp.asarray(z), jnp.asarray(present), 0.1, group=group)
    np.testing.assert_allclose(loss, contrast_oracle(z, present, 0.1, group or 4), rtol=1e-5, atol=1e-6)
    assert 0 <= accuracy <= 1


@functools.cache
def gradients(group):
    """Jitted value and gradient of the dense loss and of the ring on one device."""
    mesh = make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])
    losses = (
        lambda z, present: infonce_loss(z, present, 0.1, group=group)[0],
        lambda z, present: ring_infonce_loss(z, present, 0.1, mesh=mesh, group=group)[0],
    )
    return [jax.jit(jax.value_and_grad(loss)) for loss in losses]


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(bool, (3, 4)), st.sampled_from([0, 2]))
def test_ring_equals_dense_for_any_presence(present, group):
    """On one device, rows in one chunk; several devices and chunks: tests/distributed."""
    z = jnp.asarray(unit((3, 4, 2, 5)))
    expected, found = (gradient(z, jnp.asarray(present)) for gradient in gradients(group))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)


def test_ring_refuses_groups_that_do_not_fit():
    mesh = make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])
    with pytest.raises(ValueError, match="groups of 3"):
        ring_infonce_loss(jnp.asarray(unit((3, 4, 2, 5))), jnp.ones((3, 4), bool), 0.1, mesh=mesh, group=3)


def test_contrast_ignores_what_is_absent_and_has_finite_gradients():
    z, present = unit((2, 3, 2, 4)), np.array([[1, 1, 0], [1, 0, 1]], bool)
    other = z.copy()
    other[~present] = 7.0
    f = jax.value_and_grad(lambda z: infonce_loss(z, jnp.asarray(present), 0.1)[0])
    a, grad = f(jnp.asarray(z))
    b, _ = f(jnp.asarray(other))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert np.isfinite(grad).all() and not np.asarray(grad)[~present].any()


def test_contrast_is_low_when_aligned_and_zero_without_pairs():
    z = np.broadcast_to(np.eye(6).reshape(1, 3, 2, 6), (2, 3, 2, 6))
    loss, accuracy = infonce_loss(jnp.asarray(z), jnp.ones((2, 3), bool), 0.05)
    assert loss < 1e-3 and accuracy == 1
    alone = jnp.asarray([[True, False, True], [False, True, False]])
    assert infonce_loss(jnp.asarray(z), alone, 0.05)[0] == 0
    with pytest.raises(ValueError, match="groups of 2"):
        infonce_loss(jnp.asarray(z), alone, 0.05, group=2)


def segmentation_oracle(logits, labels, weight, ignore, dice_weight):
    logits = logits.astype(np.float64)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    keep = (labels != ignore) & (weight[:, None, None] > 0)
    if not keep.any():
        return 0.0
    p, y = p[keep], labels[keep]
    dice = [1 - 2 * p[y == k, k].sum() / ((p[:, k] ** 2).sum() + (y == k).sum()) for k in range(p.shape[-1]) if (y == k).any()]
    return -np.log(p[np.arange(len(y)), y]).mean() + dice_weight * np.mean(dice)


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.int32, (3, 4, 4), elements=st.integers(0, 5)), hnp.arrays(np.float32, 3, elements=st.sampled_from([0.0, 1.0])))
def test_segmentation_equals_the_oracle(labels, weight):
    logits = np.random.default_rng(1).normal(size=(3, 4, 4, 5)).astype(np.float32)
    loss, _ = segmentation_loss(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weight), ignore=5, dice_weight=0.7)
    np.testing.assert_allclose(loss, segmentation_oracle(logits, labels, weight, 5, 0.7), rtol=1e-5, atol=1e-6)


def test_void_pixels_have_no_gradient():
    labels = jnp.asarray([[[0, 5], [1, 5]]])
    grad = jax.grad(lambda x: segmentation_loss(x, labels, jnp.ones(1), ignore=5, dice_weight=1.0)[0])(jnp.ones((1, 2, 2, 5)))
    assert not np.asarray(grad)[0, :, 1].any() and np.asarray(grad)[0, :, 0].any()


def test_multilabel_equals_the_oracle():
    rng = np.random.default_rng(0)
    logits, labels, weight = rng.normal(size=(4, 3)), rng.integers(0, 2, (4, 3)), np.array([1, 0, 1, 1])
    p = 1 / (1 + np.exp(-logits))
    expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(1)[weight > 0].mean()
    np.testing.assert_allclose(
        multilabel_loss(jnp.asarray(logits), jnp.asarray(labels, jnp.float32), jnp.asarray(weight)), expected, rtol=1e-5
    )


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(bool, (6, 4)), st.floats(0, 0.99), st.integers(0, 100))
def test_modality_dropout_keeps_a_nonempty_subset(present, rate, seed):
    kept = np.asarray(drop_modalities(jax.random.key(seed), jnp.asarray(present), rate))
    assert not (kept & ~present).any()
    np.testing.assert_array_equal(kept.any(1), present.any(1))


def test_modality_dropout_rate():
    kept = np.asarray(drop_modalities(jax.random.key(0), jnp.ones((4000, 4), bool), 0.3))
    np.testing.assert_allclose(kept.mean(), 0.7, atol=0.02)
