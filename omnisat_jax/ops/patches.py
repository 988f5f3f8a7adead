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


def masked_mean(x, mask, axis):
    """Mean of x over `axis` where mask (broadcastable) is true; 0 where it is nowhere true."""
    mask = mask.astype(x.dtype)
    return (x * mask).sum(axis) / jnp.maximum(mask.sum(axis), 1)
