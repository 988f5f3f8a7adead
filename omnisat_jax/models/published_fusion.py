"""The combiner of OmniSat as published (Astruc et al., ECCV 2024).

Letters: B batch, M modalities, P patches, D width, N heads.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from omnisat_jax.errors import UserError
from omnisat_jax.models.layers.blocks import embedding_init, gelu
from omnisat_jax.models.layers.relative_attention import RelativeAttention, query_buckets, token_buckets
from omnisat_jax.ops.plain import broadcast_to
from omnisat_jax.words import number_of

_MLP_RATIO = 4  # hidden width of an MLP as a multiple of D


class PublishedFusion(nn.Module):
    """Self-attention over the tokens of all modalities, then cross-attention from one learned query per patch and one for the tile.

    Attributes:
      depth: self-attention blocks before the cross-attention.
      heads: N.
      patches: P of the grid it was trained for; 0 = of the first tiles it sees.
      shared: see `RelativeAttention`.
      published: whether to reproduce the authors' defect, see `token_buckets`.
      keep_position: whether masked tokens keep their position; in the authors' code they lose it.
    """

    depth: int
    heads: int
    patches: int = 0
    shared: bool = True
    published: bool = True
    keep_position: bool = True

    @nn.compact
    def __call__(self, tokens: jax.Array, present: jax.Array | None = None, masked: jax.Array | None = None) -> jax.Array:
        """Combines tokens.

        Args:
          tokens: (B,M,P,D) without positions.
          present: (B,M) bool; absent modalities, which the original does not have, are never keys. None = all are present.
          masked: (B,M,P) bool, tokens that are replaced by one learned vector. None = none.

        Returns:
          (B,P+1,D), the tile first.

        Raises:
          UserError: the tiles have another number of patches than `patches`.
        """
        b, m, p, d = tokens.shape
        if self.patches and p != self.patches:
            raise UserError(f"this combiner was trained for {number_of(self.patches, 'patch')} per tile, found {p}")
        position = self.param("position", embedding_init, (p + 1, d), jnp.float32)
        tile = self.param("tile", embedding_init, (1, d), jnp.float32) + position[:1]
        x = tokens + position[1:]
        if masked is not None:
            vector = self.param("mask", embedding_init, (d,), jnp.float32)
            x = jnp.where(masked[..., None], vector + position[1:] if self.keep_position else vector, x)
        x = x.reshape(b, m * p, d)
        mask = None
        if present is not None:
            x = jnp.where(jnp.repeat(present, p, axis=1)[..., None], x, 0)
            mask = jnp.concatenate([jnp.ones((b, 1), bool), jnp.repeat(present, p, axis=1)], 1)
        x = jnp.concatenate([broadcast_to(tile, (b, 1, d)), x], 1)
        buckets = token_buckets(p, m, self.published)
        for index in range(self.depth):
            y = nn.LayerNorm(name=f"block{index}_norm1")(x)
            q, k, v = jnp.split(nn.Dense(3 * d, name=f"block{index}_qkv")(y), 3, axis=-1)
            x = x + RelativeAttention(self.heads, self.shared, True, name=f"block{index}_attention")(q, k, v, buckets, mask)
            x = x + self._mlp(x, f"block{index}")
        y = nn.LayerNorm(name="cross_norm1")(x)
        query = self.param("query", embedding_init, (1, d), jnp.float32)
        query = query + self.param("query_position", embedding_init, (p + 1, d), jnp.float32)
        k, v = nn.Dense(d, name="cross_key")(y), nn.Dense(d, name="cross_value")(y)
        attend = RelativeAttention(self.heads, self.shared, False, name="cross_attention")
        x = attend(broadcast_to(query, (b, p + 1, d)), k, v, query_buckets(p, m), mask)
        return x + self._mlp(x, "cross")

    def _mlp(self, x: jax.Array, name: str) -> jax.Array:
        y = nn.LayerNorm(name=f"{name}_norm2")(x)
        hidden = gelu(nn.Dense(_MLP_RATIO * x.shape[-1], name=f"{name}_mlp0")(y))
        return nn.Dense(x.shape[-1], name=f"{name}_mlp1")(hidden)
