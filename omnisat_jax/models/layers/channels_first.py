"""A dense layer of pixels whose channels come before their positions. Letters: C F channels, S pixels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike


class ChannelsFirstDense(nn.Module):
    """`nn.Dense` along the last axis but one: the same parameters, without a transposition of the pixels.

    The kernel is repeated for every leading index, so that the product is a batched one, for which no compiler has to move the pixels.

    Attributes:
      features: F.
      dtype: of the computation.
      channels_last: whether the result has its channels last.
    """

    features: int
    dtype: DTypeLike = jnp.float32
    channels_last: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(...,C,S) -> (...,F,S), or with channels_last (...,S,F)."""
        *leading, channels, _ = x.shape
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (channels, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        kernel = jnp.broadcast_to(kernel, (*leading, *kernel.shape))
        if self.channels_last:
            return jnp.einsum("...cs,...cf->...sf", x, kernel) + bias
        return jnp.einsum("...cf,...cs->...fs", kernel, x) + bias[:, None]
