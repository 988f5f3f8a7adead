"""Masked reconstruction (OmniSat, ECCV 2024; targets normalised as in MAE, He et al., CVPR 2022).

Letters: B batch, N chosen dates, P patches, H W pixels, C channels, p pixels a patch side.
"""

import jax.numpy as jnp

from omnisat_jax.ops.patches import to_patches

_EPSILON = 1e-6


def image_error(predicted, values, patch: int):
    """Mean squared error of each patch against its own pixels, standardised over the patch.

    Args:
      predicted: (B,P,p*p*C).
      values: (B,H,W,C) normalised.
      patch: p.

    Returns:
      (B,P) float32.
    """
    target = to_patches(values.astype(jnp.float32), patch)
    target = _standard(target, -1)
    return ((predicted - target) ** 2).mean(-1)


def series_error(predicted, values, chosen, valid, patch: int):
    """Mean squared error of each patch over the chosen dates, every band of a date standardised over the tile.

    Args:
      predicted: (B,N,P,p*p*C).
      values: (B,T,H,W,C) normalised.
      chosen: (B,N) positions of dates; valid: (B,N) bool, which of them count.
      patch: p.

    Returns:
      (B,P) float32; 0 where no chosen date is valid.
    """
    b, n = chosen.shape
    frames = jnp.take_along_axis(values.astype(jnp.float32), chosen[:, :, None, None, None], axis=1)
    frames = _standard(frames, (2, 3))
    target = to_patches(frames.reshape(b * n, *frames.shape[2:]), patch).reshape(predicted.shape)
    error = ((predicted - target) ** 2).mean(-1)
    counted = valid[:, :, None]
    return (error * counted).sum(1) / jnp.maximum(counted.sum(1), 1)


def hidden_mean(errors, hidden):
    """Mean over modalities of the mean error of the tokens that fusion did not see.

    Args:
      errors: one (B,P) a modality.
      hidden: (B,M,P) bool: present, but masked or dropped.

    Returns:
      Scalar float32; a modality without a hidden token does not enter.
    """
    total = count = 0.0
    for index, error in enumerate(errors):
        wanted = hidden[:, index]
        total = total + (error * wanted).sum() / jnp.maximum(wanted.sum(), 1)
        count = count + wanted.any()
    return total / jnp.maximum(count, 1)


def _standard(x, axes):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + _EPSILON)
