"""Training whose numbers went wrong ends as failed, and never leaves a model."""

import jax
import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.parallel.hosts import exchange
from omnisat_jax.train.step import TrainState
from omnisat_jax.words import number_of

SHOWN = 20  # steps that a message names


class NonFiniteError(UserError):
    """Too many steps, or all of them, had a loss or gradient that was not finite; or the parameters are not finite."""


def check_trained(state: TrainState, steps: int, bad: list[str]) -> None:
    """Checks that the last state of a stage has learned anything. All processes must call it.

    Args:
      state: after the last step.
      steps: of the stage.
      bad: "step N: tiles ..." of the steps of this start that were not finite.

    Raises:
      NonFiniteError: no step was finite, or a parameter is not.
    """
    advice = "Look at the data and lower the learning rate; start again in another --workdir"
    if int(jax.device_get(state.skipped)) >= steps > 0:
        named = "".join(f"\n{line}" for line in bad[-SHOWN:])
        raise NonFiniteError(f"none of {number_of(steps, 'step')} had a finite loss and gradient: nothing was learned. {advice}{named}")
    mine = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_flatten_with_path(state.params)[0]
        if not all(np.isfinite(np.asarray(shard.data)).all() for shard in leaf.addressable_shards if shard.replica_id == 0)
    ]
    names = sorted({name for facts in exchange("finite", {"names": mine}) for name in facts["names"]})
    if names:
        raise NonFiniteError(f"{len(names)} arrays of parameters are not finite after the last step: {', '.join(names[:3])}. {advice}")
