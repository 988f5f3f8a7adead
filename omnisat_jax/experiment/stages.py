"""The stages of one run: who trains, evaluates and keeps what, put together from the context."""

import contextlib
import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Iterator, Sequence

from omnisat_jax.errors import DataError
from omnisat_jax.experiment.context import RunContext, RunOptions
from omnisat_jax.files import atomic, working_copy
from omnisat_jax.files.json_file import read_json
from omnisat_jax.metrics.calibration import Temperature
from omnisat_jax.parallel import hosts
from omnisat_jax.report import representation
from omnisat_jax.tasks.base import LabelInfo, Task
from omnisat_jax.tasks.build import make_task
from omnisat_jax.tasks.probe import TokenReader
from omnisat_jax.train import seen_tiles
from omnisat_jax.train.batches import RunBatches
from omnisat_jax.train.compile_time import compile_times
from omnisat_jax.train.evaluator import Evaluator, Validation, Watch
from omnisat_jax.train.identity import Change
from omnisat_jax.train.monitor import KnnMonitor, ProbeFitter
from omnisat_jax.train.provenance import Start
from omnisat_jax.train.stage import Reporting, StageTraining
from omnisat_jax.train.stage_store import LostStepError, StageStore, Trained
from omnisat_jax.train.trainer import Trainer
from omnisat_jax.types import Batch, PyTree, Statistics

log = logging.getLogger(__name__)


