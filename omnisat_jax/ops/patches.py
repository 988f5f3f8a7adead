"""Between pixel maps and patch grids. Letters: B batch, H W pixels, C channels, P patches, p pixels a patch side."""

import jax
import jax.numpy as jnp


def to_patches(x, p):
    """(B,H,W,C) -> (B,P,p*p*C): patches row by row, pixels row by row inside, channels last."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, (h // p) * (w // p), p * p * c)


def from_patches(x, p, c):
    """(B,P,p*p*c) -> (B,H,W,c), the inverse of `to_patches` on a square grid."""
    b, count, _ = x.shape
    side = round(count**0.5)
    x = x.reshape(b, side, side, p, p, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, side * p, side * p, c)


def resize(x, side):
    """Bilinear (B,h,w,C) -> (B,side,side,C), half-pixel centres, anti-aliased when it shrinks."""
    b, h, w, c = x.shape
    if (h, w) == (side, side):
        return x
    return jax.image.resize(x, (b, side, side, c), "linear", antialias=True)


def pool_to_grid(x, side):
    """Mean of the pixels of each cell of a side x side grid: (B,h,w,C) -> (B,P,C)."""
    b, h, w, c = x.shape
    if h % side or w % side:
        return resize(x, side).reshape(b, side * side, c)
    return x.reshape(b, side, h // side, side, w // side, c).mean((2, 4)).reshape(b, side * side, c)


def roll_tokens(x, shift):
    """(B,...,P,C) with the tokens of a square grid moved by shift (2,) int32 rows and columns, those that leave coming in at the other side."""
    side = round(x.shape[-2] ** 0.5)
    grid = x.reshape(*x.shape[:-2], side, side, x.shape[-1])
    return jnp.roll(grid, shift, (-3, -2)).reshape(x.shape)


def roll_map(x, shift, grid: int):
    """(B,...,H,W,C) moved by shift (2,) int32 cells of a grid of `grid` x `grid` cells, what leaves coming in at the other side."""
    pixels = jnp.sign(shift) * (jnp.abs(shift) * x.shape[-2] // grid)  # so that a roll by -shift undoes one by shift
    return jnp.roll(x, pixels, (-3, -2))


def masked_mean(x, mask, axis):
    """Mean of x over `axis` where mask (broadcastable) is true; 0 where it is nowhere true."""
    mask = mask.astype(x.dtype)
    return (x * mask).sum(axis) / jnp.maximum(mask.sum(axis), 1)
