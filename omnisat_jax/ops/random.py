"""Random draws that depend only on the seed, the name of their stream and the step: nothing to save, and a new stream changes no other.

Letters: B batch, M modalities, P patches.
"""

import dataclasses
import zlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

_LARGEST_UNIFORM = 1 - 1e-6  # keeps the last of many intervals from being rounded up to 1 in float32


@dataclasses.dataclass(frozen=True)
class Streams:
    """Named random keys of one step.

    Attributes:
      root: typed key made from the seed.
      step: int32 scalar, may be traced.
    """

    root: jax.Array
    step: jax.Array

    def __call__(self, name: str) -> jax.Array:
        """The key of stream `name` at this step."""
        return jax.random.fold_in(jax.random.fold_in(self.root, zlib.crc32(name.encode())), self.step)


def of_microbatch(keys: Mapping[str, jax.Array], index: jax.Array) -> dict[str, jax.Array]:
    """{name: key} of one microbatch. Microbatch 0 has the keys of the step, which a whole batch uses as well.

    Args:
      keys: {name: key} of the step.
      index: of the microbatch, int32 scalar, may be traced.
    """
    return {name: jax.lax.select(index == 0, key, jax.random.fold_in(key, index)) for name, key in keys.items()}


def drop_modalities(key: jax.Array, present: jax.Array, rate: float) -> jax.Array:
    """Hides each present modality of each sample with probability `rate`, but never all of them.

    Args:
      key: random key.
      present: (B,M) bool.
      rate: probability.

    Returns:
      (B,M) bool, a subset of `present`, empty only where `present` is. The draw depends on the key and the global shape,
      not on how the batch is divided among devices.
    """
    hide, rescue = jax.random.split(key)
    kept = present & (jax.random.uniform(hide, present.shape) >= rate)
    # If none is left, one of the present modalities, chosen uniformly, is kept.
    lottery = jnp.where(present, jax.random.uniform(rescue, present.shape), -1.0)
    chosen = jax.nn.one_hot(lottery.argmax(1), present.shape[1], dtype=bool) & present
    return jnp.where(kept.any(1, keepdims=True), kept, chosen)


def mask_tokens(key: jax.Array, shape: tuple[int, int, int], ratio: float) -> jax.Array:
    """Chooses round(ratio * M * P) of the M * P tokens of each sample, to be hidden.

    Args:
      key: random key.
      shape: (B,M,P).
      ratio: share of the tokens.

    Returns:
      (B,M,P) bool with the same number of true entries in every sample.
    """
    b, m, p = shape
    order = jax.random.uniform(key, (b, m * p)).argsort(axis=1)
    return (order.argsort(axis=1) < round(ratio * m * p)).reshape(shape)


def stratified(key: jax.Array, count: int) -> jax.Array:
    """(count,) float32, ascending in [0, 1), with one uniform draw in each of `count` equal intervals."""
    return (jnp.arange(count) + jax.random.uniform(key, (count,), maxval=_LARGEST_UNIFORM)) / count
