"""Checkpoints of one stage: the last ones, the best one, and what they were made from. The only file that knows Orbax."""

import math
import pathlib

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy


class Checkpoints:
    """Asynchronous saving, restoring onto any mesh.

    Attributes:
      directory: of the stage's checkpoints.
    """

    def __init__(self, directory, *, keep: int, meta: dict, create: bool = True):
        """Opens (or creates) a folder of checkpoints.

        Args:
          keep: how many of the latest stay; the best always does.
          meta: plain values stored with each checkpoint; a checkpoint with another meta["data"] is refused.
        """
        self.directory = pathlib.Path(directory).resolve()
        self._meta = meta
        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(keep),
                preservation_policy.BestN(get_metric_fn=_value, n=1, keep_checkpoints_without_metrics=False),
            ]
        )
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(preservation_policy=policy, best_fn=_value, best_mode="max", create=create),
            item_names=("state", "meta"),
        )

    def save(self, step: int, state, value: float | None = None):
        """Starts saving `state` as of `step`; `value` (more is better) ranks it. A step is saved once."""
        if self._manager.latest_step() == step:
            return
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(self._meta | {"step": step}))
        metrics = None if value is None or math.isnan(value) else {"value": value}
        self._manager.save(step, args=items, metrics=metrics)

    def latest(self) -> int | None:
        """Step of the newest checkpoint."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the best ranked checkpoint, or of the newest if none was ranked."""
        ranked = [step for step in self._manager.all_steps() if self._manager.metrics(step)]
        return max(ranked, key=lambda step: (_value(self._manager.metrics(step)), step)) if ranked else self.latest()

    def restore(self, step: int, abstract_state):
        """The state saved at `step`, placed as `abstract_state` (ShapeDtypeStructs with shardings) says.

        Raises:
          ValueError: the checkpoint was made from other data, other tiles or another batch size.
        """
        meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        found, expected = meta["data"], self._meta["data"]
        if found != expected:
            changed = [
                f"{key}: {found.get(key)!r} then, {expected.get(key)!r} now" for key in expected if found.get(key) != expected[key]
            ]
            raise ValueError(
                f"{self.directory}: this checkpoint was made from other data ({'; '.join(changed)}); "
                "restore the data, or start again in another --workdir"
            )
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state))
        return self._manager.restore(step, args=items)["state"]

    def close(self):
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def _value(metrics):
    return metrics["value"]


def abstract_like(state, shardings):
    """ShapeDtypeStructs of an (abstract) state with its shardings."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings)
