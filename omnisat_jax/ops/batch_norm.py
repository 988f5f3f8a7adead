"""Batch normalization of embeddings. Letters: V views, B tiles, P patches, E width."""

import jax
import jax.numpy as jnp

_SMALLEST_VARIANCE = 1e-6  # added to variances and squared lengths, so that equal embeddings have a bounded gradient


def batch_norm(z: jax.Array, present: jax.Array) -> jax.Array:
    """Gives each dimension of each view mean 0 and variance 1 over the batch, and then each embedding unit length.

    It ends the projection heads of MoCo v3 (Chen et al., ICCV 2021; Ioffe & Szegedy, ICML 2015, without scale and offset). The embeddings of a new network
    nearly agree in most of their direction. Without that common part, a contrastive loss has a gradient from the first step on.

    Args:
      z: (V,B,P,E), float32 or bfloat16; B may be sharded over devices, all of which then share the mean and the variance.
      present: (V,B) bool, the rows that count.

    Returns:
      (V,B,P,E) in the dtype of `z`, computed in float32.
    """
    x, counted = z.astype(jnp.float32), present[:, :, None, None]
    rows = jnp.maximum(present.sum(1) * z.shape[2], 1)[:, None, None, None]

    def mean(values: jax.Array) -> jax.Array:
        return jnp.where(counted, values, 0).sum((1, 2), keepdims=True) / rows

    x = x - mean(x)
    x = x * jax.lax.rsqrt(mean(x**2) + _SMALLEST_VARIANCE)
    return (x * jax.lax.rsqrt((x**2).sum(-1, keepdims=True) + _SMALLEST_VARIANCE)).astype(z.dtype)
