"""What the stages of a run share, as plain data: configuration, split, mesh, model. Made once, before anything runs."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.files import hashing, working_copy
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.input.additional import need_same_units
from omnisat_jax.input.spec import InputSpec, resolve_input_spec
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.registry import make_model
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.records.mirror import mirrored
from omnisat_jax.records.overlap import same_ground, same_images
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split, check_labels, split_of
from omnisat_jax.train.pretrained_run import PretrainedRun, need_other_parts, need_same_encoders, need_unseen, read_pretrained_run
from omnisat_jax.train.seen_tiles import TileSet
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

# (configuration of the data, console) -> folder of records, made if they are not there yet
Prepare = Callable[[schema.DataConfig, Console], StrPath]


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a run is started: everything that is not part of its configuration.

    Attributes:
      folder: of the run.
      console: of the user.
      prepare: makes the records.
      stage: the last stage to run; "all" = every one.
      accept_new_data: continue a run although its data have changed since it was started.
      profile: (start, stop) steps of each stage to trace into <folder>/profile, or None.
    """

    folder: StrPath
    console: Console
    prepare: Prepare
    stage: str = "all"
    accept_new_data: bool = False
    profile: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What the stages of a run share.

    Attributes:
      config: the whole configuration.
      folder: of the run.
      records: the data.
      additional: further records, which only pre-training uses.
      split: which parts of them train, validate and test.
      input_spec: modalities, patch grid and static shapes that data and configuration agree on.
      mesh: the devices.
      statistics: of the training tiles, for the modalities of `input_spec`.
      model: whose parameters are trained.
      precision: dtype of its activations, "float32" or "bfloat16".
      pretrained: the run whose pre-training is taken (pretrain_from), or None.
    """

    config: schema.ExperimentConfig
    folder: pathlib.Path
    records: Records
    additional: tuple[Records, ...]
    split: Split
    input_spec: InputSpec
    mesh: Mesh
    statistics: dict[str, dict[str, list[float]]]
    model: MultimodalModel
    precision: str
    pretrained: PretrainedRun | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Modalities in model order."""
        return tuple(spec.name for spec in self.input_spec.specs)

    @property
    def fingerprint(self) -> str:
        """Identifies all data of the run."""
        return hashing.joined_fingerprint([self.records.fingerprint, *(records.fingerprint for records in self.additional)])


def open_additional(config: schema.ExperimentConfig, console: Console) -> tuple[Records, ...]:
    """Opens the records of data.pretrain_dirs, if this run pre-trains. Those in buckets are copied to this machine first.

    Raises:
      UserError, DataError: a folder that holds no records, or damaged ones; names data.pretrain_dirs.
    """
    opened = []
    for folder in config.data.pretrain_folders if config.pretrain.steps and not config.pretrain_from else ():
        if scheme_of(folder):
            folder = mirrored(folder, config.data.mirrors, config.data.mirror_gb, console, "data.pretrain_dirs")
        if not pathlib.Path(folder).is_dir():
            raise UserError(f"data.pretrain_dirs: expected folders of records of `python -m data.prepare`, joined by commas, found nothing at {folder}")
        opened.append(Records(folder))
    return tuple(opened)


def make_run_context(
    config: schema.ExperimentConfig, folder: pathlib.Path, records: Records, additional: tuple[Records, ...], console: Console
) -> RunContext:
    """Chooses the split and the devices, and matches configuration and data with each other.

    Args:
      config: the whole configuration.
      folder: of the run.
      records: the data.
      additional: see `open_additional`.
      console: of the user.

    Raises:
      UserError: what does not fit.
    """
    split = split_of(records, config.data.protocol, config.data.fold)
    check_labels(records, split, config)
    pretrained = read_pretrained_run(working_copy.folder_of(config.pretrain_from)) if config.pretrain_from else None
    mesh = _make_mesh(config, console)
    input_spec = resolve_input_spec(config, records.info, {str(other.root): other.info for other in additional})
    precision = config.model.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if pretrained:
        need_same_encoders(pretrained.folder, schema.flatten(config), [spec.name for spec in input_spec.specs])
        _refuse_pretrained(pretrained, records, split, input_spec.side, console)
    all_statistics = records.statistics(split.train, clear=config.data.statistics == "clear")
    for other, grid in zip(additional, input_spec.additional_grids, strict=True):
        need_same_units(other, all_statistics)
        _refuse_tested(records, split, other, input_spec, grid)
    dtype = np.dtype(jax.numpy.dtype(precision))
    return RunContext(
        config=config,
        folder=folder,
        records=records,
        additional=additional,
        split=split,
        input_spec=input_spec,
        mesh=mesh,
        statistics={spec.name: all_statistics[spec.name] for spec in input_spec.specs},
        model=make_model(input_spec.specs, config, len(input_spec.classes), input_spec.label_patch, dtype),
        precision=precision,
        pretrained=pretrained,
    )


def _refuse_pretrained(pretrained: PretrainedRun, records: Records, split: Split, side: float, console: Console) -> None:
    """Refuses a pre-training that has seen a tile that the run validates or tests on; says where that is not known."""
    parts = (*split.validation, *split.test)
    if pretrained.seen is not None:
        need_unseen(pretrained, TileSet.of(records, parts, side), TileSet.of(records, split.train, side))
    elif remark := need_other_parts(pretrained, records.fingerprint, records.info.dataset, parts):
        console.print(remark, style="yellow", markup=False, highlight=False)


def _refuse_tested(records: Records, split: Split, other: Records, input_spec: InputSpec, grid: int) -> None:
    """Refuses additional records with a tile that the run validates or tests on."""
    parts, names = (*split.validation, *split.test), [spec.name for spec in input_spec.specs if spec.kind != "location" and spec.name in other.modalities]
    what = "data.pretrain_dirs: expected no tile on which the run is validated or tested"
    for name, tile, their_tile in same_images(records, parts, other, names):
        raise UserError(f"{what}, found the {name} image of tile {tile} in tile {their_tile} of {other.root}; leave such tiles out of it")
    if records.info.simulated or other.info.simulated:
        return  # simulated tiles lie nowhere
    pairs = same_ground(records.places(parts), other.places(other.parts), (input_spec.side, grid * input_spec.ground))
    if pairs:
        raise UserError(
            f"{what}, found {number_of(len(pairs), 'pair')} of tiles on the same ground, first tile {pairs[0][0]} and tile {pairs[0][1]} of "
            f"{other.root}; leave such tiles out of it"
        )


def _make_mesh(config, console):
    """A mesh over which all batches can be cut."""
    sizes = {
        f"{stage}.batch_size": (getattr(config, stage).batch_size, getattr(config, stage).num_microbatches)
        for stage in ("pretrain", "finetune")
    }
    sizes["eval.batch_size"] = (config.eval.batch_size, 1)
    devices = meshes.usable_devices(config.mesh, {name: size // count for name, (size, count) in sizes.items()})
    mesh = meshes.make_mesh(config.mesh, devices)
    for name, (size, num_microbatches) in sizes.items():
        meshes.check_batch_size(name, size, mesh, num_microbatches)
    if mesh.size < jax.device_count():
        found = ", ".join(f"{name} {size}" for name, (size, _) in sizes.items())
        console.print(
            f"{mesh.size} of {jax.device_count()} devices are used: batches must be multiples of their number, found {found}",
            style="yellow",
            highlight=False,
        )
    return mesh
