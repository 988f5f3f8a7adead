"""Layers shared by the encoders. Letters: B batch, H W pixels, C channels."""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax.ops.convolution import conv2d

EPSILON = 1e-5  # of every norm over groups, as in PyTorch


def gelu(x):
    """The exact GELU, as PyTorch's default; JAX's default is an approximation."""
    return nn.gelu(x, approximate=False)


ACTIVATIONS = {"relu": nn.relu, "gelu": gelu, "none": lambda x: x}


class Conv(nn.Module):
    """Square convolution over (B,H,W,C) through `ops.convolution`, 'same' size for odd kernels and stride 1.

    Attributes:
      features: output channels.
      side: kernel side.
      stride: pixels between outputs.
      border: "reflect" or "zeros".
      use_bias: whether to add one.
      dtype: of the computation; parameters are float32.
    """

    features: int
    side: int = 3
    stride: int = 1
    border: str = "zeros"
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
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


def groups_for(channels, wanted):
    """The largest number of groups up to `wanted` that divides `channels`."""
    return next(g for g in range(min(wanted, channels), 0, -1) if channels % g == 0)


class Affine(nn.Module):
    """A scale and a shift a channel: what a BatchNorm is in evaluation, with its statistics folded in."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return x.astype(self.dtype) * scale.astype(self.dtype) + bias.astype(self.dtype)


def group_norm(channels, wanted, dtype, name):
    """GroupNorm of each image on its own, with as many of the `wanted` groups as divide `channels`."""
    return nn.GroupNorm(groups_for(channels, wanted), epsilon=EPSILON, dtype=dtype, name=name)


def map_norm(kind, channels, groups, dtype, name):
    """The norm of a map (B,H,W,C) that `kind` asks for, see `ConvNormAct`."""
    if kind == "affine":
        return Affine(dtype, name=name)
    if kind == "pixel":
        return nn.LayerNorm(epsilon=EPSILON, dtype=dtype, name=name)
    return group_norm(channels, groups, dtype, name)


def dense_norm_relu(x, features, norm, dtype, name):
    """Dense, norm ("image": LayerNorm | "affine"), ReLU over the last axis; parameters under `name` and `name`_norm."""
    x = nn.Dense(features, dtype=dtype, name=name)(x)
    layer = Affine(dtype, name=f"{name}_norm") if norm == "affine" else nn.LayerNorm(dtype=dtype, name=f"{name}_norm")
    return nn.relu(layer(x))


class ConvNormAct(nn.Module):
    """Convolution, norm, ReLU or GELU.

    Attributes:
      features, side, stride, border: of the convolution.
      groups: of the norm.
      norm: "image" (GroupNorm of each image on its own), "pixel" (LayerNorm of each pixel, which keeps how bright an image is as a
        whole) or "affine" (for weights of originals with BatchNorm).
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
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = Conv(self.features, self.side, self.stride, self.border, dtype=self.dtype, name="conv")(x)
        x = map_norm(self.norm, self.features, self.groups, self.dtype, "norm")(x)
        return ACTIVATIONS[self.activation](x)


class TemporalGroupNorm(nn.Module):
    """GroupNorm over time and the channels of a group, for each place, padded dates left out.

    With every date valid it is the input norm of L-TAE (Garnot & Landrieu 2020), which normalises (C, T) sequences.
    """

    groups: int

    @nn.compact
    def __call__(self, x, valid):
        """x: (B,T,S,C) at S places; valid: (B,T). Returns (B,T,S,C) float32, 0 on invalid dates."""
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
