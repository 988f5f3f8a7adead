"""Conversion between pixel maps and patch grids.

Letters: B batch, H W pixels, h w pixels of another map, C channels, P patches, p pixels per patch side.
"""

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.ops.plain import is_plain


def to_patches(x: jax.Array, p: int) -> jax.Array:
    """(B,H,W,C) -> (B,P,p*p*C): patches row by row, inside each its pixels row by row, channels last."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, (h // p) * (w // p), p * p * c)


def resize(x: jax.Array, side: int) -> jax.Array:
    """Bilinear (B,h,w,C) -> (B,side,side,C), half-pixel centers, anti-aliased when it shrinks."""
    b, h, w, c = x.shape
    if (h, w) == (side, side):
        return x
    if is_plain():
        rows, columns = (jnp.asarray(resizing_weights(size, side), x.dtype) for size in (h, w))
        return jnp.einsum("jw,biwc->bijc", columns, jnp.einsum("ih,bhwc->biwc", rows, x))
    return jax.image.resize(x, (b, side, side, c), "linear", antialias=True)


def resizing_weights(size: int, side: int) -> np.ndarray:
    """(side,size) float64 weights of `size` pixels in each of the `side` pixels that `resize` makes of them; rows sum to 1."""
    step = size / side
    centres = (np.arange(side) + 0.5) * step - 0.5
    distance = np.abs(centres[:, None] - np.arange(size)) / max(step, 1)
    weights = np.maximum(1 - distance, 0)
    return weights / weights.sum(1, keepdims=True)


def pool_to_grid(x: jax.Array, side: int) -> jax.Array:
    """(B,h,w,C) -> (B,side*side,C): the mean of the pixels of each cell, or `resize` where cells are not of whole pixels."""
    b, h, w, c = x.shape
    if h % side or w % side:
        return resize(x, side).reshape(b, side * side, c)
    return x.reshape(b, side, h // side, side, w // side, c).mean((2, 4)).reshape(b, side * side, c)


def roll_tokens(x: jax.Array, shift: jax.Array) -> jax.Array:
    """(B,...,P,C) with the tokens of a square grid moved by shift (2,) int32 rows and columns; the grid wraps around."""
    side = round(x.shape[-2] ** 0.5)
    grid = x.reshape(*x.shape[:-2], side, side, x.shape[-1])
    return jnp.roll(grid, shift, (-3, -2)).reshape(x.shape)


def roll_map(x: jax.Array, shift: jax.Array, grid: int) -> jax.Array:
    """(B,...,H,W,C) moved by shift (2,) int32 cells of a grid of `grid` x `grid` cells; the map wraps around."""
    pixels = jnp.sign(shift) * (jnp.abs(shift) * x.shape[-2] // grid)  # so that a roll by -shift undoes one by shift
    return jnp.roll(x, pixels, (-3, -2))


def masked_mean(x: jax.Array, mask: jax.Array, axis: int) -> jax.Array:
    """Mean of x over `axis` where mask (bool, broadcastable to x) is true; 0 where it is true nowhere."""
    mask = mask.astype(x.dtype)
    return (x * mask).sum(axis) / jnp.maximum(mask.sum(axis), 1)
