"""Lightweight temporal attention (L-TAE, Garnot & Landrieu 2020; as inside U-TAE, ICCV 2021).

Letters: B batch, T dates, S positions, C channels, N heads, E width inside attention (d_model), D output width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.models.layers.blocks import NEVER, TemporalGroupNorm, dense_norm_relu, group_norm, groups_for
from omnisat_jax.ops.positions import date_sinusoid


class LTAE(nn.Module):
    """Collapses the dates of a sequence at every position, with one learned query per head.

    Head n computes sum_t softmax_t(q_n . k_nt / sqrt(key_dim)) x_nt, where x_nt is its share of the channels at date t.
    Padded dates are invisible: they are left out of the input norm, of attention and of the result. Without a valid date the attention is 0
    everywhere and the result is a constant.

    Attributes:
      config: heads, widths, period, dropout.
      output_widths: widths of the MLP after attention; the last is D.
      dtype: of the computation.
      normalise_input: whether to apply `TemporalGroupNorm` first.
      expand: whether to apply a dense layer to E even if the input has that width (U-TAE always does).
      norm: after each dense layer of the MLP, "image" (LayerNorm of each position) or "affine" (original weights with BatchNorm).
      faithful: whether the input norm includes padded dates, as in the original.
    """

    config: schema.LTAEConfig
    output_widths: tuple[int, ...]
    dtype: DTypeLike = jnp.float32
    normalise_input: bool = True
    expand: bool = False
    norm: str = "image"
    faithful: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, dates: jax.Array, valid: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """x (B,T,S,C), dates (B,T) days, valid (B,T) bool -> (B,S,D), and attention (B,N,T,S) float32, 0 on padded dates."""
        b, t, s, c = x.shape
        heads, width, key_dim = self.config.heads, self.config.width, self.config.key_dim
        if self.normalise_input:
            seen = jnp.ones_like(valid) if self.faithful else valid
            x = TemporalGroupNorm(groups_for(c, heads), name="in_norm")(x, seen).astype(self.dtype)
        if self.expand or c != width:
            x = nn.Dense(width, dtype=self.dtype, name="expand")(x)
        sinusoid = jnp.tile(date_sinusoid(dates, width // heads, self.config.period), (1, 1, heads))
        x = x + sinusoid[:, :, None].astype(self.dtype)

        spread = nn.initializers.normal((2.0 / key_dim) ** 0.5)
        query = self.param("query", spread, (heads, key_dim), jnp.float32)
        keys = nn.Dense(heads * key_dim, kernel_init=spread, dtype=self.dtype, name="key")(x).reshape(b, t, s, heads, key_dim)
        logits = jnp.einsum("btsnd,nd->bnts", keys.astype(jnp.float32), query) / key_dim**0.5
        mask = valid[:, None, :, None]
        attention = jax.nn.softmax(jnp.where(mask, logits, NEVER), axis=2) * mask
        attention = nn.Dropout(self.config.attention_dropout, deterministic=not train)(attention)
        values = x.reshape(b, t, s, heads, width // heads)
        out = jnp.einsum("bnts,btsne->bsne", attention.astype(self.dtype), values).reshape(b, s, width)
        for index, features in enumerate(self.output_widths):
            out = dense_norm_relu(out, features, self.norm, self.dtype, f"mlp{index}")
        out = nn.Dropout(self.config.dropout, deterministic=not train)(out)
        out = group_norm(out.shape[-1], heads, self.dtype, "out_norm")(out.reshape(b * s, -1))
        return out.reshape(b, s, -1), attention
