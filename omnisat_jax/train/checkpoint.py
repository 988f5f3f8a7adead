"""Checkpoints of one stage: the last ones, the best one, and what they were made from. The only file that knows Orbax."""

import itertools
import json
import logging
import math
import pathlib

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from omnisat_jax.errors import UserError
from omnisat_jax.parallel.hosts import exchange, is_leader, leader_first

log = logging.getLogger(__name__)


class OtherRunError(UserError):
    """A checkpoint that was made from other data, or holds another model, than this run's: whole, but not to be continued here."""


class SaveError(UserError):
    """A checkpoint could not be written; the older ones are untouched."""


class Checkpoints:
    """Asynchronous saving, restoring onto any mesh.

    Attributes:
      directory: of the stage's checkpoints.
    """

    def __init__(self, directory, *, keep: int, meta: dict, accept_new_data: bool = False, create: bool = True):
        """Opens (or creates) a folder of checkpoints.

        Args:
          keep: how many of the latest stay; the best always does.
          meta: plain values stored with each checkpoint; a checkpoint with another meta["data"] is refused,
            unless `accept_new_data`.
        """
        self.directory = pathlib.Path(directory).resolve()
        self._aside = self.directory.with_name(f"{self.directory.name}-broken")
        with leader_first("look for broken checkpoints"):
            self._set_aside_unreadable()
        self._meta, self._accept, self._failed = meta, accept_new_data, False
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
        """Starts saving `state` as of `step`; `value` (more is better) ranks it. A step is saved once.

        Raises:
          SaveError: this save cannot start, or the one before it failed.
        """
        if self._manager.latest_step() == step:
            return
        about = {"step": step, "form": form(state)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(self._meta | about))
        metrics = None if value is None or math.isnan(value) else {"value": value}
        self._guard(f"step {step}", lambda: self._manager.save(step, args=items, metrics=metrics))

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
          OtherRunError: the checkpoint was made from other data, other tiles or another batch size; or it holds other arrays.
        """
        meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        found, expected = meta["data"], self._meta["data"]
        if found != expected and not self._accept:
            changed = [
                f"{key}: {found.get(key)!r} then, {expected.get(key)!r} now" for key in expected if found.get(key) != expected[key]
            ]
            raise OtherRunError(
                f"{self.directory}: this checkpoint was made from other data ({'; '.join(changed)}); "
                "restore the data, start again in another --workdir, or go on regardless with --accept_new_data"
            )
        found, expected = meta["form"], form(abstract_state)
        if found != expected:
            names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            changed = [f"{name}: {found.get(name, 'nothing')} there, {expected.get(name, 'nothing')} here" for name in names[:5]]
            raise OtherRunError(
                f"{self.directory / str(step)}: this checkpoint holds another model: {len(names)} arrays differ ({'; '.join(changed)}). "
                "Go on with the code it was made with, or start again in another --workdir"
            )
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state))
        return self._manager.restore(step, args=items)["state"]

    def restore_newest(self, abstract_state):
        """The newest state that can be read: (step, state).

        What cannot be read is set aside as <directory>-broken/<step>, with a warning, so that the step can be saved again and nothing is lost.

        Returns:
          step 0 and None where there is no checkpoint at all.

        Raises:
          UserError: see `restore`; or checkpoints exist, but none can be read.
        """
        found = False
        while (step := self.latest()) is not None:
            state, reason = None, ""
            try:
                state = self.restore(step, abstract_state)
            except OtherRunError:
                raise
            except Exception as error:  # whatever a damaged file makes the reader say
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
            reasons = [facts["reason"] for facts in exchange("restore", {"reason": reason}) if facts["reason"]]
            if not reasons:
                return step, state
            with leader_first("set a broken checkpoint aside"):
                self._set_aside(self.directory / str(step), reasons[0])
            self._manager.reload()
            found = True
        if found:
            raise UserError(
                f"{self.directory}: none of the checkpoints can be read; they are in {self._aside}. Start again in another --workdir"
            )
        return 0, None

    def _set_aside_unreadable(self):
        """Orbax reads the descriptions of all checkpoints at once and would stop at a broken one."""
        for path in sorted(path for path in self.directory.glob("*") if path.name.isdigit()):
            for about in [path / "_CHECKPOINT_METADATA", *path.glob("metrics/metrics")]:
                try:
                    json.loads(about.read_text())
                except (OSError, ValueError) as error:
                    self._set_aside(path, f"{about.name}: {error}")
                    break

    def _set_aside(self, path, reason):
        """Moves a checkpoint away, on process 0, under a name that is still free."""
        log.warning("%s: this checkpoint cannot be read (%s); it is now in %s", path, reason, self._aside)
        if is_leader():
            self._aside.mkdir(exist_ok=True)
            path.rename(next(p for i in itertools.count() if not (p := self._aside / f"{path.name}.{i}").exists()))

    def wait(self):
        """Until everything is on disk.

        Raises:
          SaveError: the last save failed.
        """
        self._guard("the last one", self._manager.wait_until_finished)

    def _guard(self, what, action):
        try:
            action()
        except Exception as error:
            self._failed = True
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
            raise SaveError(
                f"{self.directory}: a checkpoint ({what}) could not be written ({reason}). Older checkpoints are untouched: "
                "see to the disk and start the same command again"
            ) from error

    def close(self):
        """Waits until everything is on disk; what failed before was said then."""
        if not self._failed:
            self.wait()
        self._manager.close()


def _value(metrics):
    return metrics["value"]


def form(state) -> dict[str, list[int]]:
    """Shape of every array of a state, by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): list(leaf.shape) for path, leaf in leaves}


def abstract_like(state, shardings):
    """ShapeDtypeStructs of an (abstract) state with its shardings."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings)
