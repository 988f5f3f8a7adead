"""Heads that read tokens and dense maps. Letters: B batch, P patches, D width, H W label pixels, h w pixels of a map, C channels, K classes."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.config.constraints import LEARNED_TEMPERATURE
from omnisat_jax.models.layers.blocks import Conv, ConvNormAct, gelu
from omnisat_jax.ops.patches import resize

_SMALLEST_SQUARE = 1e-12  # added to squared lengths, so that a zero vector has a gradient


class Projection(nn.Module):
    """MLP into the shared contrastive space (Chen et al., SimCLR, ICML 2020), L2-normalised, float32.

    Attributes:
      config: hidden width, and width E of the space.
      dtype: of the hidden layer.
    """

    config: schema.ProjectionConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """tokens (B,P,D) -> (B,P,E) float32 of unit length."""
        x = nn.LayerNorm(dtype=self.dtype)(tokens)
        x = gelu(nn.Dense(self.config.hidden, dtype=self.dtype)(x))
        x = nn.Dense(self.config.width, dtype=jnp.float32)(x).astype(jnp.float32)
        return x / jnp.sqrt((x**2).sum(-1, keepdims=True) + _SMALLEST_SQUARE)


class Temperature(nn.Module):
    """Temperature of the contrastive softmax: fixed, or learned in log space and clipped to `LEARNED_TEMPERATURE`.

    Attributes:
      initial: the value at the start, or for good.
      learned: whether it is a parameter.
    """

    initial: float
    learned: bool

    @nn.compact
    def __call__(self) -> jax.Array:
        """Scalar float32."""
        if not self.learned:
            return jnp.float32(self.initial)
        value = self.param("log", lambda key: jnp.log(jnp.float32(self.initial)))
        return jnp.clip(jnp.exp(value), *LEARNED_TEMPERATURE)


class ConvHead(nn.Module):
    """The segmentation head of U-TAE (Garnot & Landrieu, ICCV 2021).

    Attributes:
      width: channels of the hidden convolution.
      num_classes: K.
      border, norm: see `ConvNormAct`; "affine" (original weights) normalizes the logits as well.
      dtype: of the hidden convolution; logits are computed in float32.
    """

    width: int
    num_classes: int
    border: str
    norm: str = "image"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """features (B,H,W,C) -> logits (B,H,W,K) float32."""
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

    Every dense map is projected to one width, and those of the present modalities are averaged, so absence changes no shape. The head of U-TAE
    reads this mean and the tokens. Unless `config.unimodal` is "none", its logits are a correction: to them is added the mean, or the sum, of those of
    one linear layer per present modality, so each modality learns as fast as it would alone. The mean is a logarithmic opinion pool (Genest & Zidek,
    Statistical Science 1986); the sum is Bayes' rule for independent observations, which sensors of one place are not.

    Attributes:
      config: width, dropout, whether modalities have a linear layer of their own, and how their logits are combined.
      num_classes: K.
      label_patch: label pixels per token side.
      modalities: names, in the order of presence.
      border, norm: see `ConvNormAct`.
      dtype: of the computation; logits are float32.
    """

    config: schema.HeadConfig
    num_classes: int
    label_patch: int
    modalities: tuple[str, ...]
    border: str
    dtype: DTypeLike
    norm: str = "image"

    def setup(self) -> None:
        width = self.config.width
        self.tokens = nn.Dense(width, dtype=self.dtype)
        self.norms = {name: nn.LayerNorm(dtype=self.dtype) for name in self.modalities}
        self.dense = {name: nn.Dense(width, dtype=self.dtype) for name in self.modalities}
        self.alone = {name: nn.Dense(self.num_classes, dtype=jnp.float32) for name in self.modalities}
        self.dropout = nn.Dropout(self.config.dropout, broadcast_dims=(1, 2))
        self.head = ConvHead(width, self.num_classes, self.border, self.norm, self.dtype)

    def __call__(self, fused: jax.Array, features: Mapping[str, jax.Array | None], present: jax.Array, *, train: bool) -> jax.Array:
        """fused (B,P,D), features {name: (B,h,w,C) or None}, present (B,M) bool -> logits (B,H,W,K) float32."""
        b, p, _ = fused.shape
        grid = round(p**0.5)
        side = grid * self.label_patch
        maps = [resize(self.tokens(fused).reshape(b, grid, grid, -1), side)]
        total, count, alone = 0, 0, 0
        for index, name in enumerate(self.modalities):
            dense = features[name]
            if dense is None:
                continue
            seen = present[:, index, None, None, None]
            dense = jnp.where(seen, dense, 0)
            dense = self.norms[name](dense) if self._has_unimodal else dense
            total = total + jnp.where(seen, resize(self.dense[name](dense), side), 0)
            if self._has_unimodal:
                alone = alone + jnp.where(seen, self._alone(name, dense, side), 0)
            count = count + seen.astype(self.dtype)
        if not isinstance(total, int):
            maps.append(total / jnp.maximum(count, 1))
        if self.config.unimodal == "mean":
            alone = alone / jnp.maximum(count, 1)
        x = self.dropout(jnp.concatenate(maps, -1), deterministic=not train)
        return alone + self.head(x)

    def unimodal(self, features: Mapping[str, jax.Array | None], side: int) -> dict[str, jax.Array]:
        """{name: logits (B,side,side,K) float32} of the linear layer of each modality that has one."""
        if not self._has_unimodal:
            return {}
        maps = {name: features[name] for name in self.modalities if features[name] is not None}
        return {name: self._alone(name, self.norms[name](dense), side) for name, dense in maps.items()}

    @property
    def _has_unimodal(self) -> bool:
        return self.config.unimodal != "none"

    def _alone(self, name, dense, side):
        return resize(self.alone[name](dense).astype(jnp.float32), side)


class ClassificationHead(nn.Module):
    """Mean token -> one logit per label.

    Attributes:
      config: dropout.
      num_classes: K.
      dtype: of the norm; logits are float32.
    """

    config: schema.HeadConfig
    num_classes: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, fused: jax.Array, *, train: bool) -> jax.Array:
        """fused (B,P,D) -> logits (B,K) float32."""
        x = nn.LayerNorm(dtype=self.dtype)(fused.mean(1))
        x = nn.Dropout(self.config.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, dtype=jnp.float32, name="logits")(x).astype(jnp.float32)
