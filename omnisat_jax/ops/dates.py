"""Series on the dates of another one. Letters: B batch, T dates, S target dates."""

import jax
import jax.numpy as jnp


def interpolation_weights(dates, valid, at):
    """Weights of linear interpolation in time between the valid dates around each target date.

    Before the first and after the last valid date the nearest one counts alone.

    Args:
      dates: (B,T) days, any order.
      valid: (B,T) bool.
      at: (B,S) days.

    Returns:
      (B,S,T) float32, rows sum to 1; to 0 where a sample has no valid date.
    """
    far = jnp.iinfo(jnp.int32).max // 2
    gap = at[:, :, None].astype(jnp.int32) - dates[:, None, :].astype(jnp.int32)
    back = jnp.where(valid[:, None] & (gap >= 0), gap, far)
    ahead = jnp.where(valid[:, None] & (gap <= 0), -gap, far)
    count = dates.shape[1]
    before, after = jax.nn.one_hot(back.argmin(-1), count), jax.nn.one_hot(ahead.argmin(-1), count)
    behind, beyond = back.min(-1), ahead.min(-1)
    # A side without a date gets no weight; a date that is met exactly is on both sides at distance 0.
    share = jnp.where(beyond == far, 1.0, jnp.where(behind == far, 0.0, beyond / jnp.maximum(behind + beyond, 1)))
    share = jnp.where(behind == 0, 1.0, share)[..., None]
    return (share * before + (1 - share) * after) * valid.any(1)[:, None, None]
