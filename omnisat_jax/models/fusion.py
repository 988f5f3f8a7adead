"""Fusion of the tokens of any subset of modalities into one token a patch.

Letters: B batch, M modalities, P patches, D width.
"""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.models.layers.transformer import Block
from omnisat_jax.ops.patches import masked_mean
from omnisat_jax.ops.positions import grid_sinusoid


class Fusion(nn.Module):
    """Self-attention over all present tokens, then cross-attention from one query a patch.

    Positions are fixed 2-D sinusoids and the query is one learned vector plus its position and the mean of the patch's own present
    tokens, so any grid size works.
    A hidden modality is no key anywhere; with none present the result is the transformed query alone, a constant.

    Attributes:
      settings: depth, heads, dropout.
      modalities: names, in the order of the tokens.
      dtype: of the computation.
      remat: recompute blocks in the backward pass.
    """

    settings: schema.FusionConfig
    modalities: tuple[str, ...]
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, tokens, present, masked=None, *, train: bool):
        """tokens (B,M,P,D), present (B,M) bool [, masked (B,M,P) bool] -> (B,P,D).

        A masked token is one learned vector, at its place and of its modality.
        """
        b, m, p, d = tokens.shape
        seen = present[:, :, None, None]
        position = grid_sinusoid(round(p**0.5), d).astype(self.dtype)
        small = nn.initializers.normal(0.02)
        kind = jnp.stack([self.param(f"modality_{name}", small, (d,), jnp.float32) for name in self.modalities])
        x = tokens.astype(self.dtype)
        if masked is not None:
            vector = self.param("mask", small, (d,), jnp.float32).astype(self.dtype)
            x = jnp.where(masked[..., None], vector, x)
            seen = seen & ~masked[..., None]
        x = x + position + kind[:, None].astype(self.dtype)
        x = jnp.where(present[:, :, None, None], x, 0).reshape(b, m * p, d)
        mask = jnp.repeat(present, p, axis=1)
        block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block

        def make(name):
            s = self.settings
            return block(s.heads, s.mlp_ratio, s.dropout, s.attention, self.dtype, name=name)

        for index in range(self.settings.depth):
            x = make(f"block{index}")(x, mask, train)
        # Each query starts from what is known of its own patch: attention then only has to learn what to add from elsewhere, instead
        # of first finding its own place among M*P tokens.
        own = masked_mean(x.reshape(b, m, p, d), seen, axis=1)
        query = self.param("query", small, (d,), jnp.float32).astype(self.dtype) + position + own
        fused = make("cross")(query, mask, train, x)
        return nn.LayerNorm(dtype=self.dtype, name="norm")(fused)
