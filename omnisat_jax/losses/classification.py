"""Loss of multi-label classification. Letters: B batch, K labels."""

import jax
import jax.numpy as jnp
import optax


def multilabel_loss(logits: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean binary cross-entropy over labels and samples that count.

    Args:
      logits: (B,K).
      labels: (B,K) float32 in {0, 1}.
      weight: (B,) float32, 0 for padding samples.

    Returns:
      Scalar float32; 0 when no sample counts.
    """
    sample_losses = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), labels).mean(-1)
    return (sample_losses * weight).sum() / jnp.maximum(weight.sum(), 1)
