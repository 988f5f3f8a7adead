"""One run's data, model, mesh and checkpoints, built from its configuration; what every stage starts from."""

import dataclasses
import functools
import logging
import pathlib

import jax
import numpy as np
from rich.console import Console

from omnisat_jax.config import schema
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files import atomic
from omnisat_jax.files.json_file import read_json
from omnisat_jax.input import pipeline
from omnisat_jax.input.spec import InputSpec, agree
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.registry import make_model
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.parallel import hosts, rules
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split, check_labels, choose_split
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.build import make_task
from omnisat_jax.train import workdir
from omnisat_jax.train.checkpoints import BrokenStepError, Checkpoints, abstract_like, read_step, set_aside, steps_in
from omnisat_jax.train.provenance import Start
from omnisat_jax.train.step import create_state

log = logging.getLogger(__name__)


class LostStepError(UserError):
    """The checkpoint that a finished stage stands for cannot be read.

    Attributes:
      again: whether training again from an older checkpoint of this run gives it again.
    """

    def __init__(self, message, again):
        super().__init__(message)
        self.again = again


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a finished stage hands on.

    Attributes:
      step: that the parameters are of.
      params: nested dict of arrays.
      checksum: of the checkpoint; None of one from before they had any.
      best: whether validation chose it; else it is the last one.
    """

    step: int
    params: dict
    checksum: str | None
    best: bool


@dataclasses.dataclass(frozen=True)
class RunContext:
    """Everything the stages share."""

    config: schema.ExperimentConfig
    folder: pathlib.Path
    console: Console
    records: Records
    split: Split
    input_spec: InputSpec
    mesh: jax.sharding.Mesh
    dtype: np.dtype
    statistics: dict
    accept_new_data: bool
    profile: tuple[int, int] | None
    start: Start

    def begin(self) -> None:
        """To be called before anything of the run is written: records this start, once, and what it stands on."""
        for text in self.start.begin():
            self.console.print(text, style="yellow", markup=False, highlight=False)
        if hosts.is_leader():
            _keep_statistics(self.folder, self.statistics)

    @property
    def names(self):
        """Modalities in model order."""
        return tuple(spec.name for spec in self.input_spec.specs)

    @functools.cached_property
    def model(self) -> MultimodalModel:
        """The whole model."""
        return make_model(self.input_spec.specs, self.config, len(self.input_spec.classes), self.input_spec.label_patch, self.dtype)

    def task(self, stage):
        """The task of "pretrain" or "finetune"."""
        labels = LabelInfo(self.input_spec.classes, self.records.ignore, self.records.unscored)
        return make_task(stage, self.config, self.model, self.statistics, labels, self.mesh)

    @functools.cached_property
    def void_parcels(self) -> np.ndarray | None:
        """Parcels whose pixels are void in training: those of the test tiles, where the configuration asks for it."""
        return self.records.parcels(self.split.test) if self.config.data.void_test_parcels else None

    def make_batch(self, training: bool, void_parcels=None) -> MakeBatch:
        """The transform from stored tiles to batch elements."""
        return MakeBatch(
            layout=self.input_spec.train if training else self.input_spec.evaluation,
            grid=self.input_spec.grid,
            crop=self.input_spec.crop if training else self.input_spec.grid,
            origin=self.config.data.origin,
            random=training,
            augment=self.config.data.augment == "d4",
            ignore=self.records.ignore,
            background=self.records.background,
            void_parcels=void_parcels,
        )

    def evaluation_batches(self, parts, void_parcels=None, share=1.0):
        """Host batches of every tile of a share of `parts` once, this process's rows; pixels of `void_parcels` do not count."""
        return pipeline.evaluation(
            self.records.source(parts, share, self.config.seed),
            self.make_batch(training=False, void_parcels=void_parcels),
            batch_size=self.config.eval.batch_size,
            rows=meshes.local_rows(self.mesh, self.config.eval.batch_size),
        )

    def tiles_of(self, host) -> list[str]:
        """Names of the tiles of a batch, of which every host has a part; all hosts must ask."""
        mine = sorted({self.records.tile_ids[index] for index in host["tile_index"][host["weight"] > 0]})
        return sorted({name for part in hosts.exchange("tiles of a step", {"tiles": mine}) for name in part["tiles"]})

    def compile_evaluation(self, task, abstract_params, count):
        """Compiled `task.evaluate` for `count` subsets; results on every host."""
        batch = self.input_spec.evaluation.abstract(self.config.eval.batch_size, meshes.batch_sharding(self.mesh))
        masks = jax.ShapeDtypeStruct((count, len(self.names)), bool, sharding=meshes.replicated(self.mesh))
        step = jax.jit(task.evaluate, out_shardings=meshes.replicated(self.mesh))
        return step.lower(abstract_params, batch, masks).compile()

    def masks(self, subsets):
        """(S,M) bool on the devices: which modalities each subset has."""
        masks = np.array([[name in subset for name in self.names] for subset in subsets])
        return jax.device_put(masks, meshes.replicated(self.mesh))

    def place(self, tree):
        """Shardings of a tree of parameters or a whole state, by the rules of the mesh."""
        return rules.shardings(tree, self.mesh, self.config.mesh.fsdp_min_size)

    def _made_from(self, stage) -> dict:
        """What a checkpoint of a stage must agree with to be continued."""
        return {
            "fingerprint": self.records.fingerprint,
            "train": list(self.split.train),
            "seed": self.config.seed,
            "batch_size": getattr(self.config, stage).batch_size,
        }

    def checkpoints(self, stage) -> Checkpoints:
        """The checkpoints of a stage that is trained, to be closed; each knows what it must agree with to be continued, and what it needs to be used."""
        meta = {
            "data": self._made_from(stage),
            "statistics": self.statistics,
            "modalities": list(self.names),
            "classes": list(self.input_spec.classes),
        }
        keep = getattr(self.config, stage).keep
        return Checkpoints(self.folder / stage / "checkpoints", keep=keep, meta=meta, accept_new_data=self.accept_new_data)

    def folder_of(self, stage) -> pathlib.Path:
        """The folder of the run that a stage belongs to: this one's, or that of `pretrain_from`."""
        taken = stage == "pretrain" and self.config.pretrain_from
        return pathlib.Path(self.config.pretrain_from) if taken else self.folder

    def finish(self, stage, checkpoints: Checkpoints) -> None:
        """Marks a stage finished, by the step that it stands for: the last one of pre-training, the best one of fine-tuning.

        Without validation tiles nothing may choose among checkpoints: the last one is taken.
        """
        last = getattr(self.config, stage).steps
        best = checkpoints.best()
        used = best if stage == "finetune" and self.split.validation and best is not None else last
        facts = {"steps": last, "step": used, "best": best, "last": last}
        if hosts.is_leader():
            facts["checksum"] = checkpoints.checksum(used)
        workdir.mark_done(self.folder, stage, facts)

    def trained(self, stage) -> Trained:
        """What a finished stage hands on: the step that its mark names and no other.

        Raises:
          UserError: the stage is not finished, or its mark is damaged.
          LostStepError: that step cannot be read. In this run's own folder it is set aside.
        """
        settings, task = getattr(self.config, stage), self.task(stage)
        folder = self.folder_of(stage)
        about = workdir.finished(folder, stage)
        if about is None:
            raise UserError(f"{folder}: {stage} has not finished; run --stage={stage} there first")
        last, best = about.get("last").integer(0, 2**53), about.find("best").value
        chosen = stage == "finetune" and bool(self.split.validation) and best is not None
        # Marks of earlier versions name no step, and a best one also where nothing was ranked.
        step = about.find("step", best if chosen else last).integer(0, 2**53)
        checksum = about.find("checksum").value
        place = folder.resolve() / stage / "checkpoints"
        sample = self.input_spec.train.abstract(1)
        optimizer = make_optimizer(settings)
        shapes = jax.eval_shape(lambda key, batch: create_state(task, optimizer, key, batch), jax.random.key(0), sample)
        own = folder == self.folder
        try:
            # Taking the pre-training of another run says that its data may be others.
            state, checksum = read_step(
                place / str(step),
                abstract_like(shapes, self.place(shapes)),
                data=self._made_from(stage),
                accept_new_data=self.accept_new_data or not own,
                checksum=checksum,
            )
        except BrokenStepError as error:
            if own:
                with hosts.leader_first("set a broken checkpoint aside"):
                    set_aside(error)
            older = hosts.exchange("older checkpoints", {"steps": [s for s in steps_in(place) if s < step]})[0]["steps"]
            raise self._lost(stage, place, step, error, again=own and step == last and bool(older)) from error
        return Trained(step, state.params, checksum, chosen and step == best)

    def _lost(self, stage, place, step, error, again):
        """What to say of a step that cannot be read."""
        what = f"{place}: expected step {step}, for which {stage} counts as finished, found none that can be read ({error.why})"
        mark = self.folder / stage / "done.json"
        if again:
            return LostStepError(f"{what}; {stage} is trained again from an older checkpoint", True)
        if place.is_relative_to(self.folder.resolve()):
            return LostStepError(
                f"{what}, and no older one from which it can be trained again alike. Restore it, or move {mark.parent} away: "
                f"the same command then trains {stage} again from its start",
                False,
            )
        return LostStepError(f"{what}. Restore it, or train {stage} there again", False)


