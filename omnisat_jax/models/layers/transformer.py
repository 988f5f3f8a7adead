"""Pre-norm transformer blocks with masked attention. Letters: B batch, Q queries, L keys, D width, N heads."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.errors import UserError
from omnisat_jax.models.layers.blocks import gelu

_AMPERE = 8.0  # compute capability


class Attention(nn.Module):
    """Multi-head attention of x over y (Vaswani et al., NeurIPS 2017).

    Keys whose mask is False have no influence; without any key the result is 0.

    Attributes:
      heads: N.
      implementation: "xla", "cudnn" (GPU, bfloat16), or "auto" (cuDNN where it is known to work and to be faster, XLA elsewhere).
      dtype: of the computation; softmax runs in float32.
    """

    heads: int
    implementation: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array, mask: jax.Array | None) -> jax.Array:
        """x (B,Q,D), y (B,L,D), mask (B,L) bool or None -> (B,Q,D).

        Raises:
          UserError: "cudnn" where it cannot run.
        """
        width = x.shape[-1]
        size = width // self.heads
        if self.implementation == "cudnn":
            _need_cudnn(size, self.dtype)
        automatic = self.implementation == "auto" and _prefers_cudnn(size, self.dtype, (x.shape[1], y.shape[1]))

        def heads(name: str, inputs: jax.Array) -> jax.Array:
            return nn.DenseGeneral((self.heads, size), dtype=self.dtype, name=name)(inputs)

        q, k, v = heads("query", x), heads("key", y), heads("value", y)
        full = None if mask is None else jnp.broadcast_to(mask[:, None, None, :], (x.shape[0], 1, x.shape[1], y.shape[1]))
        implementation = "cudnn" if automatic or self.implementation == "cudnn" else "xla"
        out = jax.nn.dot_product_attention(q, k, v, mask=full, implementation=implementation)
        out = nn.DenseGeneral(width, axis=(-2, -1), dtype=self.dtype, name="out")(out)
        if mask is not None:
            # Without any key the softmax is uniform over the hidden ones.
            out = jnp.where(mask.any(1)[:, None, None], out, 0)
        return out


def _prefers_cudnn(size: int, dtype: DTypeLike, lengths: tuple[int, int]) -> bool:
    """Whether "auto" means cuDNN: on NVIDIA GPUs since Ampere, in bfloat16; with a mask, its gradient needs even numbers of queries and keys.

    Args:
      size: channels per head; smaller heads than 32 have not been tried.
      dtype: of the computation.
      lengths: numbers of queries and keys.
    """
    if jax.default_backend() != "gpu" or jnp.dtype(dtype) != jnp.bfloat16 or size not in (32, 64, 128) or any(length % 2 for length in lengths):
        return False
    device = jax.devices()[0]
    return "cuda" in device.client.platform_version.lower() and float(device.compute_capability) >= _AMPERE


def _need_cudnn(size: int, dtype: DTypeLike) -> None:
    """Reports what cuDNN's attention needs before it fails with a message of its own; size: channels per head."""
    backend, dtype = jax.default_backend(), jnp.dtype(dtype)
    if backend != "gpu" or dtype.itemsize != 2 or size % 8 or size > 128:
        raise UserError(
            "model.fusion.attention 'cudnn': expected a GPU, bfloat16 and heads of 8, 16, ... 128 channels, found "
            f"{backend}, {dtype.name} and heads of {size} channels. Set model.fusion.attention to 'xla'."
        )


class Mlp(nn.Module):
    """Two dense layers with GELU.

    Attributes:
      ratio: hidden width as a multiple of D.
      dropout: probability, after the activation.
      dtype: of the computation.
    """

    ratio: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B,Q,D) -> (B,Q,D)."""
        width = x.shape[-1]
        x = gelu(nn.Dense(self.ratio * width, dtype=self.dtype)(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(width, dtype=self.dtype)(x)


class Block(nn.Module):
    """Self-attention, or cross-attention if `context` is given, and an MLP; each with a norm before it and a residual around it.

    Attributes:
      heads: N.
      mlp_ratio: see `Mlp`.
      dropout: probability, of the MLP and of both residual branches.
      implementation: see `Attention`.
      dtype: of the computation.
    """

    heads: int
    mlp_ratio: int
    dropout: float
    implementation: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None, train: bool, context: jax.Array | None = None) -> jax.Array:
        """x (B,Q,D), mask (B,L) bool over the keys or None -> (B,Q,D); the keys are x itself, or context (B,L,D)."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        y = nn.LayerNorm(dtype=self.dtype)(x)
        keys = y if context is None else nn.LayerNorm(dtype=self.dtype)(context)
        x = x + drop(Attention(self.heads, self.implementation, self.dtype)(y, keys, mask))
        return x + drop(Mlp(self.mlp_ratio, self.dropout, self.dtype)(nn.LayerNorm(dtype=self.dtype)(x), train))
