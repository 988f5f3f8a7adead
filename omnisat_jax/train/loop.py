"""The training loop, the same for every task. Everything it uses is given to it."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import jax

from omnisat_jax.config import schema
from omnisat_jax.train.finite import NonFiniteError, check_trained
from omnisat_jax.train.step import TrainState
from omnisat_jax.train.timing import Ledger, Profile


class Preempted(RuntimeError):
    """The run was told to end; its state is saved, and the same command goes on from there."""


@dataclasses.dataclass(frozen=True)
class LoopHooks:
    """What the loop calls.

    Attributes:
      step: compiled (state, batch) -> (state, metrics), its root key given; gives up the old state.
      batches: (host batch, device batch) from the first step on.
      validate: (params, step) -> {score: value}, or None.
      rank: scores -> value by which checkpoints are ranked, more is better.
      save: (step, state, value or None) -> None.
      write: (step, {name: value}) -> None.
      show: (step, {name: value}) -> None, the terminal.
      stop: step -> whether the run was told to end.
      ledger: where the time goes.
      profile: traces the steps it was asked for.
      flops: of one step over all devices, and
      peak: what all devices could do a second; 0 = unknown.
      tiles_of: host batch -> names of the tiles of that step on every host; all of them ask at the same step.
    """

    step: Callable
    batches: Iterator
    validate: Callable | None
    rank: Callable
    save: Callable
    write: Callable
    show: Callable
    stop: Callable
    ledger: Ledger
    profile: Profile
    flops: float
    peak: float
    tiles_of: Callable


def run_loop(state: TrainState, first: int, stage: schema.StageConfig, budget: int, use: LoopHooks) -> TrainState:
    """Trains from step `first` to stage.steps.

    Metrics of a step are read while the next one runs, so the host never holds the device up.

    Args:
      state: as of `first`; its buffers are given up.
      first: steps already taken.
      stage: how long, how often.
      budget: steps with a non-finite loss that are tolerated over the stage.

    Raises:
      NonFiniteError: budget spent, or nothing learned at all; names the steps and their tiles.
      Preempted: told to end; the step is saved.
    """
    watch = _Watch(stage, budget, use, first, int(jax.device_get(state.skipped)))
    pending = None
    for step in range(first + 1, stage.steps + 1):
        use.profile.at(step)
        host, batch = use.ledger.next_batch(use.batches, pending and pending[2])
        # Anything that moves between host and device here would hold both up, so it is an error.
        with jax.transfer_guard("disallow"), jax.profiler.StepTraceAnnotation("train", step_num=step):
            state, metrics = use.step(state, batch)
        if pending:
            watch.finish(*pending)
        pending = (step, host, metrics)
        last = step == stage.steps
        value = None
        if (stage.eval_every and step % stage.eval_every == 0) or last:
            watch.finish(*pending)
            pending = None
            if use.validate:
                with use.ledger.during("evaluation"):
                    scores = use.validate(state.params, step)
                use.write(step, {f"validation_{key}": number for key, number in scores.items()})
                value = use.rank(scores)
                watch.pause()
        stop = not last and use.stop(step)
        if value is not None or step % stage.save_every == 0 or last or stop:
            if pending:
                watch.finish(*pending)
                pending = None
            with use.ledger.during("save"):
                use.save(step, state, value)
        if stop:
            raise Preempted(f"told to end after step {step} of {stage.steps}, which is saved; the same command goes on from there")
    check_trained(state, stage.steps, watch.bad)
    return state


class _Watch:
    """Reads finished steps: logging, speed, and the budget of non-finite steps."""

    def __init__(self, stage, budget, use, first, skipped):
        self._stage, self._budget, self._use = stage, budget, use
        self._skipped, self.bad = skipped, []
        self._mark, self._clock = first, time.perf_counter()

    def pause(self):
        """Time spent elsewhere is not training time."""
        self._clock = time.perf_counter()
        self._mark = None

    def finish(self, step, host, metrics):
        values = {key: float(value) for key, value in jax.device_get(metrics).items()}
        if not values.pop("finite"):
            self._count(step, host)
        values["skipped"] = float(self._skipped)
        if step % self._stage.log_every and step != self._stage.steps:
            return
        now = time.perf_counter()
        if self._mark is not None and step > self._mark:
            speed = (step - self._mark) / (now - self._clock)
            values["examples_per_second"] = speed * self._stage.batch_size
            values["teraflops"] = speed * self._use.flops / 1e12
            if self._use.peak:
                values["mfu"] = speed * self._use.flops / self._use.peak
        self._mark, self._clock = step, now
        self._use.write(step, values)
        self._use.show(step, values)

    def _count(self, step, host):
        self._skipped += 1
        self.bad.append(f"step {step}: tiles {', '.join(self._use.tiles_of(host))}")
        self._use.write(step, {"nonfinite_step": 1.0})
        if self._skipped > self._budget:
            raise NonFiniteError(
                f"{self._skipped} steps had a loss or gradient that was not finite, more than nonfinite_budget = {self._budget}. "
                f"Look at these tiles, or lower the learning rate:\n" + "\n".join(self.bad[-20:])
            )