class Stages:
    """The stages of one run.

    Attributes:
      context: what they share.
      batches: of the run.
      evaluator: compiles evaluations.
    """

    def __init__(self, context: RunContext, options: RunOptions, flat: dict, changes: Sequence[Change]):
        """Compares the run with what its folder was started on.

        Args:
          context: what the stages share.
          options: how the run was started.
          flat: {dotted key: value} of the whole configuration.
          changes: what `workdir.claim` returned.

        Raises:
          WorkdirError: the folder was started on other data, and that is not accepted.
        """
        self.context, self._options, self._trainers = context, options, {}
        self.batches = RunBatches(
            records=context.records,
            additional=context.additional,
            split=context.split,
            input_spec=context.input_spec,
            mesh=context.mesh,
            config=context.config.data,
            eval_batch_size=context.config.eval.batch_size,
            seed=context.config.seed,
        )
        self.evaluator = Evaluator(self.batches, context.names)
        with hosts.leader_first("describe"):
            self._start = Start(
                context.folder,
                flat=flat,
                data=_data(context),
                computing={"mesh": dict(context.mesh.shape), "precision": context.precision},
                accept_new_data=options.accept_new_data,
                changes=changes,
            )
        if self._start.new and hosts.is_leader():
            keep_statistics(context.folder, context.statistics)

    def begin(self) -> None:
        """Records this start of the run. Must be called before anything of the run is written; only the first call does something."""
        for text in self._start.begin():
            self._options.console.print(text, style="yellow", markup=False, highlight=False)
        if hosts.is_leader():
            keep_statistics(self.context.folder, self.context.statistics)

    def note_temperature(self, fitted: Temperature) -> None:
        """Records the temperature that was fitted to the validation tiles."""
        self._start.note("calibration", {"temperature": fitted.value, "remark": fitted.remark})

    def train(self, stage: str) -> None:
        """Trains "pretrain" or "finetune", continues where it stopped, or leaves it alone if it is finished."""
        console, store = self._options.console, self._store(stage)
        if store.is_finished():
            console.print(f"{stage}: finished before, not repeated")
            return
        self.begin()
        config = self.context.config
        trainer = self.trainer(stage)
        if stage == "pretrain" and hosts.is_leader():
            seen_tiles.keep(self.context.folder, _seen(self.context))
        training = StageTraining(
            trainer=trainer,
            store=store,
            batches=self.batches,
            examples=self._examples(stage),
            budget=config.nonfinite_budget,
            make_validation=functools.partial(self._validation, stage, trainer.task),
            pretrained=(lambda: self.trained("pretrain").params) if stage == "finetune" and config.pretrain.steps else None,
            reporting=Reporting(self.context.folder, console, self._start, self._options.profile),
        )
        with self.recorded_compiling(stage):
            training.run()

    @contextlib.contextmanager
    def recorded_compiling(self, stage: str) -> Iterator[None]:
        """Records in run.json what the programs of the body, a stage or "evaluate", cost before they ran."""
        with compile_times() as times:
            yield
        self._start.note_compiling(stage, times)

    def trained(self, stage: str) -> Trained:
        """What a finished stage hands on. A stage whose last checkpoint is lost is trained again from an older one.

        Raises:
          UserError: the stage is not finished, or what it hands on cannot be read and not be made again.
        """
        store, abstract_state = self._store(stage), self.trainer(stage).abstract_state
        try:
            return store.load(abstract_state)
        except LostStepError as lost:
            if not lost.recoverable:
                raise
            self._options.console.print(str(lost), style="yellow", markup=False, highlight=False)
            store.reopen()
            self.train(stage)
            return store.load(abstract_state)

    def trainer(self, stage: str) -> Trainer:
        """The trainer of a stage, made once: it keeps the shapes that it has traced."""
        if stage not in self._trainers:
            config, spec = self.context.config, self.context.input_spec
            sample = (spec.pretrain if stage == "pretrain" else spec.train).abstract(1)
            rate = config.finetune.encoder_rate if stage == "finetune" else 1.0
            rates = {} if rate == 1 else dict.fromkeys(self.trainer("pretrain").abstract_state.params, rate)
            made = Trainer(self._task(stage), getattr(config, stage), sample, self.context.mesh, config.mesh.fsdp_min_size, rates)
            self._trainers[stage] = made
        return self._trainers[stage]

    def _task(self, stage: str) -> Task:
        context = self.context
        labels = LabelInfo(context.input_spec.classes, context.records.ignore, context.records.unscored)
        return make_task(stage, context.config, context.model, context.statistics, labels, context.mesh)

    def _examples(self, stage: str) -> Callable[[int, int], Iterator[tuple[Batch, Batch]]]:
        """(tiles per step, steps already taken) -> the batches of a stage."""
        if stage == "pretrain":
            return self.batches.pretraining
        share = self.context.config.data.label_share
        return lambda batch_size, first_step: self.batches.finetuning(batch_size, share, first_step)

    def _store(self, stage: str) -> StageStore:
        context, config = self.context, getattr(self.context.config, stage)
        taken = stage == "pretrain" and context.config.pretrain_from
        folder = working_copy.folder_of(context.config.pretrain_from) if taken else context.folder
        made_from = {
            "fingerprint": context.records.fingerprint,
            "train": list(context.split.train),
            "seed": context.config.seed,
            "batch_size": config.batch_size,
        }
        if stage == "pretrain" and context.additional:
            made_from["additional"] = [records.fingerprint for records in context.additional]
            made_from["weights"] = list(context.config.data.pretrain_weights)
        return StageStore(
            folder=folder,
            stage=stage,
            config=config,
            meta={
                "data": made_from,
                "statistics": context.statistics,
                "modalities": list(context.names),
                "bands": {name: list(bands) for name in context.names if (bands := context.records.info.modalities[name].bands)},
                "classes": list(context.input_spec.classes),
            },
            # Pre-training is judged by its last step. Without validation tiles nothing can choose among checkpoints.
            by_validation=stage == "finetune" and bool(context.split.validation),
            own=folder == context.folder,
            accept_new_data=self._options.accept_new_data,
        )

    def _validation(self, stage: str, task: Task, abstract_params: PyTree) -> Validation | None:
        """Compiles the validation of a stage; None where no labeled tile validates."""
        context, console = self.context, self._options.console
        if not context.records.labelled_tiles(context.split.validation):
            return None
        compiled = self.evaluator.compile(task, abstract_params, [context.names])
        monitor = None
        if stage == "pretrain" and context.config.eval.monitor_tiles:
            read = self.evaluator.compile(TokenReader(context.model, context.statistics), abstract_params, [context.names])
            fitter = ProbeFitter(self.batches, context.config.eval, dense=context.config.task == "segment")
            monitor = KnnMonitor(read, fitter, self._token_pictures)
            if not monitor.labelled:
                console.print("[yellow]pre-training is not monitored: none of its eval.monitor_tiles tiles has a label")
        return Validation(
            compiled, self.batches, task.scores, monitor, warn=lambda text: console.print(f"{stage}: {text}", style="yellow")
        )

    @contextlib.contextmanager
    def _token_pictures(self, step: int) -> Iterator[Watch | None]:
        """Draws the tokens that the evaluation of the body reads, into <folder>/pretrain."""
        if not hosts.is_leader():
            yield None
            return
        records = self.context.records
        shown = representation.Collector(records.tile_ids)
        yield lambda host, result: shown(result)
        kind = "simulated" if records.info.simulated else "real"
        title = f"{self.context.config.name}, {kind} data, step {step} of pre-training"
        shown.save(self.context.folder / "pretrain", self.context.input_spec.classes, records.colours, title)


def _data(context: RunContext) -> dict:
    """What the run records about its data."""
    data = context.records.info.provenance() | dataclasses.asdict(context.split)
    if context.additional:
        sources = ", ".join(str(records.root) for records in context.additional)
        data |= {"fingerprint": context.fingerprint, "source": f"{data['source']}, and for pre-training {sources}"}
        data["additional"] = [records.info.provenance() | {"folder": str(records.root)} for records in context.additional]
    return data


def _seen(context: RunContext) -> list[seen_tiles.TileSet]:
    """The tiles that pre-training reads."""
    spec = context.input_spec
    main = seen_tiles.TileSet.of(context.records, context.split.train, spec.side)
    others = zip(context.additional, spec.additional_grids, strict=True)
    return [main, *(seen_tiles.TileSet.of(records, records.parts, grid * spec.ground) for records, grid in others)]


def keep_statistics(folder: pathlib.Path, statistics: Statistics) -> None:
    """Writes statistics.json unless it holds these statistics already; warns where it held something else."""
    path = folder / "statistics.json"
    if path.exists():
        try:
            if read_json(path, what="the statistics of the training tiles").value == statistics:
                return
            log.warning("%s: not the statistics of the training tiles of these data; written again from the records", path)
        except DataError as error:
            log.warning("%s It is written again from the records.", error)
    atomic.write_json(path, statistics)
