"""What an accelerator makes of this project, in one run: correctness, speed, memory, compilation, kernels, and the main job.

    python -m benchmarks.accelerator --out=DIR [--preset=hd] [--parity_preset=demo] [--sizes=16,32] [--steps=8] [--seconds=330] [--main_job] [--input_tiles=24]

- parity: ten training steps of a smaller preset on small crops, from the same numbers, on the CPU and on the accelerator in float32
  (exact products) and bfloat16: losses, norms of the gradients and first moments of the optimizer.
- speed: training steps at full size in bfloat16, and what one change makes of them: the series encoder, recomputation, attention, borders,
  norms, precision, more tiles. MFU counts the products of the model without recomputation, against the peak of the device.
- ceilings: a large matrix product and a large copy, for comparison.
- main job: `launch.py --config=configs/pastis.py` from nothing, and a few steps of the preset on simulated tiles of full size, for the
  time that the device waits for data.

All steps are compiled side by side, each in a process of its own; then one process at a time uses the device. Writes DIR/accelerator.json after
every part, and prints tables. Without an accelerator it runs the same program on the CPU; use a small preset.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accelerator.jobs import Job, parity_jobs, speed_jobs
from benchmarks.accelerator.running import Running, main_job, run_input
from benchmarks.timing import measure
from omnisat_jax.cli.arguments import Parser, whole
from omnisat_jax.cli.command import run_command
from omnisat_jax.files.atomic import write_json
from omnisat_jax.parallel.chips import PEAKS
from omnisat_jax.train.provenance import versions

COMPILING = 0.7  # share of the time that compilation may take
TOLERANCES = {"float32_highest": 1e-4, "bfloat16": 2e-2}  # relative, of the losses


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all parts; returns 1 if the losses do not agree with those of the CPU."""
    options = _parse(arguments)
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    console, start = Console(width=150), time.monotonic()
    report: dict[str, Any] = {"device": _device(options.only_cpu), "versions": _versions(), "cores": os.cpu_count()}

    def keep(**parts: Any) -> None:
        report.update(parts, seconds=round(time.monotonic() - start, 1))
        write_json(folder / "accelerator.json", report)

    keep()
    accelerated = report["device"]["platform"] == "gpu"
    parity = parity_jobs(options.parity_preset, options.parity_steps)
    speed = speed_jobs(options.preset, options.sizes, options.steps, accelerated, json.loads(options.shrink))[: options.variants]
    with Running([*speed, *parity], folder, options.parallel) as running:
        deadline = start + options.seconds
        running.compile_all(start + COMPILING * options.seconds)
        keep(compiling_seconds=round(time.monotonic() - start, 1))
        keep(parity=compare(parity, folder))
        for job in speed:
            running.finish(job, deadline)
            keep(speed=_results(speed, folder))
    keep(ceilings=_ceilings(options.only_cpu))
    if options.main_job:
        keep(main_job=main_job(folder, options.job_seconds))
    if options.input_tiles:
        keep(input=run_input(options.preset, options.input_tiles, options.sizes[0], folder, options.job_seconds))
    show(console, report)
    return 0 if all(stage[name]["agrees"] for stage in report["parity"].values() for name in stage) else 1


def _parse(arguments):
    parser = Parser(prog="python -m benchmarks.accelerator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the results")
    parser.add_argument("--preset", default="hd", help="of configs/pastis.py")
    parser.add_argument("--parity_preset", default="demo", help="of configs/pastis.py, whose steps are compared with the CPU")
    parser.add_argument("--sizes", type=_two, default=(16, 32), metavar="N,M", help="tiles per step, the usual and a larger number")
    parser.add_argument("--steps", type=whole(1, "a number of steps"), default=8, help="that are timed per variant")
    parser.add_argument("--parity_steps", type=whole(1, "a number of steps"), default=10, help="that are compared with the CPU")
    parser.add_argument("--variants", type=whole(1, "a number of variants"), default=5, help="at most this many variants of a step, of those of benchmarks/accelerator/jobs.py")
    parser.add_argument("--parallel", type=whole(1, "a number of processes"), default=os.cpu_count(), help="processes that compile side by side")
    parser.add_argument("--seconds", type=whole(1, "a number of seconds"), default=330, help="after which the last step must have been timed")
    parser.add_argument("--job_seconds", type=whole(1, "a number of seconds"), default=150, help="after which the main job, and the one after it, is ended")
    parser.add_argument("--shrink", default="{}", help="JSON of configuration changes that make every timed step smaller")
    parser.add_argument("--main_job", action="store_true", help="run the main job as well")
    parser.add_argument("--input_tiles", type=whole(0, "a number of tiles"), default=0, help="simulated tiles for the waiting time of the device; 0: none")
    parser.add_argument("--only_cpu", action="store_true", help="do not look for an accelerator")
    return parser.parse_args(arguments)


def _two(text: str) -> tuple[int, int]:
    first, _, second = text.partition(",")
    if not (first.isdigit() and second.isdigit() and 1 <= int(first) < int(second)):
        raise argparse.ArgumentTypeError(f"expected two growing numbers of tiles, such as 16,32, found {text!r}")
    return int(first), int(second)


def _child(code: str, only_cpu: bool) -> Any:
    """What a short program prints as JSON; in a process of its own, which leaves the memory of the device alone afterwards."""
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | ({"JAX_PLATFORMS": "cpu"} if only_cpu else {})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": done.stderr[-500:]}


