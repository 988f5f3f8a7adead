"""What the compiled steps need and how fast they can be at best. Runs in a process that pretends to have the chips.

python -m omnisat_jax.aot.report TOPOLOGY CONFIG.json OUT.json   (started by `launch.py --compile_for=TOPOLOGY`)
"""

import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from omnisat_jax.aot.collectives import between_slices, totals
from omnisat_jax.aot.command import TOO_LARGE
from omnisat_jax.aot.estimate import seconds
from omnisat_jax.aot.hlo import operations, traffic
from omnisat_jax.aot.topology import parse_topology
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import write_json
from omnisat_jax.files.json_file import read_json
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.models.registry import make_model
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.parallel.chips import Chip
from omnisat_jax.parallel.hosts import OUT_OF_MEMORY, runtime_status
from omnisat_jax.records.nominal import nominal
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.build import make_task
from omnisat_jax.train.flops import program_flops
from omnisat_jax.train.trainer import Trainer

CUDNN_ATTENTION = "__cudnn$fmha"  # begin of the names of the custom calls


@dataclasses.dataclass(frozen=True)
class StageFacts:
    """Facts about a stage from before it is compiled.

    Attributes:
      batch_size: tiles per step, over all chips.
      parameter_bytes: of all parameters together.
      token_bytes: of all tokens of a batch.
    """

    batch_size: int
    parameter_bytes: int
    token_bytes: int


def make_trainer(config: schema.ExperimentConfig, stage: str, mesh: Mesh) -> tuple[Trainer, StageFacts]:
    """The trainer of a stage for tiles of the nominal form of its dataset, and facts about the stage.

    Raises:
      UserError: a batch that cannot be cut over the devices.
    """
    stage_config = getattr(config, stage)
    meshes.check_batch_size(f"{stage}.batch_size", stage_config.batch_size, mesh, stage_config.num_microbatches)
    info = nominal(config.data.dataset)
    input_spec = resolve_input_spec(config, info)
    dtype = jnp.dtype("float32" if config.model.precision == "float32" else "bfloat16")
    model = make_model(input_spec.specs, config, len(input_spec.classes), input_spec.label_patch, dtype)
    statistics = {s.name: {"mean": np.zeros(s.channels), "std": np.ones(s.channels)} for s in input_spec.specs}
    task = make_task(stage, config, model, statistics, LabelInfo(input_spec.classes, info.ignore), mesh)
    rate = config.finetune.encoder_rate if stage == "finetune" else 1.0
    rates = {} if rate == 1 else dict.fromkeys(make_trainer(config, "pretrain", mesh)[0].abstract_state.params, rate)
    trainer = Trainer(task, stage_config, input_spec.train.abstract(1), mesh, config.mesh.fsdp_min_size, rates)
    tokens = stage_config.batch_size * input_spec.crop**2 * len(input_spec.specs) * config.model.width
    parameters = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(trainer.abstract_state.params))
    return trainer, StageFacts(stage_config.batch_size, parameters, tokens * dtype.itemsize)


def fill_chips(config: schema.ExperimentConfig, mesh: Mesh) -> tuple[schema.ExperimentConfig, dict[str, int]]:
    """Raises the batch of each stage that cannot be cut over the devices to the next size that can.

    Returns:
      The configuration; and {stage: tiles per step in the original configuration} of the stages that were changed.
    """
    raised = {}
    for stage in ("pretrain", "finetune"):
        settings = getattr(config, stage)
        unit = mesh.size * settings.num_microbatches
        if settings.batch_size % unit:
            raised[stage] = settings.batch_size
            settings = dataclasses.replace(settings, batch_size=-(-settings.batch_size // unit) * unit)
            config = dataclasses.replace(config, **{stage: settings})
    return config, raised


def describe(program: Any, operations_of: tuple[float, float], facts: StageFacts, chip: Chip, chips: int) -> dict[str, Any]:
    """Numbers per chip and step; for its times see `estimate.seconds`.

    Args:
      program: compiled step.
      operations_of: one step over all chips, without and with the padding of products to the matrix units; see `train.flops.program_flops`.
      facts: of the stage.
      chip: what one chip can do.
      chips: their number.
    """
    memory = program.memory_analysis()
    resident = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    needed = resident + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    text = program.as_text()
    found = operations(text)
    flops, padded = (count / chips for count in operations_of)
    estimates = seconds(found, padded, chip)
    return {
        "batch_size": facts.batch_size,
        "attention": "cuDNN" if CUDNN_ATTENTION in text else "XLA",
        "arguments_bytes": memory.argument_size_in_bytes,
        "temporaries_bytes": memory.temp_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "aliased_bytes": memory.alias_size_in_bytes,
        "needed_bytes": needed,
        "memory_bytes": chip.memory,
        "fits": bool(needed <= chip.memory),
        "flops": flops,
        "padded_flops": padded,
        "traffic_bytes": traffic(found),
        "parameter_bytes": facts.parameter_bytes,
        "token_bytes": facts.token_bytes,
        "interconnect_bytes": totals(found),
        "between_slices_bytes": between_slices(found),
        "seconds": estimates,
        "hfu": flops / chip.flops / estimates["step"],
    }


def compile_stage(config: schema.ExperimentConfig, stage: str, mesh: Mesh, chip: Chip) -> dict[str, Any]:
    """Compiles the step of a stage from shapes alone and describes it; one that is far too large is described by the message of the compiler."""
    trainer, facts = make_trainer(config, stage, mesh)
    try:
        compiled = trainer.compile_step()
    except jax.errors.JaxRuntimeError as error:
        if runtime_status(error) != OUT_OF_MEMORY:
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return {"batch_size": facts.batch_size, "fits": False, "compiler": lines[0][:400]}
    padded = program_flops(trainer.trace_step().jaxpr, chip.matrix_unit)
    return describe(compiled.program, (compiled.flops, padded), facts, chip, mesh.size)


def main(arguments: list[str]) -> int:
    """Writes the report. Returns 0 if every stage fits."""
    if len(arguments) != 3:
        raise UserError("expected TOPOLOGY CONFIG.json OUT.json; launch.py --compile_for=TOPOLOGY passes them")
    topology, config_path, out = arguments
    target = parse_topology(topology)
    config = schema.unflatten(read_json(config_path, what="a configuration").value)
    mesh = meshes.make_mesh(config.mesh, target.devices())
    config, raised = fill_chips(config, mesh)
    stages = {stage: compile_stage(config, stage, mesh, target.chip) for stage in ("pretrain", "finetune") if getattr(config, stage).steps}
    write_json(out, {"topology": topology, "chips": target.count, "mesh": dict(mesh.shape), "name": config.name, "stages": stages, "raised": raised})
    return 0 if all(stage["fits"] for stage in stages.values()) else TOO_LARGE


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
