"""What the stages of a run share, as plain data: configuration, split, mesh, model. Made once, before anything runs."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from omnisat_jax.config import schema
from omnisat_jax.input.spec import InputSpec, resolve_input_spec
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.registry import make_model
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split, check_labels, split_of
from omnisat_jax.types import StrPath

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
      split: which parts of them train, validate and test.
      input_spec: modalities, patch grid and static shapes that data and configuration agree on.
      mesh: the devices.
      statistics: of the training tiles, for the modalities of `input_spec`.
      model: whose parameters are trained.
      precision: dtype of its activations, "float32" or "bfloat16".
    """

    config: schema.ExperimentConfig
    folder: pathlib.Path
    records: Records
    split: Split
    input_spec: InputSpec
    mesh: Mesh
    statistics: dict[str, dict[str, list[float]]]
    model: MultimodalModel
    precision: str

    @property
    def names(self) -> tuple[str, ...]:
        """Modalities in model order."""
        return tuple(spec.name for spec in self.input_spec.specs)


def make_run_context(config: schema.ExperimentConfig, folder: pathlib.Path, records: Records, console: Console) -> RunContext:
    """Chooses the split and the devices, and matches configuration and data with each other.

    Raises:
      UserError: what does not fit.
    """
    split = split_of(records, config.data.protocol, config.data.fold)
    check_labels(records, split, config)
    mesh = _make_mesh(config, console)
    input_spec = resolve_input_spec(config, records.info)
    precision = config.model.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    all_statistics = records.statistics(split.train, clear=config.data.statistics == "clear")
    dtype = np.dtype(jax.numpy.dtype(precision))
    return RunContext(
        config=config,
        folder=folder,
        records=records,
        split=split,
        input_spec=input_spec,
        mesh=mesh,
        statistics={spec.name: all_statistics[spec.name] for spec in input_spec.specs},
        model=make_model(input_spec.specs, config, len(input_spec.classes), input_spec.label_patch, dtype),
        precision=precision,
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
