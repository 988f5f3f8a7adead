"""What is read from tokens. Letters: B batch, P patches, D width, H W label pixels, C channels, K classes."""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.models.layers.blocks import Conv, ConvNormAct, gelu
from omnisat_jax.ops.patches import resize


class Projection(nn.Module):
    """MLP into the shared contrastive space, L2-normalised, float32."""

    settings: schema.ProjectionConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, tokens):
        """tokens (B,P,D) -> (B,P,E), unit length."""
        x = nn.LayerNorm(dtype=self.dtype)(tokens)
        x = gelu(nn.Dense(self.settings.hidden, dtype=self.dtype)(x))
        x = nn.Dense(self.settings.width, dtype=jnp.float32)(x).astype(jnp.float32)
        return x / jnp.sqrt((x**2).sum(-1, keepdims=True) + 1e-12)


class Temperature(nn.Module):
    """Of the contrastive softmax: fixed, or learned in log space and kept within [0.01, 1]."""

    initial: float
    learned: bool

    @nn.compact
    def __call__(self):
        """Scalar float32."""
        if not self.learned:
            return jnp.float32(self.initial)
        value = self.param("log", lambda key: jnp.log(jnp.float32(self.initial)))
        return jnp.clip(jnp.exp(value), 0.01, 1.0)


class ConvHead(nn.Module):
    """U-TAE's own segmentation head: features (B,H,W,C) -> logits (B,H,W,K) float32.

    Attributes:
      width: channels of the hidden convolution.
      num_classes: K.
      border, norm: see `ConvNormAct`; "affine" (original weights) normalises the logits as well.
      dtype: of the computation.
    """

    width: int
    num_classes: int
    border: str
    norm: str = "image"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features):
        x = ConvNormAct(self.width, border=self.border, norm=self.norm, dtype=self.dtype, name="hidden")(features)
        if self.norm == "affine":
            last = ConvNormAct(
                self.num_classes, border=self.border, norm="affine", activation="none", dtype=jnp.float32, name="logits"
            )
        else:
            last = Conv(self.num_classes, border=self.border, dtype=jnp.float32, name="logits")
        return last(x).astype(jnp.float32)


class SegmentationHead(nn.Module):
    """Fused tokens and the dense maps of the present modalities -> logits at label resolution.

    Every dense map is projected to the same width and the present ones are averaged, so absence changes no shape. What follows is U-TAE's
    own head: a second normalised convolution and a 1x1 one to the logits in its place cost seven points (docs/results.md).
    """

    settings: schema.HeadConfig
    num_classes: int
    label_patch: int
    modalities: tuple[str, ...]
    border: str
    dtype: jnp.dtype
    norm: str = "image"

    @nn.compact
    def __call__(self, fused, features, present, *, train: bool):
        """fused (B,P,D); features {name: (B,h,w,C) or None}; present (B,M) -> logits (B,H,W,K) float32."""
        b, p, d = fused.shape
        grid, width = round(p**0.5), self.settings.width
        side = grid * self.label_patch
        coarse = nn.Dense(width, dtype=self.dtype, name="tokens")(fused).reshape(b, grid, grid, width)
        maps = [resize(coarse, side)]
        total, count = 0, 0
        for index, name in enumerate(self.modalities):
            if features[name] is None:
                continue
            dense = nn.Dense(width, dtype=self.dtype, name=f"dense_{name}")(features[name])
            seen = present[:, index, None, None, None]
            total = total + jnp.where(seen, resize(dense, side), 0)
            count = count + seen.astype(self.dtype)
        if not isinstance(total, int):
            maps.append(total / jnp.maximum(count, 1))
        x = jnp.concatenate(maps, -1)
        x = nn.Dropout(self.settings.dropout, deterministic=not train, broadcast_dims=(1, 2))(x)
        return ConvHead(width, self.num_classes, self.border, self.norm, self.dtype, name="head")(x)


class ClassificationHead(nn.Module):
    """Mean token -> logits of each label."""

    settings: schema.HeadConfig
    num_classes: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, fused, *, train: bool):
        """fused (B,P,D) -> logits (B,K) float32."""
        x = nn.LayerNorm(dtype=self.dtype)(fused.mean(1))
        x = nn.Dropout(self.settings.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, dtype=jnp.float32, name="logits")(x).astype(jnp.float32)
