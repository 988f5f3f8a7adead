"""Attention from learned reference times to the dates of a series. Letters: B batch, T dates, R reference times, S pixels, E channels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

_STRONGEST_DOUBT = 6.0  # a date that is fully doubted has exp(-6) = 1/400 of the weight of one that is not
_SMALLEST_SUM = 1e-8  # of the weights of a reference time


class ReferenceTimes(nn.Module):
    """A kernel regression of every pixel's series onto R times of the year.

    The weight of a date is exp(-d**2 / 2 w**2) of its distance d in days to the reference time, times exp(-6 sigmoid(doubt)), divided by the sum
    over the dates (Nadaraya, 1964; Watson, 1964). Times and widths w are learned. If no date is near, the nearest ones have the weight. Unlike dot-product attention, the Gaussian is the same for all pixels of a
    tile, so that the cost is one small matrix product per tile.

    Attributes:
      times: R.
      days: the times start evenly spaced from day 0 to this day, above 0.
      dtype: of the product; weights are float32.
    """

    times: int
    days: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, doubt: jax.Array, dates: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Reads all dates.

        Args:
          x: (B,T,E,S), channels before pixels: on accelerators the last axis is the one that is read in long rows.
          doubt: (B,T,S) any real number; a larger one gives a date less weight at a pixel.
          dates: (B,T) days.
          valid: (B,T) bool; other dates are not read.

        Returns:
          (B,R*E,S) in `dtype`, 0 without a valid date; and the attention of each date (B,T,S) float32, averaged over the times.
        """
        b, t, e, s = x.shape
        spacing = self.days / max(self.times - 1, 1)
        centre = self.param("centre", lambda key: jnp.arange(self.times, dtype=jnp.float32) * spacing)
        width = self.param("log_width", lambda key: jnp.full((self.times,), jnp.log(spacing), jnp.float32))
        distance = (dates[:, None, :].astype(jnp.float32) - centre[:, None]) / jnp.exp(width)[:, None]
        logits = jnp.where(valid[:, None], -0.5 * distance**2, -jnp.inf)
        # Relative to the nearest date, so that a long gap does not leave a sum of zeros.
        nearest = logits.max(-1, keepdims=True)
        kernel = jnp.where(valid[:, None], jnp.exp(logits - jnp.where(jnp.isfinite(nearest), nearest, 0)), 0)
        trust = jnp.exp(-_STRONGEST_DOUBT * jax.nn.sigmoid(doubt.astype(jnp.float32)))
        share = 1 / jnp.maximum(jnp.einsum("brt,bts->brs", kernel, trust), _SMALLEST_SUM)
        weighted = (x * trust[:, :, None].astype(x.dtype)).astype(self.dtype)
        out = jnp.einsum("brt,btes->bres", kernel.astype(self.dtype), weighted)
        out = out * share[:, :, None].astype(self.dtype)
        attention = jnp.einsum("brt,brs->bts", kernel, share) * trust / self.times
        return out.reshape(b, self.times * e, s), attention