def _mesh_for(config, console):
    """A mesh that all batches can be cut over."""
    sizes = {
        f"{stage}.batch_size": (getattr(config, stage).batch_size, getattr(config, stage).num_microbatches)
        for stage in ("pretrain", "finetune")
    }
    sizes["eval.batch_size"] = (config.eval.batch_size, 1)
    devices = meshes.usable_devices(config.mesh, {name: size // parts for name, (size, parts) in sizes.items()})
    mesh = meshes.make_mesh(config.mesh, devices)
    for name, (size, parts) in sizes.items():
        meshes.check_batch_size(name, size, mesh, parts)
    if mesh.size < jax.device_count():
        found = ", ".join(f"{name} {size}" for name, (size, _) in sizes.items())
        console.print(
            f"{mesh.size} of {jax.device_count()} devices are used: batches must be multiples of their number, found {found}",
            style="yellow",
            highlight=False,
        )
    return mesh


def make_run_context(
    config: schema.ExperimentConfig, folder: pathlib.Path, console: Console, records: Records, accept_new_data: bool, profile, changes=()
) -> RunContext:
    """Chooses the split and matches configuration and data with each other and with what the folder was started on.

    Args:
      changes: what `workdir.claim` returned.

    Raises:
      ConfigError, ValueError: what does not fit, with a message for the user.
    """
    split = choose_split(config.data.protocol, records.parts, config.data.fold)
    check_labels(records, split, config)
    mesh = _mesh_for(config, console)
    input_spec = agree(config, records)
    precision = config.model.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    about = {key: records.about[key] for key in ("dataset", "fingerprint", "source", "simulated", "citation", "made_with")}
    with hosts.leader_first("describe"):
        start = Start(
            folder,
            flat=schema.flatten(config),
            data=about | dataclasses.asdict(split),
            mesh=mesh,
            precision=precision,
            accept_new_data=accept_new_data,
            changes=changes,
        )
    every = records.statistics(split.train, clear=config.data.statistics == "clear")
    statistics = {name: every[name] for name in (spec.name for spec in input_spec.specs)}
    if start.new and hosts.is_leader():
        _keep_statistics(folder, statistics)
    dtype = np.dtype(jax.numpy.dtype(precision))
    return RunContext(config, folder, console, records, split, input_spec, mesh, dtype, statistics, accept_new_data, profile, start)


def _keep_statistics(folder, statistics):
    """Writes statistics.json if it is not there as it should be; says so where it was something else."""
    path = folder / "statistics.json"
    if path.exists():
        try:
            if read_json(path, what="the statistics of the training tiles").value == statistics:
                return
            log.warning("%s: not the statistics of the training tiles of these data; written again from the records", path)
        except DataError as error:
            log.warning("%s It is written again from the records.", error)
    atomic.write_json(path, statistics)
