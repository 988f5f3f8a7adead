"""The parts of OmniSat as published (Astruc et al., ECCV 2024), and the whole encoder for weights of the authors' code, in evaluation.

Letters: B batch, T dates, H W pixels, C channels, M modalities, P patches, L tokens, Q queries, D width, N heads.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.batch import known_only
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.models.encoders.image import PatchCNN
from omnisat_jax.models.encoders.patch_ltae import PatchLTAE
from omnisat_jax.models.layers.blocks import gelu


class PublishedSeriesEncoder(nn.Module):
    """Patch L-TAE as published: every date is attended to, real or padded, unless `valid` says otherwise.

    Attributes:
      settings, ltae: widths.
      width: D.
      patch: pixels per token side.
      normalise_input: whether attention has an input norm (the published one has it for Sentinel-2 only).
    """

    settings: schema.PatchLTAEConfig
    ltae: schema.LTAEConfig
    width: int
    patch: int
    normalise_input: bool

    @nn.compact
    def __call__(self, values, dates, valid=None, *, train: bool = False):
        """values (B,T,H,W,C), dates (B,T) days, valid (B,T) bool or None -> tokens (B,P,D)."""
        entry = _known((values, dates, valid))
        encoder = PatchLTAE(
            self.settings, self.ltae, self.width, self.patch, norm="affine", normalise_input=self.normalise_input, name="encoder"
        )
        return encoder(entry["values"], entry["dates"], entry["valid"], train=train).tokens


class PublishedImageEncoder(nn.Module):
    """Patch CNN as published, its BatchNorm folded.

    Attributes:
      settings: number of residual blocks.
      width: D.
      patch: pixels per token side.
    """

    settings: schema.PatchCNNConfig
    width: int
    patch: int

    @nn.compact
    def __call__(self, values, *, train: bool = False):
        """values (B,H,W,C) -> tokens (B,P,D)."""
        values = _known((values,))["values"]
        return PatchCNN(self.settings, self.width, self.patch, norm="affine", name="encoder")(values, train=train).tokens


def _known(given):
    """(values,), (values, dates) or (values, dates, valid) of one modality as an entry of a batch, with unknown values masked."""
    values, dates, valid = (*given, None, None)[:3]
    entry = {"values": values, "present": jnp.ones(values.shape[0], bool)}
    if dates is not None:
        entry |= {"dates": dates, "valid": jnp.ones(values.shape[:2], bool) if valid is None else valid}
    return known_only(entry)


# Distances of up to NEAR cells have a bucket of their own; farther ones share buckets up to FAR, logarithmically (iRPE, Wu et al., ICCV 2021).
NEAR, FAR, REACH = 1.9, 3, 15.2
OUTSIDE = 7  # bucket of pairs with a token that lies on no grid
BUCKETS = 8


def distance_buckets(side):
    """(side*side, side*side) bucket of the rounded Euclidean distance between the cells of a grid."""
    row, column = np.divmod(np.arange(side * side), side)
    distance = np.round(np.hypot(row[:, None] - row, column[:, None] - column))
    beyond = NEAR + np.log(np.maximum(distance, 1) / NEAR) / math.log(REACH / NEAR) * NEAR
    return np.where(distance <= NEAR, distance, np.minimum(np.round(beyond), FAR)).astype(np.int32) + FAR


def token_buckets(patches, modalities, published):
    """(L,L) buckets of self-attention over [tile token, M x P tokens].

    Args:
      patches, modalities: P, M.
      published: the defect of the authors' code, which takes the last floor(sqrt(L))^2 tokens for one square image, whatever modality they
        belong to. Otherwise every modality lies on the same grid of patches.
    """
    count = 1 + modalities * patches
    buckets = np.full((count, count), OUTSIDE, np.int32)
    if published:
        side = math.isqrt(count)
        buckets[count - side**2 :, count - side**2 :] = distance_buckets(side)
    else:
        buckets[1:, 1:] = np.tile(distance_buckets(math.isqrt(patches)), (modalities, modalities))
    return buckets


def query_buckets(patches, modalities):
    """(P+1,L) buckets of cross-attention from [tile, patches] to [tile token, M x P tokens]."""
    buckets = np.full((patches + 1, 1 + modalities * patches), OUTSIDE, np.int32)
    buckets[1:, 1:] = np.tile(distance_buckets(math.isqrt(patches)), (1, modalities))
    return buckets


class RelativeAttention(nn.Module):
    """Attention whose logits know the distance between query and key: q.k / sqrt(d) + q.table[bucket].

    Attributes:
      heads: N.
      shared: one table for all heads.
      scale_table: the query of the table term is divided by sqrt(d) as well (the published self-attention, not its cross-attention).
    """

    heads: int
    shared: bool
    scale_table: bool

    @nn.compact
    def __call__(self, q, k, v, buckets, mask=None):
        """q (B,Q,D), k and v (B,L,D), buckets (Q,L), mask (B,L) bool over keys, at least one true -> (B,Q,D)."""
        b, _, d = q.shape
        size = d // self.heads
        q, k, v = (x.reshape(b, -1, self.heads, size) for x in (q, k, v))
        table = self.param("table", nn.initializers.zeros, (1 if self.shared else self.heads, size, BUCKETS), jnp.float32)
        table = jnp.broadcast_to(table, (self.heads, size, BUCKETS))
        logits = jnp.einsum("bqnd,blnd->bnql", q, k) * size**-0.5
        terms = jnp.einsum("bqnd,ndk->bnqk", q * (size**-0.5 if self.scale_table else 1.0), table)
        logits = logits + jnp.take_along_axis(terms, jnp.asarray(buckets)[None, None], axis=-1)
        if mask is not None:
            logits = jnp.where(mask[:, None, None], logits, -1e30)
        out = jnp.einsum("bnql,blnd->bqnd", jax.nn.softmax(logits, -1), v)
        return nn.Dense(d, name="out")(out.reshape(b, -1, d))


class PublishedFusion(nn.Module):
    """The published combiner: self-attention over the tokens of all modalities, then one learned query a patch and one for the tile.

    Attributes:
      depth: self-attention blocks before the cross-attention.
      heads: N.
      patches: P of the grid it was trained for; 0 = of the first tiles it sees.
      shared: see `RelativeAttention`.
      published: keep the authors' defect, see `token_buckets`.
      keep_position: masked tokens keep their position; the authors' lose it.
    """

    depth: int
    heads: int
    patches: int = 0
    shared: bool = True
    published: bool = True
    keep_position: bool = True

    @nn.compact
    def __call__(self, tokens, present=None, masked=None):
        """tokens (B,M,P,D) without positions [, present (B,M) bool, masked (B,M,P) bool] -> (B,P+1,D), the tile first.

        The original knows no absent modality; here one is no key. A masked token is one learned vector.
        """
        b, m, p, d = tokens.shape
        if self.patches and p != self.patches:
            raise UserError(f"this combiner was trained for {self.patches} patches per tile, found {p}")
        small = nn.initializers.normal(0.02)
        position = self.param("position", small, (p + 1, d), jnp.float32)
        tile = self.param("tile", small, (1, d), jnp.float32) + position[:1]
        x = tokens + position[1:]
        if masked is not None:
            vector = self.param("mask", small, (d,), jnp.float32)
            x = jnp.where(masked[..., None], vector + position[1:] if self.keep_position else vector, x)
        x = x.reshape(b, m * p, d)
        mask = None
        if present is not None:
            x = jnp.where(jnp.repeat(present, p, axis=1)[..., None], x, 0)
            mask = jnp.concatenate([jnp.ones((b, 1), bool), jnp.repeat(present, p, axis=1)], 1)
        x = jnp.concatenate([jnp.broadcast_to(tile, (b, 1, d)), x], 1)
        buckets = token_buckets(p, m, self.published)
        for index in range(self.depth):
            y = nn.LayerNorm(name=f"block{index}_norm1")(x)
            q, k, v = jnp.split(nn.Dense(3 * d, name=f"block{index}_qkv")(y), 3, axis=-1)
            x = x + RelativeAttention(self.heads, self.shared, True, name=f"block{index}_attention")(q, k, v, buckets, mask)
            x = x + self._mlp(x, f"block{index}")
        y = nn.LayerNorm(name="cross_norm1")(x)
        query = self.param("query", small, (1, d), jnp.float32) + self.param("query_position", small, (p + 1, d), jnp.float32)
        k, v = nn.Dense(d, name="cross_key")(y), nn.Dense(d, name="cross_value")(y)
        attend = RelativeAttention(self.heads, self.shared, False, name="cross_attention")
        x = attend(jnp.broadcast_to(query, (b, p + 1, d)), k, v, query_buckets(p, m), mask)
        return x + self._mlp(x, "cross")

    def _mlp(self, x, name):
        y = nn.LayerNorm(name=f"{name}_norm2")(x)
        return nn.Dense(x.shape[-1], name=f"{name}_mlp1")(gelu(nn.Dense(4 * x.shape[-1], name=f"{name}_mlp0")(y)))


class PublishedOmniSat(nn.Module):
    """The whole published encoder.

    Attributes:
      encoders: (name, encoder) in the order of the published code: images, Sentinel-2, Sentinel-1.
      fusion: the combiner's attributes.
    """

    encoders: tuple[tuple[str, nn.Module], ...]
    fusion: dict

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        """{name: (values, dates), (values, dates, valid), or values of an image} -> (B,P+1,D), the tile first.

        The original needs every modality; here one without a valid date or a known value is no key of the combiner.

        Raises:
          UserError: other modalities than the weights know, or tokens on different grids.
        """
        names = [name for name, _ in self.encoders]
        if set(inputs) != set(names):
            raise UserError(f"expected the modalities {', '.join(names)}, found {', '.join(inputs)}")
        tokens, present = [], []
        for name, encoder in self.encoders:
            given = inputs[name] if isinstance(inputs[name], tuple | list) else (inputs[name],)
            present.append(_known(given)["present"])
            tokens.append(encoder.copy(name=f"encoder_{name}")(*given, train=train))
        if len({x.shape for x in tokens}) > 1:
            raise UserError(f"modalities must cover the same patches, found {dict(zip(names, (x.shape for x in tokens)))}")
        return PublishedFusion(**self.fusion, name="fusion")(jnp.stack(tokens, 1), jnp.stack(present, 1))
