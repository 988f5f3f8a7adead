"""One run's data, model, mesh and checkpoints, built from its configuration; what every stage starts from."""

import dataclasses
import functools
import pathlib

import jax
import numpy as np
from rich.console import Console

from omnisat_jax import schema
from omnisat_jax.errors import UserError
from omnisat_jax.input import pipeline
from omnisat_jax.input.layouts import Agreement, agree
from omnisat_jax.input.records import Records, Split, choose_split
from omnisat_jax.input.transforms import Assemble
from omnisat_jax.models.assembly import Assembly
from omnisat_jax.models.build import make_model
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.parallel import hosts, rules
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.tasks.build import make_task
from omnisat_jax.train import workdir
from omnisat_jax.train.checkpoint import Checkpoints, abstract_like
from omnisat_jax.train.step import create_state


@dataclasses.dataclass(frozen=True)
class Setting:
    """Everything the stages share."""

    config: schema.Experiment
    folder: pathlib.Path
    console: Console
    records: Records
    split: Split
    agreement: Agreement
    mesh: jax.sharding.Mesh
    dtype: np.dtype
    statistics: dict
    accept_new_data: bool
    profile: tuple[int, int] | None

    @property
    def names(self):
        """Modalities in model order."""
        return tuple(spec.name for spec in self.agreement.specs)

    @functools.cached_property
    def model(self) -> Assembly:
        """The whole model."""
        return make_model(self.agreement.specs, self.config, len(self.agreement.classes), self.agreement.label_patch, self.dtype)

    def task(self, stage):
        """The task of "pretrain" or "finetune"."""
        about = {
            "classes": self.agreement.classes,
            "ignore": self.records.ignore,
            "unscored": self.records.unscored,
            "mesh": self.mesh,
        }
        return make_task(stage, self.config, self.model, self.statistics, **about)

    @functools.cached_property
    def void_parcels(self) -> np.ndarray | None:
        """Parcels whose pixels are void in training: those of the test tiles, where the configuration asks for it."""
        return self.records.parcels(self.split.test) if self.config.data.void_test_parcels else None

    def assemble(self, training: bool, void_parcels=None) -> Assemble:
        """The transform from stored tiles to batch elements."""
        return Assemble(
            layout=self.agreement.train if training else self.agreement.evaluation,
            grid=self.agreement.grid,
            crop=self.agreement.crop if training else self.agreement.grid,
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
            self.assemble(training=False, void_parcels=void_parcels),
            batch_size=self.config.eval.batch_size,
            rows=meshes.local_rows(self.mesh, self.config.eval.batch_size),
        )

    def tiles_of(self, host) -> list[str]:
        """Names of the tiles of a batch, of which every host has a part; all hosts must ask."""
        mine = sorted({self.records.tile_ids[index] for index in host["tile_index"][host["weight"] > 0]})
        return sorted({name for part in hosts.exchange("tiles of a step", {"tiles": mine}) for name in part["tiles"]})

    def compile_evaluation(self, task, abstract_params, count):
        """Compiled `task.evaluate` for `count` subsets; results on every host."""
        batch = self.agreement.evaluation.abstract(self.config.eval.batch_size, meshes.batch_sharding(self.mesh))
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

    def checkpoints(self, stage) -> Checkpoints:
        """The checkpoints of a stage, to be closed; each knows what it must agree with to be continued, and what it needs to be used."""
        settings = getattr(self.config, stage)
        data = {
            "fingerprint": self.records.fingerprint,
            "train": list(self.split.train),
            "seed": self.config.seed,
            "batch_size": settings.batch_size,
        }
        meta = {
            "data": data,
            "statistics": self.statistics,
            "modalities": list(self.names),
            "classes": list(self.agreement.classes),
        }
        folder = self.folder_of(stage)
        # Taking the pre-training of another run says that its data may be others.
        accept = self.accept_new_data or folder != self.folder
        return Checkpoints(folder / stage / "checkpoints", keep=settings.keep, meta=meta, accept_new_data=accept)

    def folder_of(self, stage) -> pathlib.Path:
        """The folder of the run that a stage belongs to: this one's, or that of `pretrain_from`."""
        taken = stage == "pretrain" and self.config.pretrain_from
        return pathlib.Path(self.config.pretrain_from) if taken else self.folder

    def trained(self, stage):
        """(step, parameters) of a finished stage: the last ones of pre-training, the best ones of fine-tuning.

        Raises:
          UserError: the stage is not finished.
        """
        settings, task = getattr(self.config, stage), self.task(stage)
        folder = self.folder_of(stage)
        if not workdir.is_done(folder, stage):
            raise UserError(f"{folder}: {stage} has not finished; run --stage={stage} there first")
        sample = self.agreement.train.abstract(1)
        optimizer = make_optimizer(settings)
        shapes = jax.eval_shape(lambda key, batch: create_state(task, optimizer, key, batch), jax.random.key(0), sample)
        checkpoints = self.checkpoints(stage)
        try:
            # Without validation tiles nothing may choose among checkpoints: the last one is taken.
            best = stage == "finetune" and self.split.validation
            step = checkpoints.best() if best else checkpoints.latest()
            return step, checkpoints.restore(step, abstract_like(shapes, self.place(shapes))).params
        finally:
            checkpoints.close()


def _mesh_for(config, console):
    """A mesh that all batches can be cut over."""
    sizes = {
        f"{stage}.batch_size": (getattr(config, stage).batch_size, getattr(config, stage).parts)
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


def set_up(
    config: schema.Experiment, folder: pathlib.Path, console: Console, records: Records, accept_new_data: bool, profile
) -> Setting:
    """Chooses the split, matches configuration and data, and writes what the run stands on to its folder.

    Raises:
      ConfigError, ValueError: what does not fit, with a message for the user.
    """
    split = choose_split(config.data.protocol, records.parts, config.data.fold)
    if not records.tiles(split.test):
        raise UserError(f"the test parts {', '.join(split.test)} hold no tile")
    mesh = _mesh_for(config, console)
    agreement = agree(config, records)
    precision = config.model.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    about = {key: records.about[key] for key in ("dataset", "fingerprint", "source", "simulated", "citation")}
    with hosts.leader_first("describe"):
        workdir.describe(
            folder,
            flat=schema.flatten(config),
            data=about | dataclasses.asdict(split),
            mesh=mesh,
            precision=precision,
            accept_new_data=accept_new_data,
        )
    every = records.statistics(split.train, clear=config.data.statistics == "clear")
    statistics = {name: every[name] for name in (spec.name for spec in agreement.specs)}
    if hosts.is_leader():
        workdir.write_json(folder / "statistics.json", statistics)
    dtype = np.dtype(jax.numpy.dtype(precision))
    return Setting(config, folder, console, records, split, agreement, mesh, dtype, statistics, accept_new_data, profile)
