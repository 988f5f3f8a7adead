"""What a stage leaves behind: its checkpoints, and the step that it stands for once it has finished."""

import dataclasses
import pathlib
from typing import Any

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.files import working_copy
from omnisat_jax.parallel import hosts
from omnisat_jax.train import workdir
from omnisat_jax.train.checkpoint_folders import BrokenStepError, lasting, set_aside, steps_in
from omnisat_jax.train.checkpoint_reading import read_parameters, read_step
from omnisat_jax.train.checkpoints import Checkpoints
from omnisat_jax.train.step import TrainState
from omnisat_jax.types import Params


class LostStepError(UserError):
    """The checkpoint that a finished stage stands for cannot be read.

    Attributes:
      recoverable: whether training again from an older checkpoint of this run gives the same checkpoint.
    """

    def __init__(self, message: str, recoverable: bool):
        super().__init__(message)
        self.recoverable = recoverable


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a finished stage hands on.

    Attributes:
      step: that the parameters are of.
      params: nested dict of arrays.
      checksum: of the checkpoint; None of one from before checkpoints had any.
      best: whether validation chose it; otherwise it is the last one.
    """

    step: int
    params: Params
    checksum: str | None
    best: bool


@dataclasses.dataclass(frozen=True)
class StageStore:
    """The files of one stage of a run.

    Attributes:
      folder: of the run that the stage belongs to.
      stage: "pretrain" or "finetune".
      config: of the stage.
      meta: plain values stored with each checkpoint. Those under "data" must agree for a checkpoint to be read.
      by_validation: whether validation chooses the step that the stage stands for; otherwise it is the last one.
      own: whether the folder is that of this run; the files of another run are read and never changed.
      accept_new_data: whether checkpoints that were made from other data are read as well.
    """

    folder: pathlib.Path
    stage: str
    config: schema.StageConfig
    meta: dict[str, Any]
    by_validation: bool
    own: bool
    accept_new_data: bool

    @property
    def directory(self) -> pathlib.Path:
        """The folder of the checkpoints."""
        return self.folder / self.stage / "checkpoints"

    def is_finished(self) -> bool:
        """Whether the stage has finished. Every process does what process 0 found."""
        done = workdir.finished(self.folder, self.stage) is not None
        return hosts.exchange(f"{self.stage} done", {"done": done})[0]["done"]

    def open(self) -> Checkpoints:
        """The checkpoints, to be closed."""
        return Checkpoints(self.directory, keep=self.config.keep, meta=self.meta, accept_new_data=self.accept_new_data)

    def finish(self, checkpoints: Checkpoints) -> None:
        """Marks the stage finished, by the step that it stands for."""
        last, best = self.config.steps, checkpoints.best()
        used = best if self.by_validation and best is not None else last
        facts: dict[str, Any] = {"steps": last, "step": used, "best": best, "last": last}
        if hosts.is_leader():
            facts["checksum"] = checkpoints.checksum(used)
        workdir.mark_done(self.folder, self.stage, facts)

    def reopen(self) -> None:
        """Marks the stage unfinished again."""
        workdir.unmark(self.folder, self.stage)
        hosts.wait(f"{self.stage} is not done")

    def load(self, abstract_state: TrainState) -> Trained:
        """Reads the step that the mark of the finished stage names, and no other. Of another run, what it has of the parameters of this one.

        Args:
          abstract_state: ShapeDtypeStructs with shardings.

        Raises:
          UserError: the stage is not finished, or its mark is damaged.
          LostStepError: that step cannot be read. In the folder of this run it is set aside.
        """
        if not hosts.is_leader():
            working_copy.pull(self.folder)  # the mark that process 0 has uploaded
        done = workdir.finished(self.folder, self.stage)
        if done is None:
            raise UserError(f"{self.folder}: {self.stage} has not finished; run --stage={self.stage} there first")
        last, best = done.get("last").integer(0, 2**53), done.find("best").value
        chosen = self.by_validation and best is not None
        # Marks of earlier versions name no step, and a best one also where nothing was ranked.
        step = done.find("step", best if chosen else last).integer(0, 2**53)
        path, checksum = self.directory / str(step), done.find("checksum").value
        try:
            if self.own:
                state, found = read_step(path, abstract_state, data=self.meta["data"], accept_new_data=self.accept_new_data, checksum=checksum)
                params = state.evaluated
            else:  # whoever takes the pre-training of another run accepts its data
                params, found = read_parameters(path, abstract_state.params, about=self.meta, checksum=checksum)
        except BrokenStepError as error:
            raise self._lost(error, step, last) from error
        return Trained(step, params, found, chosen and step == best)

    def _lost(self, error: BrokenStepError, step: int, last: int) -> LostStepError:
        """What to report of a step that cannot be read."""
        directory = lasting(self.directory)
        if self.own:
            with hosts.leader_first("set a broken checkpoint aside"):
                set_aside(error)
        older = hosts.exchange("older checkpoints", {"steps": [s for s in steps_in(directory) if s < step]})[0]["steps"]
        what = f"{directory}: expected step {step}, for which {self.stage} counts as finished, found none that can be read ({error.why})"
        if not self.own:
            return LostStepError(f"{what}. Restore it, or train {self.stage} there again", recoverable=False)
        if step == last and older:
            return LostStepError(f"{what}; {self.stage} is trained again from an older checkpoint", recoverable=True)
        return LostStepError(
            f"{what}, and no older one from which training would give the same again. Restore it, or move {self.folder / self.stage} away: "
            f"the same command then trains {self.stage} again from its start",
            recoverable=False,
        )
