"""Trains one stage of a run from its newest checkpoint, or from its start, to its last step."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Callable, Iterator
from concurrent import futures

import jax
from clu import parameter_overview
from rich.console import Console

from omnisat_jax.errors import UserError
from omnisat_jax.parallel import hosts, rules
from omnisat_jax.parallel.chips import peak_flops
from omnisat_jax.parallel.compilation import collecting_rarely
from omnisat_jax.train import progress as display
from omnisat_jax.train.batches import RunBatches
from omnisat_jax.train.checkpoints import Checkpoints
from omnisat_jax.train.evaluator import Validation
from omnisat_jax.train.loop import LoopHooks, run_loop
from omnisat_jax.train.provenance import Start
from omnisat_jax.train.stage_store import StageStore
from omnisat_jax.train.step import TrainState
from omnisat_jax.train.timing import Ledger, Profile
from omnisat_jax.train.trainer import CompiledStep, Trainer
from omnisat_jax.train.warmstart import need_trained, warm_start
from omnisat_jax.train.writers import MetricsWriter
from omnisat_jax.types import Batch, Params, PyTree
from omnisat_jax.words import number_of

# The random draws of a stage depend on its number, so it must never change.
STAGE_NUMBERS = {"pretrain": 1, "finetune": 2}
WAITING = 0.05  # share of the time of a stage spent waiting for data above which the user is warned
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Reporting:
    """Where a stage reports.

    Attributes:
      folder: of the run.
      console: of the user.
      start: the record of this start of the run.
      profile: (start, stop) steps to trace, or None.
    """

    folder: pathlib.Path
    console: Console
    start: Start
    profile: tuple[int, int] | None


@dataclasses.dataclass(frozen=True, eq=False)
class StageTraining:
    """One stage, ready to be trained.

    Attributes:
      trainer: state and step.
      store: checkpoints.
      batches: of the run.
      examples: (tiles per step, steps already taken) -> endless (host batch, device batch) of this stage.
      budget: steps with a non-finite loss or gradient that are tolerated.
      make_validation: compiles the validation for abstract parameters; None where no tile validates.
      pretrained: reads the parameters that the first state takes over, or None.
      reporting: where the stage reports.
    """

    trainer: Trainer
    store: StageStore
    batches: RunBatches
    examples: Callable[[int, int], Iterator[tuple[Batch, Batch]]]
    budget: int
    make_validation: Callable[[PyTree], Validation | None]
    pretrained: Callable[[], Params] | None
    reporting: Reporting

    def run(self) -> None:
        """Trains to the last step and marks the stage finished.

        Raises:
          Preempted: the run was asked to end; the same command continues it.
          UserError: with a message for the user.
        """
        name, ledger, start = self.store.stage, Ledger(), self.reporting.start
        root = self.trainer.root_key(self.batches.seed, STAGE_NUMBERS[name])
        with ledger.during("start"), collecting_rarely():
            abstract = self.trainer.abstract_state
        checkpoints = self.store.open()
        try:
            with ledger.during("restore"):
                first, state = checkpoints.restore_newest(abstract)
            # XLA compiles a program on little more than one core, so the step is compiled beside the initial state and the validation.
            with collecting_rarely(), futures.ThreadPoolExecutor(1) as beside:
                step = beside.submit(self.trainer.compile_step)
                if state is None:
                    state = self._initial_state(root, ledger)
                else:
                    self.reporting.console.print(f"{name}: goes on after step {first}")
                with self.reporting.console.status("compiling", spinner="dots"), ledger.during("compile"):
                    validation = self.make_validation(abstract.params)
                    compiled = step.result()
            with self._hooks(compiled, validation, root, first, checkpoints, ledger) as hooks:
                run_loop(state, first, self.trainer.config, self.budget, hooks)
            with ledger.during("save"):
                checkpoints.wait()
            self.store.finish(checkpoints)
        except BaseException:
            with contextlib.suppress(UserError):  # the first failure is the one to report
                checkpoints.close()
            with contextlib.suppress(UserError):
                start.note_time(name, ledger.summary())
            raise
        checkpoints.close()
        start.note_time(name, ledger.summary())
        self._report_time(ledger)
        hosts.wait(f"{name} is done")

    def _initial_state(self, root: jax.Array, ledger: Ledger) -> TrainState:
        """The state before the first step, with the parameters of pre-training if there are any."""
        name, console = self.store.stage, self.reporting.console
        with ledger.during("start"):
            state = self.trainer.init(root)
        if self.pretrained:
            with ledger.during("restore"):
                params, report = warm_start(state.params, self.pretrained())
            need_trained(report, self.trainer.rates)
            console.print(f"from pre-training: {report}", highlight=False)
            state = dataclasses.replace(state, params=params)
        log.debug("%s, how everything is sharded:\n%s", name, rules.describe(self.trainer.abstract_state))
        log.debug("%s parameters:\n%s", name, parameter_overview.get_parameter_overview(state.params))
        count = sum(x.size for x in jax.tree.leaves(state.params))
        console.print(f"{name}: {number_of(count, 'parameter')}, {number_of(self.trainer.config.steps, 'step')} of {number_of(self.trainer.config.batch_size, 'tile')}")
        return state

    @contextlib.contextmanager
    def _hooks(self, compiled: CompiledStep, validation, root, first: int, checkpoints: Checkpoints, ledger: Ledger):
        """Yields the LoopHooks; closes afterwards what they write to."""
        name, config, task, where = self.store.stage, self.trainer.config, self.trainer.task, self.reporting
        batches = self.examples(config.batch_size, first)
        writer = MetricsWriter(where.folder, name, after_step=first)
        profile = Profile(where.folder / "profile" / name, where.profile)

        def save(step: int, state: TrainState, value: float | None) -> None:
            writer.sync()
            checkpoints.save(step, state, value)

        with display.progress(where.console, name, config.steps, first) as show, hosts.preemption() as stop:
            try:
                yield LoopHooks(
                    step=lambda state, batch: compiled.program(state, batch, root, self.trainer.statistics),
                    batches=batches,
                    validate=validation,
                    rank=lambda scores: scores[task.best] if task.higher else -scores[task.best],
                    save=save,
                    write=writer.write,
                    show=show,
                    stop=stop,
                    ledger=ledger,
                    profile=profile,
                    flops=compiled.flops,
                    peak=peak_flops(self.trainer.mesh),
                    tile_names=self.batches.tile_names,
                )
            finally:
                profile.close()
                writer.close()

    def _report_time(self, ledger: Ledger) -> None:
        """Prints where the time went, and what to do about a device that waited for data."""
        name, console, summary = self.store.stage, self.reporting.console, ledger.summary()
        total = summary.pop("total")
        causes = sorted(summary.items(), key=lambda item: -item[1])
        text = ", ".join(f"{cause} {seconds:.0f}" for cause, seconds in causes if seconds >= 0.5)
        console.print(f"{name}: {total:.0f} s ({text})", highlight=False)
        if ledger.waiting() > WAITING:
            console.print(
                f"{name}: the device waited for data {100 * ledger.waiting():.0f} % of the time; more data.threads, a larger "
                "data.buffer or a faster disk under data.cache_dir may help",
                style="yellow",
            )
