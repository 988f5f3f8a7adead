"""A compact re-implementation after SkySense (Guo et al., CVPR 2024): factorized encoders, contrastive losses at several granularities.

Kept from the paper: every date of every sensor is encoded in space first, then one transformer attends over the dates of all sensors at each
patch; the contrastive losses compare pixels, patches and tiles. Left out: the momentum teacher (the views here are the sensors of a tile), the
clustering of objects (patches stand for them), and the geo-context prototypes. Like the original it is not trained for missing modalities.

Letters: B batch, T dates, F frames, H W pixels, h w pixels of a map, C channels, P patches, D width, M modalities.
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.models.layers.blocks import ConvNormAct, embedding_init
from omnisat_jax.models.layers.transformer import Block
from omnisat_jax.models.pretrainable import PretrainableModel
from omnisat_jax.ops.patches import masked_mean, resize, roll_tokens, to_patches
from omnisat_jax.ops.plain import broadcast_to
from omnisat_jax.ops.positions import date_sinusoid, grid_sinusoid
from omnisat_jax.types import Batch


class DatedEncoding(NamedTuple):
    """An `Encoding` (its first three fields) with the tokens of every date.

    Attributes:
      tokens: (B,P,D), mean over valid dates.
      features: (B,h,w,C), mean over valid dates.
      attention: (B,T,1,1), the same weight for every valid date.
      dated: (B,T,P,D) tokens.
      dates: (B,T) days.
      valid: (B,T) bool.
    """

    tokens: jax.Array
    features: jax.Array
    attention: jax.Array
    dated: jax.Array
    dates: jax.Array
    valid: jax.Array


class SpatialEncoder(nn.Module):
    """Two convolutions and a patch embedding. Images finer than the labels are halved by each convolution.

    Attributes:
      frame_width: channels of the dense map.
      width: D.
      patch: pixels per token side.
      fine: whether frames are finer than the labels.
      norm, dtype: see `ConvNormAct`.
    """

    frame_width: int
    width: int
    patch: int
    fine: bool
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        """frames (F,H,W,C) -> dense maps (F,h,w,frame_width) and tokens (F,P,D)."""
        side = frames.shape[1] // self.patch
        stride = 2 if self.fine else 1
        x = frames
        for index in range(2):
            conv = ConvNormAct(
                self.frame_width, 3, stride, norm=self.norm, activation="gelu", dtype=self.dtype, name=f"conv{index}"
            )
            x = conv(x)
        x = resize(x, side * max(1, round(x.shape[1] / side)))
        tokens = nn.Dense(self.width, dtype=self.dtype, name="token")(to_patches(x, x.shape[1] // side))
        return x, tokens


class TemporalFusion(nn.Module):
    """A transformer over the dates of all modalities at each patch, read from one learned token.

    Attributes:
      config: depth.
      fusion: heads and the form of a block.
      period: base of the date sinusoid, days.
      modalities: names, in order.
      dtype: of the computation.
    """

    config: schema.SkySenseConfig
    fusion: schema.FusionConfig
    period: float
    modalities: tuple[str, ...]
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, encoded: Mapping[str, DatedEncoding], present: jax.Array, masked: jax.Array | None, *, train: bool
    ) -> jax.Array:
        """{name: DatedEncoding}, present (B,M) bool, masked (B,M,P) bool or None -> (B,P,D)."""
        b, _, p, d = encoded[self.modalities[0]].dated.shape
        vector = None if masked is None else self.param("mask", embedding_init, (d,), jnp.float32).astype(self.dtype)
        sequence, seen = [], []
        for index, name in enumerate(self.modalities):
            out, here = encoded[name], present[:, index]
            x = out.dated.swapaxes(1, 2)
            if masked is not None and vector is not None:
                x = jnp.where(masked[:, index, :, None, None], vector, x)
            kind = self.param(f"modality_{name}", embedding_init, (d,), jnp.float32)
            x = x + (date_sinusoid(out.dates, d, self.period)[:, None] + kind).astype(self.dtype)
            valid = out.valid & here[:, None]
            sequence.append(jnp.where(valid[:, None, :, None], x, 0))
            seen.append(valid)
        query = self.param("query", embedding_init, (d,), jnp.float32) + grid_sinusoid(round(p**0.5), d)
        query = broadcast_to(query[:, None].astype(self.dtype), (b, p, 1, d))
        x = jnp.concatenate([query, *sequence], 2)
        mask = jnp.concatenate([jnp.ones((b, 1), bool), *seen], 1)
        x, mask = x.reshape(b * p, -1, d), jnp.repeat(mask, p, axis=0)
        for index in range(self.config.depth):
            c = self.fusion
            x = Block(c.heads, c.mlp_ratio, c.dropout, c.attention, self.dtype, name=f"block{index}")(x, mask, train)
        return nn.LayerNorm(dtype=self.dtype, name="norm")(x[:, 0]).reshape(b, p, d)


class SkySense(PretrainableModel):
    """One spatial encoder per modality and a transformer over all dates, see the module's docstring."""

    def setup(self) -> None:
        super().setup()
        c = self.config
        labels = max(spec.resolution for spec in self.specs)
        self.encoders = {
            spec.name: SpatialEncoder(c.skysense.frame_width, c.width, spec.patch, spec.resolution < labels, c.norm, self.dtype)
            for spec in self.specs
        }
        self.fusion = TemporalFusion(c.skysense, c.fusion, c.ltae.period, self.names, self.dtype)

    def encode_known(self, inputs: Batch, *, train: bool) -> dict[str, DatedEncoding]:
        """{name: DatedEncoding} of normalized inputs; an image is a series of one date, day 0."""
        del train
        encoded = {}
        for spec in self.specs:
            entry = inputs[spec.name]
            values = entry["values"] if spec.kind == "series" else entry["values"][:, None]
            b, t = values.shape[:2]
            dates = entry.get("dates", jnp.zeros((b, 1), jnp.int32))
            valid = entry.get("valid", entry["present"][:, None])
            maps, tokens = self.encoders[spec.name](values.reshape(b * t, *values.shape[2:]))
            maps, tokens = (x.reshape(b, t, *x.shape[1:]) for x in (maps, tokens))
            encoded[spec.name] = DatedEncoding(
                tokens=masked_mean(tokens, valid[:, :, None, None], 1),
                features=masked_mean(maps, valid[:, :, None, None, None], 1),
                attention=(valid / jnp.maximum(valid.sum(1, keepdims=True), 1))[:, :, None, None],
                dated=tokens,
                dates=dates,
                valid=valid,
            )
        return encoded

    def roll_back(self, out: DatedEncoding, shift: jax.Array) -> DatedEncoding:
        """Undoes the roll of a modality by shift (2,) in what `encode_known` returned for it."""
        return super().roll_back(out, shift)._replace(dated=roll_tokens(out.dated, -shift))

    def attention_of(self, encoded: Mapping[str, DatedEncoding]) -> dict[str, jax.Array]:
        """Nothing: dates are weighted inside fusion, and `encode_known` gives all of them the same weight."""
        del encoded
        return {}

    def fuse(
        self, encoded: Mapping[str, DatedEncoding], present: jax.Array, masked: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Fused tokens (B,P,D) of the modalities in present (B,M) bool; masked (B,M,P) bool hides patches of single modalities."""
        return self.fusion(encoded, present, masked, train=train)
