"""Decoders of masked reconstruction: from fused tokens back to measurements (OmniSat, Astruc et al., ECCV 2024).

Letters: B batch, T dates, N chosen dates, P patches, D width, h w positions of the attention's grid, C channels, p pixels per patch side.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.models.layers.blocks import gelu
from omnisat_jax.ops.positions import date_sinusoid


def most_attended(attention: jax.Array, valid: jax.Array, share: float) -> tuple[jax.Array, jax.Array]:
    """Chooses the dates to reconstruct: those that received the most attention.

    Args:
      attention: (B,T,h,w) float32, the attention that each date received at each position.
      valid: (B,T) bool.
      share: share of T to choose, at least one date.

    Returns:
      chosen: (B,N) int32, positions of the dates.
      known: (B,N) bool, whether they are valid.
    """
    count = max(1, round(share * valid.shape[1]))
    _, chosen = jax.lax.top_k(jnp.where(valid, jax.lax.stop_gradient(attention.mean((2, 3))), -1.0), count)
    return chosen, jnp.take_along_axis(valid, chosen, axis=1)


class Decoder(nn.Module):
    """MLP from a fused token, and the date of a series, to the pixels of the patch.

    Attributes:
      hidden: width of the hidden layer.
      values: p*p*C, numbers per patch.
      period: base of the date sinusoid, in days.
      dtype: of the computation.
    """

    hidden: int
    values: int
    period: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens: jax.Array, dates: jax.Array | None = None) -> jax.Array:
        """Decodes tokens.

        Args:
          tokens: (B,P,D).
          dates: (B,N) int32, days; None for an image.

        Returns:
          (B,P,p*p*C) float32, or with dates (B,N,P,p*p*C).
        """
        x = tokens
        if dates is not None:
            x = x[:, None] + date_sinusoid(dates, tokens.shape[-1], self.period)[:, :, None].astype(self.dtype)
        x = gelu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(x))
        return nn.Dense(self.values, dtype=jnp.float32, name="values")(x).astype(jnp.float32)
