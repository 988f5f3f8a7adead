"""Attention with relative positions on an image grid (iRPE, Wu et al., ICCV 2021), as OmniSat's published code uses it.

Letters: B batch, M modalities, P patches, L keys or tokens, Q queries, D width, N heads.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.models.layers.blocks import NEVER

# Rounded distances up to NEAR cells have a bucket each. Larger ones share buckets logarithmically, up to distance REACH and bucket FAR.
NEAR, FAR, REACH = 1.9, 3, 15.2
OUTSIDE = 7  # bucket of pairs with a token that lies on no grid
BUCKETS = 8


def distance_buckets(side: int) -> np.ndarray:
    """(side*side, side*side) int32 bucket of the rounded Euclidean distance between the cells of a grid."""
    row, column = np.divmod(np.arange(side * side), side)
    distance = np.round(np.hypot(row[:, None] - row, column[:, None] - column))
    beyond = NEAR + np.log(np.maximum(distance, 1) / NEAR) / math.log(REACH / NEAR) * NEAR
    return np.where(distance <= NEAR, distance, np.minimum(np.round(beyond), FAR)).astype(np.int32) + FAR


def token_buckets(patches: int, modalities: int, published: bool) -> np.ndarray:
    """(L,L) int32 buckets of self-attention over [tile token, M x P tokens].

    Args:
      patches: P.
      modalities: M.
      published: whether to reproduce the defect of the authors' code, which treats the last floor(sqrt(L))^2 tokens as one square image,
        whatever modality they belong to. Otherwise every modality lies on the same grid of patches.
    """
    count = 1 + modalities * patches
    buckets = np.full((count, count), OUTSIDE, np.int32)
    if published:
        side = math.isqrt(count)
        buckets[count - side**2 :, count - side**2 :] = distance_buckets(side)
    else:
        buckets[1:, 1:] = np.tile(distance_buckets(math.isqrt(patches)), (modalities, modalities))
    return buckets


def query_buckets(patches: int, modalities: int) -> np.ndarray:
    """(P+1,L) int32 buckets of cross-attention from [tile, patches] to [tile token, M x P tokens]."""
    buckets = np.full((patches + 1, 1 + modalities * patches), OUTSIDE, np.int32)
    buckets[1:, 1:] = np.tile(distance_buckets(math.isqrt(patches)), (1, modalities))
    return buckets


class RelativeAttention(nn.Module):
    """Attention whose logits depend on the distance between query and key: q.k / sqrt(d) + q.table[bucket], d channels per head.

    Attributes:
      heads: N.
      shared: whether all heads share one table.
      scale_table: whether the query of the table term is divided by sqrt(d) as well (the published self-attention does, its cross-attention
        does not).
    """

    heads: int
    shared: bool
    scale_table: bool

    @nn.compact
    def __call__(
        self, q: jax.Array, k: jax.Array, v: jax.Array, buckets: np.ndarray, mask: jax.Array | None = None
    ) -> jax.Array:
        """q (B,Q,D), k and v (B,L,D), buckets (Q,L) int32, mask (B,L) bool over keys, at least one true -> (B,Q,D)."""
        b, _, d = q.shape
        size = d // self.heads
        q, k, v = (x.reshape(b, -1, self.heads, size) for x in (q, k, v))
        table = self.param("table", nn.initializers.zeros, (1 if self.shared else self.heads, size, BUCKETS), jnp.float32)
        table = jnp.broadcast_to(table, (self.heads, size, BUCKETS))
        logits = jnp.einsum("bqnd,blnd->bnql", q, k) * size**-0.5
        terms = jnp.einsum("bqnd,ndk->bnqk", q * (size**-0.5 if self.scale_table else 1.0), table)
        logits = logits + jnp.take_along_axis(terms, jnp.asarray(buckets)[None, None], axis=-1)
        if mask is not None:
            logits = jnp.where(mask[:, None, None], logits, NEVER)
        out = jnp.einsum("bnql,blnd->bqnd", jax.nn.softmax(logits, -1), v)
        return nn.Dense(d, name="out")(out.reshape(b, -1, d))
