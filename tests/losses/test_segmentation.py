"""Cross-entropy and Dice against plain NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from omnisat_jax.losses.segmentation import segmentation_loss


def segmentation_oracle(logits, labels, weight, ignore, dice_weight, smoothing=0.0):
    logits = logits.astype(np.float64)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    keep = (labels != ignore) & (weight[:, None, None] > 0)
    if not keep.any():
        return 0.0
    p, y = p[keep], labels[keep]
    dice = [1 - 2 * p[y == k, k].sum() / ((p[:, k] ** 2).sum() + (y == k).sum()) for k in range(p.shape[-1]) if (y == k).any()]
    target = (1 - smoothing) * np.eye(p.shape[-1])[y] + smoothing / p.shape[-1]
    return -(target * np.log(p)).sum(-1).mean() + dice_weight * np.mean(dice)


@settings(max_examples=20, deadline=None)
@given(
    hnp.arrays(np.int32, (3, 4, 4), elements=st.integers(0, 5)), hnp.arrays(np.float32, 3, elements=st.sampled_from([0.0, 1.0])), st.sampled_from([0.0, 0.2])
)
def test_segmentation_equals_the_oracle(labels, weight, smoothing):
    logits = np.random.default_rng(1).normal(size=(3, 4, 4, 5)).astype(np.float32)
    loss, _ = segmentation_loss(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weight), ignore=5, dice_weight=0.7, smoothing=smoothing)
    np.testing.assert_allclose(loss, segmentation_oracle(logits, labels, weight, 5, 0.7, smoothing), rtol=1e-5, atol=1e-6)


def test_void_pixels_have_no_gradient():
    labels = jnp.asarray([[[0, 5], [1, 5]]])
    grad = jax.grad(lambda x: segmentation_loss(x, labels, jnp.ones(1), ignore=5, dice_weight=1.0)[0])(jnp.ones((1, 2, 2, 5)))
    assert not np.asarray(grad)[0, :, 1].any() and np.asarray(grad)[0, :, 0].any()


def test_nothing_to_count_is_no_loss():
    logits, labels = jnp.ones((2, 2, 2, 3)), jnp.full((2, 2, 2), 255, jnp.uint8)
    loss, metrics = segmentation_loss(logits, labels, jnp.ones(2), ignore=255, dice_weight=1.0)
    assert loss == 0 and metrics == {"cross_entropy": 0, "dice": 0}
