"""Encoders of one very-high-resolution image: ViT, ResNet, and the patch CNN of OmniSat.

Letters: B batch, H W pixels, C channels, P patches, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.layers.blocks import Conv, ConvNormAct, gelu, group_norm
from omnisat_jax.models.layers.transformer import Block
from omnisat_jax.ops.patches import pool_to_grid, resize, to_patches
from omnisat_jax.ops.plain import is_plain
from omnisat_jax.ops.positions import grid_sinusoid
from omnisat_jax.ops.texture import add_texture

_MLP_RATIO = 4  # hidden width of a ViT's MLP as a multiple of D, as published
_RESNET_GROUPS = 8  # of the norms of the ResNet


class ViT(nn.Module):
    """Vision transformer with one token per ground patch (Dosovitskiy et al., ICLR 2021); no dense map.

    The stem "conv" puts strided convolutions before the patch embedding (Xiao et al., NeurIPS 2021); it resolves the texture inside the
    40 px patches of SPOT better than one dense layer.

    Attributes:
      config: depth, heads, stem, dropout.
      attention: see `layers.transformer.Attention`.
      width: D.
      patch: pixels per token side.
      dtype: of the computation.
      remat: recompute the blocks in the backward pass.
      norm: of the convolutions, see `ConvNormAct`.
    """

    config: schema.ViTConfig
    attention: str
    width: int
    patch: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    norm: str = "image"

    @nn.compact
    def __call__(self, values: jax.Array, *, train: bool) -> Encoding:
        """values (B,H,W,C) normalized -> Encoding without features."""
        side = values.shape[1] // self.patch
        x = values
        if self.config.stem == "conv":
            for features in (self.width // 8, self.width // 4, self.width // 2):
                x = ConvNormAct(features, 3, 2, norm=self.norm, activation="gelu", dtype=self.dtype)(x)
            x = resize(x, side * max(1, round(x.shape[1] / side)))
        pixels = x.shape[1] // side
        x = nn.Dense(self.width, dtype=self.dtype, name="embed")(to_patches(x, pixels))
        x = x + grid_sinusoid(side, self.width).astype(self.dtype)
        block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        for index in range(self.config.depth):
            layer = block(self.config.heads, _MLP_RATIO, self.config.dropout, self.attention, self.dtype, name=f"block{index}")
            x = layer(x, None, train)
        return Encoding(nn.LayerNorm(dtype=self.dtype, name="norm")(x))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., CVPR 2016), with norms of single images instead of BatchNorm.

    Attributes:
      features: output channels.
      stride: of the first convolution.
      norm: see `ConvNormAct`.
      dtype: of the computation.
    """

    features: int
    stride: int
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B,H,W,C) -> (B,H',W',features)."""
        common = {"groups": _RESNET_GROUPS, "norm": self.norm, "dtype": self.dtype}
        y = ConvNormAct(self.features, 3, self.stride, **common)(x)
        y = ConvNormAct(self.features, activation="none", **common)(y)
        if x.shape != y.shape:
            x = ConvNormAct(self.features, 1, self.stride, activation="none", **common)(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Residual network with a top-down path (FPN): tokens from its coarsest map and the dense map, which has a quarter of the resolution.

    Attributes:
      config: widths of the levels, blocks per level, radius of texture.
      width: D.
      patch: pixels per token side.
      dtype: of the computation.
      remat: recompute the residual blocks in the backward pass.
      norm: see `ConvNormAct`.
    """

    config: schema.ResNetConfig
    width: int
    patch: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    norm: str = "image"

    @nn.compact
    def __call__(self, values: jax.Array, *, train: bool) -> Encoding:
        """values (B,H,W,C) normalized -> Encoding with features (B,H/4,W/4,C')."""
        del train
        side = values.shape[1] // self.patch
        residual = nn.remat(ResidualBlock) if self.remat else ResidualBlock
        if self.config.texture_radius:
            values = add_texture(values, self.config.texture_radius)
        x = ConvNormAct(self.config.widths[0], 5, 2, groups=_RESNET_GROUPS, norm=self.norm, dtype=self.dtype)(values)
        maps = []
        for features in self.config.widths[1:]:
            for index in range(self.config.blocks):
                x = residual(features, 2 if index == 0 else 1, self.norm, self.dtype)(x)
            maps.append(x)
        finest = maps[0]
        # Top-down: every coarser map is projected and added to the finest one (FPN, Lin et al., CVPR 2017).
        added = [resize(nn.Dense(finest.shape[-1], dtype=self.dtype)(m), finest.shape[1]) for m in maps]
        features = sum(added[1:], start=added[0])
        tokens = nn.Dense(self.width, dtype=self.dtype, name="token")(
            jnp.concatenate([pool_to_grid(maps[-1], side), pool_to_grid(features, side)], -1)
        )
        return Encoding(tokens, features)


class PatchCNN(nn.Module):
    """The published image encoder: a small residual CNN on every patch alone (OmniSat, Astruc et al., ECCV 2024); no dense map.

    Convolution with stride 2, norm, GELU and pooling, then [residual block, pooling]. Pooling rounds odd sides down and leaves a single
    pixel alone. Both norms of a residual block share their parameters, as in the published code.

    Attributes:
      config: number of residual blocks.
      width: D, of the tokens and of every convolution.
      patch: pixels per token side.
      dtype: of the computation.
      norm: of the first convolution, see `ConvNormAct`.
    """

    config: schema.PatchCNNConfig
    width: int
    patch: int
    dtype: DTypeLike = jnp.float32
    norm: str = "image"

    @nn.compact
    def __call__(self, values: jax.Array, *, train: bool) -> Encoding:
        """values (B,H,W,C) normalized -> Encoding without features."""
        del train
        b, _, _, c = values.shape
        x = to_patches(values, self.patch).astype(self.dtype)
        count = x.shape[1]
        x = x.reshape(b * count, self.patch, self.patch, c)
        x = _pool(ConvNormAct(self.width, 3, 2, norm=self.norm, activation="gelu", dtype=self.dtype, name="stem")(x))
        for index in range(self.config.blocks):
            norm = group_norm(self.width, 4, self.dtype, f"block{index}_norm")
            first, second = (
                Conv(self.width, use_bias=False, dtype=self.dtype, name=f"block{index}_{which}") for which in ("first", "second")
            )
            x = _pool(gelu(x + norm(second(gelu(norm(first(x)))))))
        return Encoding(x.mean((1, 2)).reshape(b, count, self.width))


def _pool(x: jax.Array) -> jax.Array:
    """Maximum of 2 x 2 pixels; an image with a side of one pixel is returned unchanged."""
    b, h, w, c = x.shape
    if min(h, w) < 2:
        return x
    if is_plain():  # onnxruntime has no pooling of what jax2onnx makes of it
        return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
    return nn.max_pool(x, (2, 2), (2, 2))
