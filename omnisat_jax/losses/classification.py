"""Several labels a tile. Letters: B batch, K classes."""

import jax.numpy as jnp
import optax


def multilabel_loss(logits, labels, weight):
    """Mean binary cross-entropy over labels and samples that count.

    Args:
      logits: (B,K) float32.
      labels: (B,K) float32 in {0, 1}.
      weight: (B,) float32, 0 for padding samples.
    """
    each = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), labels).mean(-1)
    return (each * weight).sum() / jnp.maximum(weight.sum(), 1)
