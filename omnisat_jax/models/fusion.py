"""Fusion of the tokens of any subset of modalities into one token per patch.

Letters: B batch, M modalities, P patches, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.models.layers.blocks import embedding_init
from omnisat_jax.models.layers.transformer import Block
from omnisat_jax.ops.patches import masked_mean
from omnisat_jax.ops.positions import grid_sinusoid


class Fusion(nn.Module):
    """Self-attention over all present tokens, then cross-attention from one query per patch.

    Positions are fixed 2-D sinusoids, and a query is one learned vector plus the position and the mean of the patch's own present tokens,
    so any grid size works. The tokens of a hidden modality are never keys; if no modality is present the result is the transformed
    query alone, the same for every tile.

    Attributes:
      config: depth, heads, dropout.
      modalities: names, in the order of the tokens.
      dtype: of the computation.
      remat: recompute the blocks in the backward pass.
    """

    config: schema.FusionConfig
    modalities: tuple[str, ...]
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, tokens: jax.Array, present: jax.Array, masked: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Fuses tokens.

        Args:
          tokens: (B,M,P,D).
          present: (B,M) bool, the modalities that may be used.
          masked: (B,M,P) bool, tokens that are replaced by one learned vector; they keep their position and modality. None = none.
          train: whether dropout is on.

        Returns:
          (B,P,D) in `dtype`.
        """
        b, m, p, d = tokens.shape
        seen = present[:, :, None, None]
        position = grid_sinusoid(round(p**0.5), d).astype(self.dtype)
        kind = jnp.stack([self.param(f"modality_{name}", embedding_init, (d,), jnp.float32) for name in self.modalities])
        x = tokens.astype(self.dtype)
        if masked is not None:
            vector = self.param("mask", embedding_init, (d,), jnp.float32).astype(self.dtype)
            x = jnp.where(masked[..., None], vector, x)
            seen = seen & ~masked[..., None]
        x = x + position + kind[:, None].astype(self.dtype)
        x = jnp.where(present[:, :, None, None], x, 0).reshape(b, m * p, d)
        mask = jnp.repeat(present, p, axis=1)
        block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block

        def make(name: str) -> nn.Module:
            c = self.config
            return block(c.heads, c.mlp_ratio, c.dropout, c.attention, self.dtype, name=name)

        for index in range(self.config.depth):
            x = make(f"block{index}")(x, mask, train)
        # Each query starts from the tokens of its own patch. Attention then only has to learn what to add from other patches, and need not
        # first learn to find its own patch among M*P tokens.
        own = masked_mean(x.reshape(b, m, p, d), seen, axis=1)
        query = self.param("query", embedding_init, (d,), jnp.float32).astype(self.dtype) + position + own
        fused = make("cross")(query, mask, train, x)
        return nn.LayerNorm(dtype=self.dtype, name="norm")(fused)
