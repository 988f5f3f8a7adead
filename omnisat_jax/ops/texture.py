"""Texture of an image as further bands. Letters: B batch, H W pixels, C channels."""

import functools

import jax
import jax.numpy as jnp

from omnisat_jax.ops.convolution import pad_borders

# Of the differences, to the range of the other bands: with windows of 5 x 5 pixels they have 0.20 to 0.39 of the standard deviation of a band in
# aerial images (FLAIR, TreeSatAI-TS), and 0.14 to 0.19 in simulated SPOT.
_GAIN = 5.0
_SMALLEST_VARIANCE = 1e-4  # of the normalized image; that of steps of one gray level is of this order


def local_mean(x: jax.Array, radius: int) -> jax.Array:
    """(B,H,W,C) -> the mean of the (2 radius + 1)**2 pixels around each pixel, with reflected borders.

    Raises:
      UserError: the image has no more than `radius` pixels per side.
    """
    side = 2 * radius + 1
    x = pad_borders(x, radius, "reflect")
    for axis in (1, 2):
        size = x.shape[axis] - 2 * radius
        shifted = [jax.lax.slice_in_dim(x, start, start + size, axis=axis) for start in range(side)]
        x = functools.reduce(jnp.add, shifted) / side
    return x


def add_texture(x: jax.Array, radius: int) -> jax.Array:
    """Appends what a few convolutions are slow to learn of texture: rows of vines, crowns of trees, roofs.

    The difference and the divisor of the local normalization of Jarrett et al. (ICCV 2009), not divided, as a smooth surface is not to be amplified.

    Args:
      x: (B,H,W,C) normalized.
      radius: of the windows, in pixels.

    Returns:
      (B,H,W,2C+1): x; five times its difference from the local mean; the logarithm of the local mean of the squared difference, over all channels.
    """
    difference = x - local_mean(x, radius)
    variance = local_mean((difference**2).mean(-1, keepdims=True), radius)
    return jnp.concatenate([x, _GAIN * difference, jnp.log(variance + _SMALLEST_VARIANCE)], -1)