def _device(only_cpu: bool) -> dict[str, Any]:
    code = "import jax, json; d = jax.devices()[0]; print(json.dumps({'platform': d.platform, 'kind': d.device_kind, 'count': jax.device_count()}))"
    found = _child(code, only_cpu)
    return found if "platform" in found else {"platform": "cpu", "kind": "cpu", "count": 1, **found}


def _versions() -> dict[str, str]:
    """Those of runs, and of what the device is driven by."""
    names = {d.metadata["Name"] or "" for d in importlib.metadata.distributions()}
    return versions() | {name: importlib.metadata.version(name) for name in sorted(names) if name.startswith(("jax-cuda", "nvidia-cudnn", "libtpu"))}


def _ceilings(only_cpu: bool) -> dict[str, Any]:
    return _child("import json; from benchmarks.accelerator.__main__ import ceilings; print(json.dumps(ceilings()))", only_cpu)


def ceilings(side: int = 0) -> dict[str, float]:
    """TFLOP/s of a square bfloat16 product, and GB/s of a copy, bytes read and written; side: of the matrices, 0 for one that fits the device."""
    side = side or (8192 if jax.default_backend() != "cpu" else 512)
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    x = jax.random.normal(jax.random.key(1), (side * side * (8 if side > 4096 else 1),), jnp.float32)

    product, copy = measure(lambda a: a @ a, a, repeats=10).seconds, measure(lambda x: x + 1, x, repeats=10).seconds
    return {"tflop_per_second": 2 * side**3 / product / 1e12, "gb_per_second": 2 * x.nbytes / copy / 1e9, "peak_tflop": PEAKS.get(jax.devices()[0].device_kind, 0.0) / 1e12}


def compare(jobs: Sequence[Job], folder: pathlib.Path) -> dict[str, Any]:
    """{stage: {precision: largest relative differences from the CPU}}."""
    found: dict[str, Any] = {}
    results = _results(jobs, folder)
    for job in jobs:
        _, stage, name = job.name.split("_", 2)
        if name == "cpu":
            continue
        entry = dict(results[job.name])
        reference, path = folder / f"parity_{stage}_cpu.npz", folder / f"{job.name}.npz"
        if reference.is_file() and path.is_file():
            with np.load(reference) as a, np.load(path) as b:
                losses = np.abs(b["losses"] - a["losses"]) / np.abs(a["losses"])
                norms = np.abs(b["norms"] - a["norms"]) / np.abs(a["norms"])
                names = [key for key in a.files if key.startswith("moment_") and a[key].dtype.kind == "f"]
                error = sum(float(((b[key].astype(np.float64) - a[key]) ** 2).sum()) for key in names)
                size = sum(float((a[key].astype(np.float64) ** 2).sum()) for key in names)
            entry |= {"first_loss_error": losses[0], "loss_error": losses.max(), "norm_error": norms.max(), "gradient_error": (error / size) ** 0.5}
            entry = {key: float(value) if isinstance(value, np.floating) else value for key, value in entry.items()}
            entry["agrees"] = bool(entry["loss_error"] <= TOLERANCES[name])
        else:
            entry |= {"agrees": False}
        found.setdefault(stage, {})[name] = entry
    return found


def _results(jobs: Sequence[Job], folder: pathlib.Path) -> dict[str, Any]:
    return {job.name: json.loads(path.read_text()) if (path := folder / f"{job.name}.json").is_file() else {"error": "not finished in time"} for job in jobs}


def show(console: Console, report: dict[str, Any]) -> None:
    """Prints the report as tables."""
    console.print(report["device"], report["versions"], highlight=False)
    table = Table("stage", "precision", "loss", "norm", "gradient", "bits repeat", "agrees", title="largest relative difference from the CPU")
    for stage, precisions in report["parity"].items():
        for name, entry in precisions.items():
            errors = [f"{entry[key]:.1e}" if key in entry else "-" for key in ("loss_error", "norm_error", "gradient_error")]
            table.add_row(stage, name, *errors, str(entry.get("repeats_bit_for_bit", "-")), str(entry["agrees"]) + entry.get("error", "")[:60])
    console.print(table)
    table = Table("step", "tiles", "ms", "tiles/s", "TFLOP/s", "MFU %", "peak GiB", "compile s", title="training steps")
    for name, entry in report["speed"].items():
        if "error" in entry:
            table.add_row(name.removeprefix("speed_"), entry["error"][:80])
            continue
        numbers = (1000 * entry["seconds"], entry["tiles_per_second"], entry["tflop_per_second"], 100 * (entry["mfu"] or 0), entry["peak_gib"], entry["compile_seconds"])
        table.add_row(name.removeprefix("speed_"), str(entry["tiles_per_step"]), *(f"{number:.1f}" for number in numbers))
    console.print(table)
    for name, entry in report["speed"].items():
        for kind, milliseconds, calls in entry.get("kernels", [])[:14]:
            console.print(f"{name.removeprefix('speed_'):24s} {milliseconds:8.2f} ms {calls:5d} x {kind[:90]}", highlight=False)
    for part in ("main_job", "input"):
        if part in report:
            console.print(part, {key: value for key, value in report[part].items() if key != "output" or report[part]["exit_code"]}, highlight=False)
    console.print({key: report.get(key) for key in ("ceilings", "compiling_seconds", "seconds")}, highlight=False)


if __name__ == "__main__":
    sys.exit(run_command(main))
