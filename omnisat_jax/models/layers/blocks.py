"""Layers shared by the encoders. Letters: B batch, T dates, H W pixels, S positions, C channels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.ops.convolution import conv2d

EPSILON = 1e-5  # of every norm over groups, as in PyTorch
NEVER = -1e30  # logit of a key that must not be attended to; finite, so that a row without any key is not NaN
embedding_init = nn.initializers.normal(0.02)  # of learned tokens, queries and modality embeddings (as in BERT and ViT)


def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU, which is PyTorch's default; JAX's default is an approximation."""
    return nn.gelu(x, approximate=False)


ACTIVATIONS = {"relu": nn.relu, "gelu": gelu, "none": lambda x: x}


class Conv(nn.Module):
    """Square convolution through `ops.convolution`; the size is kept for odd kernels and stride 1.

    Attributes:
      features: output channels.
      side: kernel side.
      stride: pixels between outputs.
      border: "reflect" or "zeros".
      use_bias: whether to add a bias.
      dtype: of the computation; parameters are float32.
    """

    features: int
    side: int = 3
    stride: int = 1
    border: str = "zeros"
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B,H,W,C) -> (B,H',W',features) in `dtype`."""
        kernel = self.param("kernel", nn.initializers.he_normal(), (self.side, self.side, x.shape[-1], self.features), jnp.float32)
        amount = (self.side - 1) // 2
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if self.side == 1:
            x = x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
        else:
            x = conv2d(x, kernel, self.stride, amount, self.border)
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        return x


def groups_for(channels: int, wanted: int) -> int:
    """The largest number of groups up to `wanted` that divides `channels`."""
    return next(g for g in range(min(wanted, channels), 0, -1) if channels % g == 0)


class Affine(nn.Module):
    """A scale and a shift per channel: what BatchNorm is in evaluation, with its statistics folded in."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., C) -> (..., C) in `dtype`."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return x.astype(self.dtype) * scale.astype(self.dtype) + bias.astype(self.dtype)


def group_norm(channels: int, wanted: int, dtype: DTypeLike, name: str) -> nn.GroupNorm:
    """GroupNorm of each image on its own, with the largest number of groups up to `wanted` that divides `channels`."""
    return nn.GroupNorm(groups_for(channels, wanted), epsilon=EPSILON, dtype=dtype, name=name)


def map_norm(kind: str, channels: int, groups: int, dtype: DTypeLike, name: str) -> nn.Module:
    """The norm of a map (B,H,W,C) for a `norm` of `ConvNormAct`."""
    if kind == "affine":
        return Affine(dtype, name=name)
    if kind == "pixel":
        return nn.LayerNorm(epsilon=EPSILON, dtype=dtype, name=name)
    return group_norm(channels, groups, dtype, name)


def dense_norm_relu(x: jax.Array, features: int, norm: str, dtype: DTypeLike, name: str) -> jax.Array:
    """Dense layer, norm ("affine", else LayerNorm) and ReLU over the last axis; to be called inside a compact module.

    Its parameters are `name` and `<name>_norm` of the calling module.
    """
    x = nn.Dense(features, dtype=dtype, name=name)(x)
    layer = Affine(dtype, name=f"{name}_norm") if norm == "affine" else nn.LayerNorm(dtype=dtype, name=f"{name}_norm")
    return nn.relu(layer(x))


class ConvNormAct(nn.Module):
    """Convolution, norm, activation.

    Attributes:
      features, side, stride, border: of the convolution.
      groups: of the norm.
      norm: "image" (GroupNorm of each image on its own), "pixel" (LayerNorm of each pixel, which keeps differences in brightness between
        images) or "affine" (for original weights with BatchNorm).
      activation: "relu", "gelu" or "none".
      dtype: of the computation.
    """

    features: int
    side: int = 3
    stride: int = 1
    border: str = "zeros"
    groups: int = 4
    norm: str = "image"
    activation: str = "relu"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B,H,W,C) -> (B,H',W',features) in `dtype`."""
        x = Conv(self.features, self.side, self.stride, self.border, dtype=self.dtype, name="conv")(x)
        x = map_norm(self.norm, self.features, self.groups, self.dtype, "norm")(x)
        return ACTIVATIONS[self.activation](x)


class TemporalGroupNorm(nn.Module):
    """GroupNorm over time and the channels of a group, at each position on its own, without padded dates.

    With all dates valid it is the input norm of L-TAE (Garnot & Landrieu 2020), which normalizes (C, T) sequences.

    Attributes:
      groups: of the channels, dividing C.
    """

    groups: int

    @nn.compact
    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """x (B,T,S,C), valid (B,T) bool -> (B,T,S,C) float32, 0 on invalid dates."""
        b, t, s, c = x.shape
        scale = self.param("scale", nn.initializers.ones, (c,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (c,), jnp.float32)
        grouped = x.astype(jnp.float32).reshape(b, t, s, self.groups, c // self.groups)
        mask = valid[:, :, None, None, None].astype(jnp.float32)
        count = jnp.maximum(mask.sum((1, 4), keepdims=True) * (c // self.groups), 1)
        mean = (grouped * mask).sum((1, 4), keepdims=True) / count
        centred = (grouped - mean) * mask
        variance = (centred**2).sum((1, 4), keepdims=True) / count
        out = (centred / jnp.sqrt(variance + EPSILON)).reshape(b, t, s, c)
        return (out * scale + bias) * valid[:, :, None, None]
