"""Scores of a task over a whole set of tiles, each counted once."""

import jax

from omnisat_jax.input.device import prefetch


def evaluate(step, params, batches, subsets, scores, sharding, watch=None) -> list[dict]:
    """Runs `step(params, batch, subsets)` over the batches and adds up.

    Args:
      step: compiled evaluation step with a replicated result.
      batches: host batches, fillers with weight 0.
      subsets: (S,M) bool on the device.
      scores: a fresh `Task.scores()`.
      sharding: of the batch.
      watch: called with every (host batch, result), for pictures.

    Returns:
      One dict of scores a subset.
    """
    for host, batch in prefetch(batches, sharding):
        result = jax.device_get(step(params, batch, subsets))
        scores.add(result)
        if watch:
            watch(host, result)
    return scores.compute()
