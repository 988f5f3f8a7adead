"""A compact re-implementation after SkySense (Guo et al., CVPR 2024): factorised encoders, contrast at several granularities.

Kept from the paper: space first, every date and sensor on its own, then one transformer over the dates of all sensors at each place; contrast of
pixels, patches and tiles. Left out: teacher and student with momentum (views here are the sensors of a place), clustering of objects
(patches stand for them), and the geo-context prototypes. Like the original it is not trained for missing modalities.

Letters: B batch, T dates, H W pixels, C channels, P patches, D width, M modalities, L dates of all modalities.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.models.layers.blocks import ConvNormAct
from omnisat_jax.models.layers.transformer import Block
from omnisat_jax.models.pretrainable import PretrainableModel
from omnisat_jax.ops.patches import masked_mean, resize, roll_tokens, to_patches
from omnisat_jax.ops.positions import date_sinusoid, grid_sinusoid


class DatedEncoding(NamedTuple):
    """An `Encoding` (its first three fields) with the tokens of every date: dated (B,T,P,D), dates and valid (B,T)."""

    tokens: jax.Array
    features: jax.Array
    attention: jax.Array
    dated: jax.Array
    dates: jax.Array
    valid: jax.Array


class SpatialEncoder(nn.Module):
    """Frames (N,H,W,C) -> dense maps (N,h,w,F) and tokens (N,P,D). Images finer than the labels are halved twice first.

    Attributes:
      frame_width: F.
      width: D.
      patch: pixels per token side.
      fine: whether frames are to be halved.
      norm, dtype: see `ConvNormAct`.
    """

    frame_width: int
    width: int
    patch: int
    fine: bool
    norm: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, frames):
        side = frames.shape[1] // self.patch
        stride = 2 if self.fine else 1
        x = frames
        for index in range(2):
            x = ConvNormAct(self.frame_width, 3, stride, norm=self.norm, activation="gelu", dtype=self.dtype, name=f"conv{index}")(
                x
            )
        x = resize(x, side * max(1, round(x.shape[1] / side)))
        tokens = nn.Dense(self.width, dtype=self.dtype, name="token")(to_patches(x, x.shape[1] // side))
        return x, tokens


class TemporalFusion(nn.Module):
    """A transformer over the dates of all modalities at each patch, read from one learned token.

    Attributes:
      settings: depth.
      fusion: heads and the form of a block.
      period: base of the date sinusoid, days.
      modalities: names, in order.
      dtype: of the computation.
    """

    settings: schema.SkySenseConfig
    fusion: schema.FusionConfig
    period: float
    modalities: tuple[str, ...]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, encoded, present, masked, *, train: bool):
        """{name: DatedEncoding}, present (B,M), masked (B,M,P) or None -> (B,P,D)."""
        b, _, p, d = encoded[self.modalities[0]].dated.shape
        small = nn.initializers.normal(0.02)
        vector = None if masked is None else self.param("mask", small, (d,), jnp.float32).astype(self.dtype)
        sequence, seen = [], []
        for index, name in enumerate(self.modalities):
            out, here = encoded[name], present[:, index]
            x = out.dated.swapaxes(1, 2)
            if masked is not None:
                x = jnp.where(masked[:, index, :, None, None], vector, x)
            kind = self.param(f"modality_{name}", small, (d,), jnp.float32)
            x = x + (date_sinusoid(out.dates, d, self.period)[:, None] + kind).astype(self.dtype)
            valid = out.valid & here[:, None]
            sequence.append(jnp.where(valid[:, None, :, None], x, 0))
            seen.append(valid)
        query = self.param("query", small, (d,), jnp.float32) + grid_sinusoid(round(p**0.5), d)
        query = jnp.broadcast_to(query[:, None].astype(self.dtype), (b, p, 1, d))
        x = jnp.concatenate([query, *sequence], 2)
        mask = jnp.concatenate([jnp.ones((b, 1), bool), *seen], 1)
        x, mask = x.reshape(b * p, -1, d), jnp.repeat(mask, p, axis=0)
        for index in range(self.settings.depth):
            s = self.fusion
            x = Block(s.heads, s.mlp_ratio, s.dropout, s.attention, self.dtype, name=f"block{index}")(x, mask, train)
        return nn.LayerNorm(dtype=self.dtype, name="norm")(x[:, 0]).reshape(b, p, d)


class SkySense(PretrainableModel):
    """See the module's text."""

    def setup(self):
        super().setup()
        s = self.settings
        labels = max(spec.resolution for spec in self.specs)
        self.encoders = {
            spec.name: SpatialEncoder(s.skysense.frame_width, s.width, spec.patch, spec.resolution < labels, s.norm, self.dtype)
            for spec in self.specs
        }
        self.fusion = TemporalFusion(s.skysense, s.fusion, s.ltae.period, self.names, self.dtype)

    def encode_known(self, inputs, *, train: bool):
        """{name: DatedEncoding} of normalised inputs; an image is a series of one date, day 0."""
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
                masked_mean(tokens, valid[:, :, None, None], 1),
                masked_mean(maps, valid[:, :, None, None, None], 1),
                (valid / jnp.maximum(valid.sum(1, keepdims=True), 1))[:, :, None, None],
                tokens,
                dates,
                valid,
            )
        return encoded

    def roll_back(self, out, shift):
        """What `encode_known` gave of a modality that was rolled by shift (2,), moved back."""
        return super().roll_back(out, shift)._replace(dated=roll_tokens(out.dated, -shift))

    def attention_of(self, encoded):
        """Nothing: dates are weighed inside fusion, `encode_known` gives them all the same weight."""
        return {}

    def fuse(self, encoded, present, masked=None, *, train: bool):
        """Fused tokens (B,P,D) of the modalities in present (B,M), some places masked (B,M,P)."""
        return self.fusion(encoded, present, masked, train=train)
