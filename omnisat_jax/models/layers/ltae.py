"""Lightweight temporal attention (L-TAE, Garnot & Landrieu 2020; as inside U-TAE, ICCV 2021).

Letters: B batch, T dates, S places, C channels, N heads, E width (d_model).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.models.layers.blocks import TemporalGroupNorm, dense_norm_relu, group_norm, groups_for
from omnisat_jax.ops.positions import date_sinusoid

_NEVER = -1e30


class LTAE(nn.Module):
    """Collapses the dates of a sequence at every place, with one learned query a head.

    Padded dates are invisible: left out of the input norm, of attention and of the result. With no valid date the
    attention is 0 everywhere and the result is a constant.

    Attributes:
      settings: heads, widths, period, dropout.
      output_widths: hidden widths of the MLP after attention; the last is the output's.
      dtype: of the computation.
      normalise_input: whether to apply the temporal GroupNorm first.
      expand: a dense layer to d_model even where the input already has that width (U-TAE always has it).
      norm: after each dense layer of the MLP, "image" (LayerNorm of each place) or "affine" (weights of originals with BatchNorm).
      faithful: the input norm sees padded dates as they stand, as the original's does.
    """

    settings: schema.LTAEConfig
    output_widths: tuple[int, ...]
    dtype: jnp.dtype = jnp.float32
    normalise_input: bool = True
    expand: bool = False
    norm: str = "image"
    faithful: bool = False

    @nn.compact
    def __call__(self, x, dates, valid, *, train: bool):
        """x (B,T,S,C), dates (B,T) days, valid (B,T) -> (B,S,D) and attention (B,N,T,S) float32, 0 on padded dates."""
        b, t, s, c = x.shape
        heads, width, key_dim = self.settings.heads, self.settings.width, self.settings.key_dim
        if self.normalise_input:
            seen = jnp.ones_like(valid) if self.faithful else valid
            x = TemporalGroupNorm(groups_for(c, heads), name="in_norm")(x, seen).astype(self.dtype)
        if self.expand or c != width:
            x = nn.Dense(width, dtype=self.dtype, name="expand")(x)
        sinusoid = jnp.tile(date_sinusoid(dates, width // heads, self.settings.period), (1, 1, heads))
        x = x + sinusoid[:, :, None].astype(self.dtype)

        spread = nn.initializers.normal((2.0 / key_dim) ** 0.5)
        query = self.param("query", spread, (heads, key_dim), jnp.float32)
        keys = nn.Dense(heads * key_dim, kernel_init=spread, dtype=self.dtype, name="key")(x).reshape(b, t, s, heads, key_dim)
        logits = jnp.einsum("btsnd,nd->bnts", keys.astype(jnp.float32), query) / key_dim**0.5
        mask = valid[:, None, :, None]
        attention = jax.nn.softmax(jnp.where(mask, logits, _NEVER), axis=2) * mask
        attention = nn.Dropout(self.settings.attention_dropout, deterministic=not train)(attention)
        values = x.reshape(b, t, s, heads, width // heads)
        out = jnp.einsum("bnts,btsne->bsne", attention.astype(self.dtype), values).reshape(b, s, width)
        for index, features in enumerate(self.output_widths):
            out = dense_norm_relu(out, features, self.norm, self.dtype, f"mlp{index}")
        out = nn.Dropout(self.settings.dropout, deterministic=not train)(out)
        out = group_norm(out.shape[-1], heads, self.dtype, "out_norm")(out.reshape(b * s, -1))
        return out.reshape(b, s, -1), attention
