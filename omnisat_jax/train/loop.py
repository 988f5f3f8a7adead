"""The training loop, shared by all tasks. Everything it uses is passed to it."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping

import jax

from omnisat_jax.config import schema
from omnisat_jax.train.finite import NonFiniteError, check_trained
from omnisat_jax.train.step import TrainState
from omnisat_jax.train.timing import Ledger, Profile
from omnisat_jax.types import Batch, PyTree
from omnisat_jax.words import number_of


class Preempted(RuntimeError):
    """The run received SIGTERM. Its state is saved, and the same command continues it."""


@dataclasses.dataclass(frozen=True)
class LoopHooks:
    """What the loop calls.

    Attributes:
      step: compiled (state, batch) -> (state, metrics), which donates the state.
      batches: (host batch, device batch) from the first step on.
      validate: (params, step) -> {score: value}, or None.
      rank: scores -> the value by which checkpoints are ranked; more is better.
      save: (step, state, value or None) -> None.
      write: (step, {name: value}) -> None, into files.
      show: (step, {name: value}) -> None, on the terminal.
      stop: step -> whether the run is to end after this step.
      ledger: counts where the time goes.
      profile: traces the steps that it was asked for.
      flops: operations of one step over all devices, with recomputation.
      peak: operations per second that all devices are capable of, 0 where that is not known.
      tile_names: host batch -> names of the tiles of that step on every host. All hosts call it at the same step.
    """

    step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
    batches: Iterator[tuple[Batch, Batch]]
    validate: Callable[[PyTree, int], Mapping[str, float]] | None
    rank: Callable[[Mapping[str, float]], float]
    save: Callable[[int, TrainState, float | None], None]
    write: Callable[[int, dict[str, float]], None]
    show: Callable[[int, dict[str, float]], None]
    stop: Callable[[int], bool]
    ledger: Ledger
    profile: Profile
    flops: float
    peak: float
    tile_names: Callable[[Batch], list[str]]


def run_loop(state: TrainState, first: int, config: schema.StageConfig, budget: int, hooks: LoopHooks) -> TrainState:
    """Trains from step `first` to the last step of the stage.

    The metrics of a step are read while the next one runs, so the host never delays the device.

    Args:
      state: as of `first`; its buffers are donated.
      first: steps already taken.
      config: of the stage: how many steps, and how often what is done.
      budget: steps with a non-finite loss or gradient that are tolerated over the stage.
      hooks: what the loop calls.

    Raises:
      NonFiniteError: the budget is spent, or nothing was learned at all; names the steps and their tiles.
      Preempted: the run was asked to end; the step is saved.
    """
    watch = _Watch(config, budget, hooks, first, int(jax.device_get(state.skipped)))
    validate, pending = hooks.validate, None
    for step in range(first + 1, config.steps + 1):
        hooks.profile.at(step)
        host, batch = hooks.ledger.next_batch(hooks.batches, pending and pending[2])
        # A transfer between host and device here would delay both, so it is an error.
        with jax.transfer_guard("disallow"), jax.profiler.StepTraceAnnotation("train", step_num=step):
            state, metrics = hooks.step(state, batch)
        if pending:
            watch.finish(*pending)
        pending = (step, host, metrics)
        last = step == config.steps
        value = None
        if (config.eval_every and step % config.eval_every == 0) or last:
            watch.finish(step, host, metrics)
            pending = None
            if validate:
                with hooks.ledger.during("evaluation"), watch.elsewhere():
                    scores = validate(state.evaluated, step)
                hooks.write(step, {f"validation_{key}": number for key, number in scores.items()})
                value = hooks.rank(scores)
        stop = not last and hooks.stop(step)
        if value is not None or step % config.save_every == 0 or last or stop:
            if pending:
                watch.finish(*pending)
                pending = None
            with hooks.ledger.during("save"), watch.elsewhere():
                hooks.save(step, state, value)
        if stop:
            raise Preempted(f"ended by SIGTERM after step {step} of {config.steps}, which is saved; the same command goes on from there")
    check_trained(state, config.steps, watch.bad)
    return state


class _Watch:
    """Reads finished steps: logs them, measures speed, and keeps the budget of non-finite steps."""

    def __init__(self, config: schema.StageConfig, budget: int, hooks: LoopHooks, first: int, skipped: int):
        self._config, self._budget, self._hooks, self._skipped = config, budget, hooks, skipped
        self.bad: list[str] = []
        self._mark = first  # step at which the clock was read
        self._clock = time.perf_counter()

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Stops the clock in the body: time spent elsewhere, with no step running, is not training time."""
        start = time.perf_counter()
        yield
        self._clock += time.perf_counter() - start

    def finish(self, step: int, host: Batch, metrics: dict[str, jax.Array]) -> None:
        """Reads the metrics of a step, which waits until it is done."""
        values = {key: float(value) for key, value in jax.device_get(metrics).items()}
        if not values.pop("finite"):
            self._count(step, host)
        values["skipped"] = float(self._skipped)
        if step % self._config.log_every and step != self._config.steps:
            return
        now = time.perf_counter()
        if step > self._mark:
            speed = (step - self._mark) / (now - self._clock)
            values["examples_per_second"] = speed * self._config.batch_size
            values["teraflops"] = speed * self._hooks.flops / 1e12
            if self._hooks.peak:  # of the hardware (HFU), as what is recomputed counts; the utilization by the model alone (MFU) is lower
                values["hfu"] = speed * self._hooks.flops / self._hooks.peak
        self._mark, self._clock = step, now
        self._hooks.write(step, values)
        self._hooks.show(step, values)

    def _count(self, step, host):
        self._skipped += 1
        self.bad.append(f"step {step}: tiles {', '.join(self._hooks.tile_names(host))}")
        self._hooks.write(step, {"nonfinite_step": 1.0})
        if self._skipped > self._budget:
            raise NonFiniteError(
                f"{number_of(self._skipped, 'step')} had a loss or gradient that was not finite, more than nonfinite_budget = {self._budget}. "
                f"Look at these tiles, or lower the learning rate:\n" + "\n".join(self.bad[-20:])
            )
