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
