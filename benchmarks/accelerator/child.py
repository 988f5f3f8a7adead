"""Runs one job of `benchmarks.accelerator` in a process of its own.

    python -m benchmarks.accelerator.child JOB.json FOLDER

Compiles, prints "ready" and waits for a line on stdin, so that many jobs can compile side by side and be timed one by one. Then writes
FOLDER/<name>.json, and for parity FOLDER/<name>.npz.
"""

import dataclasses
import pathlib
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from typing import Any

import jax
import numpy as np

from benchmarks.accelerator.jobs import Job, read_job
from omnisat_jax.aot.report import make_trainer
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.errors import reason
from omnisat_jax.files.atomic import write_json
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.parallel.chips import peak_flops
from omnisat_jax.parallel.compilation import options_for, unoptimised
from omnisat_jax.train.flops import program_flops
from omnisat_jax.train.step import create_state
from omnisat_jax.train.trainer import Trainer

YEAR = 365  # days
SAMPLE = 4096  # elements of a gradient that are compared, at least


def main(arguments: list[str]) -> int:
    """Runs the job; an error becomes part of the result."""
    job, folder = read_job(arguments[0]), pathlib.Path(arguments[1])
    if job.on_cpu:
        jax.config.update("jax_platforms", "cpu")
    if job.matmul != "default":
        jax.config.update("jax_default_matmul_precision", job.matmul)
    result: dict[str, Any]
    try:
        result = train_few_steps(job, folder) if job.kind == "parity" else time_steps(job)
    except Exception as error:  # the other jobs go on
        result = {"error": f"{type(error).__name__}: {reason(error)}"[:2000]}
    write_json(folder / f"{job.name}.json", result)
    return 0


def _trainer(job: Job) -> Trainer:
    config = schema.unflatten(job.config)
    trainer, _ = make_trainer(config, job.stage, meshes.make_mesh(config.mesh, jax.devices()[:1]))
    return trainer


def random_batch(trainer: Trainer, seed: int = 0) -> Any:
    """A batch of small random numbers, with every date valid, on the devices."""
    rng = np.random.default_rng(seed)

    def leaf(path, x):
        name = path[-1].key
        if x.dtype == bool or name == "weight":
            values = np.ones(x.shape)
        elif name == "dates":
            values = np.sort(rng.integers(0, YEAR, x.shape))
        elif name == "tile_index":
            values = np.arange(x.shape[0])
        elif name == "labels":
            values = rng.integers(0, 19, x.shape)
        else:
            values = rng.integers(0, 4, x.shape) if x.dtype == np.uint8 else 2 * rng.standard_normal(x.shape, np.float32)
        return jax.device_put(values.astype(x.dtype), x.sharding)

    return jax.tree_util.tree_map_with_path(leaf, trainer.abstract_batch)


def random_state(trainer: Trainer, seed: int = 0) -> Any:
    """A state with random weights of ordinary size, without the cost of compiling the initialization."""
    rng = np.random.default_rng(seed)

    def weights(path, x):
        values = 0.02 * rng.standard_normal(x.shape, np.float32) + (getattr(path[-1], "key", "") == "scale")
        return jax.device_put(values.astype(x.dtype), x.sharding)

    empty = jax.tree.map(lambda x: jax.device_put(np.zeros(x.shape, x.dtype), x.sharding), trainer.abstract_state)
    return dataclasses.replace(empty, params=jax.tree_util.tree_map_with_path(weights, trainer.abstract_state.params))


