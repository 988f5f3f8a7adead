"""Multi-label cross-entropy against plain NumPy."""

import jax.numpy as jnp
import numpy as np

from omnisat_jax.losses.classification import multilabel_loss


def test_multilabel_equals_the_oracle():
    rng = np.random.default_rng(0)
    logits, labels, weight = rng.normal(size=(4, 3)), rng.integers(0, 2, (4, 3)), np.array([1, 0, 1, 1])
    p = 1 / (1 + np.exp(-logits))
    expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(1)[weight > 0].mean()
    np.testing.assert_allclose(
        multilabel_loss(jnp.asarray(logits), jnp.asarray(labels, jnp.float32), jnp.asarray(weight)), expected, rtol=1e-5
    )


def test_padding_alone_is_no_loss():
    assert multilabel_loss(jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.zeros(2)) == 0
