"""Errors of masked reconstruction (OmniSat, ECCV 2024; targets normalized as in MAE, He et al., CVPR 2022).

Letters: B batch, M modalities, N reconstructed dates, P patches, H W pixels, C channels, p pixels per patch side.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from omnisat_jax.ops.patches import to_patches

_EPSILON = 1e-6  # added to the variance of a target


def image_error(predicted: jax.Array, values: jax.Array, patch: int) -> jax.Array:
    """Mean squared error of each patch against its own pixels, standardised over the patch.

    Args:
      predicted: (B,P,p*p*C).
      values: (B,H,W,C) normalized.
      patch: p.

    Returns:
      (B,P) float32.
    """
    target = to_patches(values.astype(jnp.float32), patch)
    target = _standardise(target, -1)
    return ((predicted - target) ** 2).mean(-1)


def series_error(predicted: jax.Array, values: jax.Array, valid: jax.Array, patch: int) -> jax.Array:
    """Mean squared error of each patch over some dates, with every band of a date standardised over the tile.

    Args:
      predicted: (B,N,P,p*p*C).
      values: (B,N,H,W,C) normalized, of the same dates.
      valid: (B,N) bool, dates that count.
      patch: p.

    Returns:
      (B,P) float32; 0 where no date is valid.
    """
    b, n = valid.shape
    frames = _standardise(values.astype(jnp.float32), (2, 3))
    target = to_patches(frames.reshape(b * n, *frames.shape[2:]), patch).reshape(predicted.shape)
    error = ((predicted - target) ** 2).mean(-1)
    counted = valid[:, :, None]
    return (error * counted).sum(1) / jnp.maximum(counted.sum(1), 1)


def hidden_mean(errors: Sequence[jax.Array], hidden: jax.Array) -> jax.Array:
    """Mean over modalities of the mean error of the tokens that fusion did not see.

    Args:
      errors: (B,P) for each modality.
      hidden: (B,M,P) bool: present, but masked or dropped.

    Returns:
      Scalar float32; a modality without a hidden token does not enter.
    """
    total, count = jnp.zeros(()), jnp.zeros(())
    for index, error in enumerate(errors):
        wanted = hidden[:, index]
        total = total + (error * wanted).sum() / jnp.maximum(wanted.sum(), 1)
        count = count + wanted.any()
    return total / jnp.maximum(count, 1)


def _standardise(x, axes):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + _EPSILON)
