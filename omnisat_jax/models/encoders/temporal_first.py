"""A series encoder that looks over time first, at every pixel, and over space afterwards.

The order is that of TSViT (Tarasiou et al., CVPR 2023). Space is computed once instead of once per date, so all dates of a year can be read.
Attention goes from reference times to dates, as in mTAN (Shukla & Marlin, ICLR 2021).

Letters: B batch, T dates, R reference times, H W pixels, h w patches, S pixels of a tile, C channels, E channels per date, F width, P patches, D token width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.layers.blocks import Conv, gelu
from omnisat_jax.models.layers.channels_first import ChannelsFirstDense
from omnisat_jax.models.layers.reference_times import ReferenceTimes
from omnisat_jax.ops.patches import to_patches


class SpatialBlock(nn.Module):
    """A residual 3x3 convolution with a norm of each pixel before it and a pointwise layer after it.

    Attributes:
      border: padding of the convolution.
      dtype: of the computation.
    """

    border: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B,H,W,F) -> (B,H,W,F)."""
        y = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        y = gelu(Conv(x.shape[-1], border=self.border, dtype=self.dtype, name="conv")(y))
        return x + nn.Dense(x.shape[-1], dtype=self.dtype, name="out")(y)


class TemporalFirst(nn.Module):
    """Series -> tokens, and a dense map at the resolution of the series.

    Attributes:
      config: numbers of reference times and blocks, widths, dropout.
      border: padding of the convolutions.
      width: D.
      patch: pixels per token side.
      dtype: of the computation.
      remat: recompute the activations of each spatial block in the backward pass.
    """

    config: schema.TemporalFirstConfig
    border: str
    width: int
    patch: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, values: jax.Array, dates: jax.Array, valid: jax.Array, *, train: bool) -> Encoding:
        """values (B,T,H,W,C) normalized, dates (B,T) days, valid (B,T) bool -> Encoding with features (B,H,W,F)."""
        config = self.config
        b, t, h, w, c = values.shape
        values = jnp.where(valid[:, :, None, None, None], values, 0).astype(self.dtype)
        values = values.reshape(b, t, h * w, c).swapaxes(2, 3)
        hidden = nn.relu(ChannelsFirstDense(config.date_width, self.dtype, name="date")(values))
        doubt = ChannelsFirstDense(1, self.dtype, name="doubt")(hidden)[:, :, 0]
        x, attention = ReferenceTimes(config.times, config.days, self.dtype, name="times")(
            jnp.concatenate([values, hidden], 2), doubt, dates, valid
        )
        x = ChannelsFirstDense(config.width, self.dtype, channels_last=True, name="in")(x).reshape(b, h, w, -1)
        y = gelu(nn.Dense(config.width, dtype=self.dtype, name="mlp0")(nn.LayerNorm(dtype=self.dtype, name="mlp_norm")(x)))
        x = x + nn.Dense(config.width, dtype=self.dtype, name="mlp1")(y)
        block = nn.remat(SpatialBlock) if self.remat else SpatialBlock
        for index in range(config.blocks):
            x = block(self.border, self.dtype, name=f"block{index}")(x)
        x = nn.Dropout(config.dropout, deterministic=not train, broadcast_dims=(1, 2))(x)
        tokens = nn.Dense(self.width, dtype=self.dtype, name="token")(to_patches(x, self.patch))
        return Encoding(tokens, x, attention.reshape(b, t, h, w))
