"""What the compiled steps need and how fast they can be at best; run in a process that pretends to have the chips.

python -m omnisat_jax.aot.report TOPOLOGY CONFIG.json OUT.json   (started by `launch.py --compile_for=TOPOLOGY`)
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from omnisat_jax.aot.chips import parse_topology
from omnisat_jax.aot.collectives import collectives, totals
from omnisat_jax.aot.command import TOO_LARGE
from omnisat_jax.aot.flops import program_flops
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError, reason
from omnisat_jax.files.atomic import write_json
from omnisat_jax.files.json_file import read_json
from omnisat_jax.input.spec import agree
from omnisat_jax.models.registry import make_model
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.parallel import rules
from omnisat_jax.records.nominal import nominal
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.build import make_task
from omnisat_jax.train.checkpoints import abstract_like
from omnisat_jax.train.step import create_state, make_step


def compile_stage(config: schema.ExperimentConfig, stage: str, mesh):
    """(compiled step, facts) of a stage for the devices of a mesh, from shapes alone.

    facts: FLOPs of one step over all devices; bytes of all parameters; bytes of all tokens of a batch.
    """
    settings = getattr(config, stage)
    meshes.check_batch_size(f"{stage}.batch_size", settings.batch_size, mesh, settings.num_microbatches)
    records = nominal(config.data.dataset)
    input_spec = agree(config, records)
    dtype = jnp.dtype("float32" if config.model.precision == "float32" else "bfloat16")
    model = make_model(input_spec.specs, config, len(input_spec.classes), input_spec.label_patch, dtype)
    statistics = {s.name: {"mean": np.zeros(s.channels), "std": np.ones(s.channels)} for s in input_spec.specs}
    task = make_task(stage, config, model, statistics, LabelInfo(input_spec.classes, records.ignore), mesh)
    optimizer, key = make_optimizer(settings), jax.random.key(0)
    batch = input_spec.train.abstract(settings.batch_size, meshes.batch_sharding(mesh))
    shapes = jax.eval_shape(lambda b: create_state(task, optimizer, key, b), input_spec.train.abstract(1))
    places = rules.shardings(shapes, mesh, config.mesh.fsdp_min_size)
    state = abstract_like(shapes, places)
    root = abstract_like(key, meshes.replicated(mesh))
    traced = jax.jit(make_step(task, optimizer), donate_argnums=0, out_shardings=(places, None)).trace(state, batch, root)
    tokens = settings.batch_size * input_spec.crop**2 * len(input_spec.specs) * config.model.width * dtype.itemsize
    parameters = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.params))
    facts = {"flops": program_flops(traced.jaxpr), "parameter_bytes": parameters, "token_bytes": tokens}
    return traced.lower().compile(), facts


def describe(compiled, facts, chip, chips, batch_size) -> dict:
    """Numbers of one chip and step; times are lower bounds, and the step takes at least the larger of compute and memory plus communication."""
    memory = compiled.memory_analysis()
    resident = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    needed = resident + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    sent = totals(collectives(compiled.as_text()))
    compute = facts["flops"] / chips / chip.flops
    touched = 2 * memory.temp_size_in_bytes + resident  # written once and read once, at the least
    access = touched / chip.bandwidth
    # A ring sends an all-reduce twice around, everything else once.
    communication = (sum(sent.values()) + sent["all-reduce"]) / chip.interconnect
    step = max(compute, access) + communication
    return {
        "batch_size": batch_size,
        "arguments_bytes": memory.argument_size_in_bytes,
        "temporaries_bytes": memory.temp_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "aliased_bytes": memory.alias_size_in_bytes,
        "needed_bytes": needed,
        "memory_bytes": chip.memory,
        "fits": bool(needed <= chip.memory),
        "flops": facts["flops"] / chips,
        "parameter_bytes": facts["parameter_bytes"],
        "token_bytes": facts["token_bytes"],
        "interconnect_bytes": sent,
        "seconds": {"compute": compute, "memory": access, "communication": communication, "step": step},
        "mfu": compute / step,
    }


def main(arguments) -> int:
    """Writes the report; 0 if every stage fits."""
    if len(arguments) != 3:
        raise UserError("expected TOPOLOGY CONFIG.json OUT.json; launch.py --compile_for=TOPOLOGY gives them")
    topology, config_path, out = arguments
    chip, chips = parse_topology(topology)
    config = schema.unflatten(read_json(config_path, what="a configuration").value)
    try:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except (jax.errors.JaxRuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(f"the TPU compiler has no {topology}: {reason(error)}") from error
    mesh = meshes.make_mesh(config.mesh, devices)
    report = {"topology": topology, "chips": chips, "mesh": dict(mesh.shape), "name": config.name, "stages": {}}
    for stage in ("pretrain", "finetune"):
        settings = getattr(config, stage)
        if not settings.steps:
            continue
        try:
            compiled, facts = compile_stage(config, stage, mesh)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            # The compiler itself gives up on what is far too large, and says by how much.
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            report["stages"][stage] = {"batch_size": settings.batch_size, "fits": False, "compiler": lines[0][:400]}
            continue
        report["stages"][stage] = describe(compiled, facts, chip, chips, settings.batch_size)
    write_json(out, report)
    return 0 if all(stage["fits"] for stage in report["stages"].values()) else TOO_LARGE


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
