"""Interpolation of one series to the dates of another. Letters: B batch, T dates, S target dates."""

import jax
import jax.numpy as jnp

_NEVER = jnp.iinfo(jnp.int32).max // 2  # days to a date that does not exist; twice as many still fit int32


def interpolation_weights(dates: jax.Array, valid: jax.Array, at: jax.Array) -> jax.Array:
    """Weights of linear interpolation in time between the valid dates around each target date.

    Before the first and after the last valid date, the nearest valid date has all the weight.

    Args:
      dates: (B,T) days, in any order.
      valid: (B,T) bool.
      at: (B,S) days.

    Returns:
      (B,S,T) float32. Rows sum to 1, or to 0 where a sample has no valid date.
    """
    gap = at[:, :, None].astype(jnp.int32) - dates[:, None, :].astype(jnp.int32)
    to_earlier = jnp.where(valid[:, None] & (gap >= 0), gap, _NEVER)
    to_later = jnp.where(valid[:, None] & (gap <= 0), -gap, _NEVER)
    count = dates.shape[1]
    earlier, later = jax.nn.one_hot(to_earlier.argmin(-1), count), jax.nn.one_hot(to_later.argmin(-1), count)
    before, after = to_earlier.min(-1), to_later.min(-1)  # days to the neighbors
    # A side without a date has no weight. A date that is met exactly is a neighbor on both sides, at distance 0.
    share = jnp.where(after == _NEVER, 1.0, jnp.where(before == _NEVER, 0.0, after / jnp.maximum(before + after, 1)))
    share = jnp.where(before == 0, 1.0, share)[..., None]
    return (share * earlier + (1 - share) * later) * valid.any(1)[:, None, None]
