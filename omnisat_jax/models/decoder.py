"""From fused tokens back to measurements: the decoders of masked reconstruction (OmniSat, ECCV 2024).

Letters: B batch, T dates, N chosen dates, P patches, D width, H W pixels, C channels, p pixels a patch side.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.models.layers.blocks import gelu
from omnisat_jax.ops.positions import date_sinusoid


def most_attended(attention, valid, share: float):
    """The dates worth reconstructing.

    Args:
      attention: (B,T,h,w) float32, what each date received at each place.
      valid: (B,T) bool.
      share: of T that is chosen, at least one date.

    Returns:
      chosen (B,N) int32 positions, and (B,N) bool whether they are valid.
    """
    count = max(1, round(share * valid.shape[1]))
    _, chosen = jax.lax.top_k(jnp.where(valid, jax.lax.stop_gradient(attention.mean((2, 3))), -1.0), count)
    return chosen, jnp.take_along_axis(valid, chosen, axis=1)


class Decoder(nn.Module):
    """MLP from a fused token, and for a series the date, to the pixels of its patch.

    Attributes:
      hidden: width of the hidden layer.
      values: p*p*C, numbers a patch.
      period: base of the date sinusoid, days.
      dtype: of the computation.
    """

    hidden: int
    values: int
    period: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens, dates=None):
        """tokens (B,P,D) [, dates (B,N) days] -> (B,P,p*p*C), or (B,N,P,p*p*C), float32."""
        x = tokens
        if dates is not None:
            x = x[:, None] + date_sinusoid(dates, tokens.shape[-1], self.period)[:, :, None].astype(self.dtype)
        x = gelu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(x))
        return nn.Dense(self.values, dtype=jnp.float32, name="values")(x).astype(jnp.float32)
