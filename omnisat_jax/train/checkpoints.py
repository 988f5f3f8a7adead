"""Checkpoints of one stage: the last ones, the best one, and what they were made from. Only this file and checkpoint_reading.py import Orbax."""

import contextlib
import logging
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from omnisat_jax.errors import UserError, reason
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.files.buckets import BucketError, told_while_waiting
from omnisat_jax.parallel.hosts import is_leader, leader_first
from omnisat_jax.train import checksums
from omnisat_jax.train.checkpoint_folders import BrokenStepError, aside, lasting, set_aside, steps_in
from omnisat_jax.train.checkpoint_reading import cause, description, form, quieten, read_step
from omnisat_jax.types import PyTree, StrPath

log = logging.getLogger(__name__)


class SaveError(UserError):
    """A checkpoint could not be written; the older ones are untouched."""


class Checkpoints:
    """Saves asynchronously and restores onto any mesh.

    Attributes:
      directory: of the checkpoints.
    """

    def __init__(self, directory: StrPath, *, keep: int, meta: dict[str, Any], accept_new_data: bool = False):
        """Opens (or creates) a folder of checkpoints, and sets aside what is broken in it.

        Args:
          directory: of the checkpoints.
          keep: how many of the latest are kept; the best one always is.
          meta: plain values stored with each checkpoint. A checkpoint with other values under "data" is refused.
          accept_new_data: do not refuse it.
        """
        quieten()
        self.directory = lasting(directory)
        with leader_first("look for broken checkpoints"), self._listing():
            # Orbax reads the descriptions of all checkpoints at once and fails at a broken one.
            for step in steps_in(self.directory) if is_leader() else ():
                try:
                    description(self.directory / str(step))
                except BrokenStepError as error:
                    set_aside(error)
        self._meta, self._accept, self._failed = meta, accept_new_data, False
        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(keep),
                preservation_policy.BestN(get_metric_fn=_value, n=1, keep_checkpoints_without_metrics=False),
            ]
        )
        with self._listing():
            self._manager = ocp.CheckpointManager(
                self.directory,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policy, best_fn=_value, best_mode="max", create=True, cleanup_tmp_directories=True
                ),
                item_names=("state", "meta"),
            )
        self._proven = bool(self._manager.all_steps())

    @contextlib.contextmanager
    def _listing(self) -> Iterator[None]:
        """Reports a bucket whose checkpoints cannot be listed or read."""
        try:
            with self._telling("the checkpoints that are there"):
                yield
        except UserError:
            raise
        except Exception as error:  # of the libraries of buckets
            if not scheme_of(self.directory):
                raise
            raise BucketError(f"{self.directory}: its checkpoints cannot be listed ({reason(error)}). Start the same command again") from error

    def _telling(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Says what is waited for where that is a bucket."""
        return told_while_waiting(f"{self.directory}: {what}") if scheme_of(self.directory) else contextlib.nullcontext()

    def save(self, step: int, state: PyTree, value: float | None = None) -> None:
        """Starts saving a state. A step is saved only once. The first checkpoint of a run is read back immediately.

        Args:
          step: that the state is of.
          state: of jax.Arrays.
          value: ranks the checkpoint; more is better.

        Raises:
          SaveError: this save cannot start, the one before it failed, or what was written cannot be read.
        """
        if self._manager.latest_step() == step:
            return
        value = None if value is None or math.isnan(value) else value
        own = {"step": step, "form": form(state), "value": value, "checksums": checksums.of_state(state)}
        meta = self._meta | own
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta | {"checksum": checksums.of_text(meta)})
        )
        metrics = None if value is None else {"value": value}
        self._guard(f"of step {step}, or the one before it", lambda: self._manager.save(step, args=items, metrics=metrics))
        if not self._proven:
            self.wait()
            self._read_back(step, state)
            self._proven = True

    def _read_back(self, step, state):
        """Checks that the folder can be read from, before a run relies on it: on the host, as devices may have no room for a second state."""
        # Arrays that take no memory and carry the expected shapes.
        host = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), state)
        try:
            read_step(self.directory / str(step), host, data=self._meta["data"])
        except BrokenStepError as error:
            self._failed = True
            raise SaveError(
                f"{error.path}: this checkpoint was written, but cannot be read back ({error.why}). "
                "Check the disk, or choose another --workdir"
            ) from error

    def latest(self) -> int | None:
        """Step of the newest checkpoint; None without one."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the best ranked checkpoint; None if none was ranked."""
        ranked = [step for step in self._manager.all_steps() if self._manager.metrics(step)]
        return max(ranked, key=lambda step: (_value(self._manager.metrics(step)), step), default=None)

    def checksum(self, step: int) -> str | None:
        """The checksum that identifies the content of a checkpoint on disk; None of one from before checkpoints had any."""
        return description(self.directory / str(step)).get("checksum")

    def restore(self, step: int, abstract_state: PyTree) -> Any:
        """The state of a step; see `read_step`."""
        return read_step(self.directory / str(step), abstract_state, data=self._meta["data"], accept_new_data=self._accept)[0]

    def restore_newest(self, abstract_state: PyTree) -> tuple[int, Any]:
        """Restores the newest state that can be read.

        What cannot be read is set aside as <directory>-broken/<step>, with a warning, so that the step can be saved again and nothing is lost.

        Args:
          abstract_state: ShapeDtypeStructs with shardings.

        Returns:
          (step, state), or (0, None) where there is no checkpoint at all.

        Raises:
          UserError: see `restore`; or checkpoints exist, but none can be read.
        """
        broken = None
        while (step := self.latest()) is not None:
            try:
                return step, self.restore(step, abstract_state)
            except BrokenStepError as error:
                broken = error
                with leader_first("set a broken checkpoint aside"):
                    set_aside(error)
                self._manager.reload()
        if broken or any(aside(self.directory).glob("*")):
            raise UserError(
                f"{self.directory}: none of the checkpoints can be read; they are in {aside(self.directory)}. Restore one of them, or "
                "delete that folder as well: the same command then trains this stage again from its start"
            )
        return 0, None

    def wait(self) -> None:
        """Waits until everything is on disk.

        Raises:
          SaveError: the last save failed.
        """
        self._guard("the last one started", self._manager.wait_until_finished)

    def _guard(self, what, action):
        try:
            with self._telling(f"a checkpoint ({what})"):
                action()
        except Exception as error:
            self._failed = True
            raise SaveError(
                f"{self.directory}: a checkpoint ({what}) could not be written ({cause(error)}). Older checkpoints are untouched: "
                "check the disk and start the same command again"
            ) from error

    def close(self) -> None:
        """Waits until everything is on disk; an earlier failure was reported when it happened."""
        if not self._failed:
            self.wait()
        self._manager.close()


def _value(metrics):
    return metrics["value"]