def time_steps(job: Job) -> dict[str, Any]:
    """Times the training step on one device.

    Returns:
      "seconds" per step (median), "tiles_per_second", "compile_seconds", "trace_seconds", "temporary_gib" and "peak_gib" of memory, "tflop" of
      one step (with recomputation, and "model_tflop" without), "mfu" by the latter, and the "kernels" that take most time, if asked for.
    """
    trainer = _trainer(job)
    start = time.perf_counter()
    traced = trainer.trace_step()
    tracing = time.perf_counter() - start
    lowered = traced.lower()
    start = time.perf_counter()
    program = lowered.compile(compiler_options=options_for(jax.devices()[0].platform))
    compiling = time.perf_counter() - start
    memory: Any = program.memory_analysis()
    print("ready", flush=True)
    flops = model_flops = program_flops(traced.jaxpr)
    if job.config["model.remat"]:
        plain = _trainer(dataclasses.replace(job, config=job.config | {"model.remat": False}))
        model_flops = program_flops(plain.trace_step().jaxpr)
    sys.stdin.readline()  # until no other job uses the device
    state, batch, root = random_state(trainer), random_batch(trainer), jax.device_put(jax.random.key(0), meshes.replicated(trainer.mesh))
    metrics: dict[str, Any] = {}
    for _ in range(2):
        state, metrics = program(state, batch, root, trainer.statistics)
    jax.block_until_ready(state)
    times = []
    for _ in range(job.steps):
        start = time.perf_counter()
        state, metrics = program(state, batch, root, trainer.statistics)
        jax.block_until_ready(state)
        times.append(time.perf_counter() - start)
    seconds, peak = statistics.median(times), peak_flops(trainer.mesh)
    used = jax.devices()[0].memory_stats() or {}
    return {
        "seconds": seconds,
        "spread": [min(times), max(times)],
        "tiles_per_step": trainer.config.batch_size,
        "tiles_per_second": trainer.config.batch_size / seconds,
        "trace_seconds": tracing,
        "compile_seconds": compiling,
        "temporary_gib": memory.temp_size_in_bytes / 2**30,
        "peak_gib": used.get("peak_bytes_in_use", 0) / 2**30,
        "tflop": flops / 1e12,
        "model_tflop": model_flops / 1e12,
        "tflop_per_second": model_flops / seconds / 1e12,
        "mfu": model_flops / seconds / peak if peak else None,
        "loss": float(metrics["loss"]),
        "finite": float(metrics["finite"]),
        "kernels": _kernels(lambda state: program(state, batch, root, trainer.statistics)[0], state) if job.profile else [],
    }


def _kernels(step: Any, state: Any) -> list[tuple[str, float, int]]:
    """(kind, milliseconds per step, calls per step) of the kernels of a device that take most time, from a profile of two steps."""
    steps = 2
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                state = step(state)
            jax.block_until_ready(state)
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
        time_of, calls = Counter(), Counter()
        for plane in data.planes:
            if not plane.name.startswith("/device:"):
                continue
            for line in plane.lines:
                if not line.name.startswith("Stream"):
                    continue
                for event in line.events:
                    kind = re.sub(r"[_.]?\d+", "", event.name)
                    time_of[kind] += event.duration_ns
                    calls[kind] += 1
    return [(kind, total / 1e6 / steps, calls[kind] // steps) for kind, total in time_of.most_common(40)]


def train_few_steps(job: Job, folder: pathlib.Path) -> dict[str, Any]:
    """Trains from fixed numbers; keeps losses, norms of gradients, and the first gradients as far as the first update shows them.

    The initial state is computed on the CPU, so that all jobs start from the same bits.
    """
    trainer, cpu = _trainer(job), jax.devices("cpu")[0]
    batch = random_batch(trainer)
    with jax.default_device(cpu):
        create = jax.jit(lambda: create_state(trainer.task, trainer.optimizer, jax.random.key(0), jax.tree.map(np.asarray, batch)))
        initial = jax.tree.map(np.asarray, create.lower().compile(compiler_options=unoptimised())())
    root = jax.device_put(jax.random.key(0), meshes.replicated(trainer.mesh))
    program = trainer.compile_step().program
    runs, seconds = [], 0.0
    for _ in range(2):  # twice, to see whether the bits repeat
        state, losses, norms = jax.device_put(initial, trainer.state_shardings), [], []
        start = time.perf_counter()
        first = None
        for _ in range(job.steps):
            state, metrics = program(state, batch, root, trainer.statistics)
            losses.append(float(metrics["loss"]))
            norms.append(float(metrics["grad_norm"]))
            if first is None:
                # Moments: (1 - beta) times the clipped gradient, and (1 - beta) times its square. A sample of each is enough.
                first = [np.asarray(x).ravel()[:: max(1, x.size // SAMPLE)] for x in jax.tree.leaves(state.opt_state)]
        seconds = time.perf_counter() - start
        assert first is not None
        runs.append((np.array(losses), np.array(norms), first, [np.asarray(x) for x in jax.tree.leaves(state.params)]))
    losses, norms, first, params = runs[0]
    np.savez(folder / f"{job.name}.npz", losses=losses, norms=norms, **{f"moment_{i}": x for i, x in enumerate(first)})
    same = all(np.array_equal(a, b) for a, b in zip([losses, *params], [runs[1][0], *runs[1][3]], strict=True))
    return {"seconds": seconds, "repeats_bit_for_bit": same, "first_loss": losses[0], "last_loss": losses[-1]}


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
