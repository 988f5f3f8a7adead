"""Randomness that depends on the seed, a name and the step only: nothing to save, and a new stream disturbs no other."""

import dataclasses
import zlib

import jax
import jax.numpy as jnp


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


def of_microbatch(keys, part):
    """{name: key} of one part of a batch; those of part 0 are what a batch in one part draws from too.

    Args:
      keys: {name: key} of the step.
      part: int32 scalar, may be traced.
    """
    return {name: jax.lax.select(part == 0, key, jax.random.fold_in(key, part)) for name, key in keys.items()}


def drop_modalities(key, present, rate):
    """Hides each present modality of each sample with probability `rate`, never all of them.

    Args:
      key: random key.
      present: (B,M) bool.
      rate: probability.

    Returns:
      (B,M) bool, a subset of `present`; not empty wherever `present` is not. The draw depends on the key and the global shape,
      not on how the batch is split over devices.
    """
    hide, rescue = jax.random.split(key)
    kept = present & (jax.random.uniform(hide, present.shape) >= rate)
    # If nothing is left, one of the present modalities, chosen uniformly, comes back.
    lottery = jnp.where(present, jax.random.uniform(rescue, present.shape), -1.0)
    chosen = jax.nn.one_hot(lottery.argmax(1), present.shape[1], dtype=bool) & present
    return jnp.where(kept.any(1, keepdims=True), kept, chosen)


def mask_tokens(key, shape, ratio):
    """Hides round(ratio * M * P) of the M * P tokens of each sample.

    Args:
      key: random key.
      shape: (B, M, P).
      ratio: share of tokens.

    Returns:
      (B,M,P) bool, the same number true in every sample.
    """
    b, m, p = shape
    order = jax.random.uniform(key, (b, m * p)).argsort(axis=1)
    return (order.argsort(axis=1) < round(ratio * m * p)).reshape(shape)


def stratified(key, count):
    """(count,) float32 ascending in [0, 1), one uniform draw in each of `count` equal intervals."""
    return (jnp.arange(count) + jax.random.uniform(key, (count,), maxval=1 - 1e-6)) / count
