"""Encoders of one very-high-resolution image: ViT, ResNet and the published patch CNN.

Letters: B batch, H W pixels, C channels, P patches, D width, p pixels a patch side.
"""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.layers.blocks import Conv, ConvNormAct, gelu, group_norm
from omnisat_jax.models.layers.transformer import Block
from omnisat_jax.ops.patches import pool_to_grid, resize, to_patches
from omnisat_jax.ops.positions import grid_sinusoid


class ViT(nn.Module):
    """Vision transformer with one token a ground patch (Dosovitskiy et al., ICLR 2021); no dense map.

    `stem="conv"` puts strided convolutions before the patch embedding (Xiao et al., NeurIPS 2021), which sees texture inside
    the 40 px patches of SPOT better than one dense layer.
    """

    settings: schema.ViTConfig
    attention: str
    width: int
    patch: int
    dtype: jnp.dtype = jnp.float32
    remat: bool = False
    norm: str = "image"

    @nn.compact
    def __call__(self, values, *, train: bool):
        """values (B,H,W,C) normalised -> Encoding without features."""
        side = values.shape[1] // self.patch
        x = values
        if self.settings.stem == "conv":
            for features in (self.width // 8, self.width // 4, self.width // 2):
                x = ConvNormAct(features, 3, 2, norm=self.norm, activation="gelu", dtype=self.dtype)(x)
            x = resize(x, side * max(1, round(x.shape[1] / side)))
        p = x.shape[1] // side
        x = nn.Dense(self.width, dtype=self.dtype, name="embed")(to_patches(x, p))
        x = x + grid_sinusoid(side, self.width).astype(self.dtype)
        block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        for index in range(self.settings.depth):
            layer = block(self.settings.heads, 4, self.settings.dropout, self.attention, self.dtype, name=f"block{index}")
            x = layer(x, None, train)
        return Encoding(nn.LayerNorm(dtype=self.dtype, name="norm")(x))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., CVPR 2016), with a norm that does not look across the batch."""

    features: int
    stride: int
    norm: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        y = ConvNormAct(self.features, 3, self.stride, groups=8, norm=self.norm, dtype=self.dtype)(x)
        y = ConvNormAct(self.features, groups=8, norm=self.norm, activation="none", dtype=self.dtype)(y)
        if x.shape != y.shape:
            x = ConvNormAct(self.features, 1, self.stride, groups=8, norm=self.norm, activation="none", dtype=self.dtype)(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Residual network: tokens from its coarsest map, dense features at a quarter of the image's resolution."""

    settings: schema.ResNetConfig
    width: int
    patch: int
    dtype: jnp.dtype = jnp.float32
    remat: bool = False
    norm: str = "image"

    @nn.compact
    def __call__(self, values, *, train: bool):
        """values (B,H,W,C) normalised -> Encoding, features (B,H/4,W/4,C')."""
        side = values.shape[1] // self.patch
        residual = nn.remat(ResidualBlock) if self.remat else ResidualBlock
        x = ConvNormAct(self.settings.widths[0], 5, 2, groups=8, norm=self.norm, dtype=self.dtype)(values)
        maps = []
        for features in self.settings.widths[1:]:
            for index in range(self.settings.blocks):
                x = residual(features, 2 if index == 0 else 1, self.norm, self.dtype)(x)
            maps.append(x)
        finest = maps[0]
        # Top-down: what the coarse maps recognise is told to the fine one (FPN, Lin et al., CVPR 2017).
        features = sum(resize(nn.Dense(finest.shape[-1], dtype=self.dtype)(m), finest.shape[1]) for m in maps)
        tokens = nn.Dense(self.width, dtype=self.dtype, name="token")(
            jnp.concatenate([pool_to_grid(maps[-1], side), pool_to_grid(features, side)], -1)
        )
        return Encoding(tokens, features)


class PatchCNN(nn.Module):
    """The published image encoder: every patch on its own through a small residual CNN; no dense map (OmniSat, ECCV 2024).

    Convolution with stride 2, norm, GELU, pooling, then [residual block, pooling]. Pooling floors odd sides and leaves one pixel as it
    is. Both norms of a residual block share their parameters, as in the published code.

    Attributes:
      settings: number of residual blocks.
      width: D of the tokens and of every convolution.
      patch: pixels a patch side.
      dtype: of the computation.
      norm: of the first convolution, see `ConvNormAct`.
    """

    settings: schema.PatchCNNConfig
    width: int
    patch: int
    dtype: jnp.dtype = jnp.float32
    norm: str = "image"

    @nn.compact
    def __call__(self, values, *, train: bool):
        """values (B,H,W,C) normalised -> Encoding without features."""
        b, _, _, c = values.shape
        x = to_patches(values, self.patch).astype(self.dtype)
        count = x.shape[1]
        x = x.reshape(b * count, self.patch, self.patch, c)
        x = _pool(ConvNormAct(self.width, 3, 2, norm=self.norm, activation="gelu", dtype=self.dtype, name="stem")(x))
        for index in range(self.settings.blocks):
            norm = group_norm(self.width, 4, self.dtype, f"block{index}_norm")
            first, second = (
                Conv(self.width, use_bias=False, dtype=self.dtype, name=f"block{index}_{place}") for place in ("first", "second")
            )
            x = _pool(gelu(x + norm(second(gelu(norm(first(x)))))))
        return Encoding(x.mean((1, 2)).reshape(b, count, self.width))


def _pool(x):
    return nn.max_pool(x, (2, 2), (2, 2)) if min(x.shape[1:3]) >= 2 else x
