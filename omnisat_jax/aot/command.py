"""`launch.py --compile_for=TOPOLOGY`: compiles the training steps for TPU chips or GPUs that need not be present, in a separate process."""

import json
import os
import pathlib
import sys
import tempfile
from typing import Any

from rich.console import Console
from rich.table import Table

from omnisat_jax.aot.topology import parse_topology
from omnisat_jax.cli import children
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.files.addresses import need_local
from omnisat_jax.files.json_file import read_json
from omnisat_jax.types import StrPath

GIB = 2**30
TOO_LARGE = 3  # exit code of the compiling process: a step does not fit


def compile_for(config: schema.ExperimentConfig, topology: str, *, folder: StrPath, console: Console) -> dict[str, Any]:
    """Compiles the training steps of a configuration and prints what they need.

    Args:
      config: what is compiled.
      topology: of the chips, such as v5e:4x4 or h100:8.
      folder: of the run.
      console: of the user.

    Returns:
      The report, also written to <folder>/compiled_<topology>.json.

    Raises:
      UserError: an unknown topology, no compiler for it, or a configuration that does not fit the number of chips.
    """
    need_local(folder, "--workdir", "reports of --compile_for are written to this machine")
    target = parse_topology(topology)
    target.need_compiler()
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    out = (folder / f"compiled_{topology.replace(':', '_')}.json").resolve()
    out.unlink(missing_ok=True)  # of an earlier call
    environment = os.environ | {
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "JAX_PLATFORMS": "cpu",
        # More than one device, so that nothing takes a code path for a single CPU.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    if not target.is_gpu:
        environment["TPU_ACCELERATOR_TYPE"] = f"{target.chip.accelerator}-{target.count // target.slices * target.chip.cores}"
    with tempfile.NamedTemporaryFile("w", suffix=".json") as given:
        given.write(json.dumps(schema.flatten(config)))
        given.flush()
        command = [sys.executable, "-m", "omnisat_jax.aot.report", topology, given.name, str(out)]
        with console.status(f"compiling for {topology}", spinner="dots"):
            code, output = children.run(command, environment=environment, cwd=pathlib.Path(__file__).parents[2])
    if code not in (0, TOO_LARGE) or not out.is_file():
        lines = [line for line in output.splitlines() if line.strip()] or [f"the compiler ended with exit code {code}"]
        raise UserError(f"--compile_for={topology}: {lines[-1].removeprefix('error: ')}")
    report = read_json(out, what="what the compiler found").value
    show(console, report)
    console.print(f"written: {out}", highlight=False)
    return report


def fits(report: dict[str, Any]) -> bool:
    """Whether every stage fits into the memory of a chip."""
    return all(stage["fits"] for stage in report["stages"].values())


def show(console: Console, report: dict[str, Any]) -> None:
    """Prints the report as a table with one column per stage."""
    table = Table(
        title=f"{report['name']} on {report['topology']} ({report['chips']} chips), per chip and step", title_justify="left"
    )
    table.add_column("")
    for stage in report["stages"]:
        table.add_column(stage, justify="right")
    rows = {
        "tiles per step, all chips": lambda s: f"{s['batch_size']}",
        "attention": lambda s: s["attention"],
        "fits": lambda s: "yes" if s["fits"] else "NO",
        "memory needed of": lambda s: f"{s['needed_bytes'] / GIB:.2f} of {s['memory_bytes'] / GIB:.0f} GiB",
        "  arguments": lambda s: f"{s['arguments_bytes'] / GIB:.2f} GiB",
        "  temporaries": lambda s: f"{s['temporaries_bytes'] / GIB:.2f} GiB",
        "  output, beyond what replaces arguments": lambda s: f"{(s['output_bytes'] - s['aliased_bytes']) / GIB:.2f} GiB",
        "TFLOP": lambda s: f"{s['flops'] / 1e12:.2f}",
        "  with padding to the matrix units": lambda s: f"{s['padded_flops'] / 1e12:.2f}",
        "memory traffic": lambda s: f"{s['traffic_bytes'] / GIB:.1f} GiB",
        **{
            f"sent by {kind}": lambda s, kind=kind: f"{s['interconnect_bytes'][kind] / 2**20:.1f} MiB"
            for kind in ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
        },
        "sent between slices": lambda s: f"{s['between_slices_bytes'] / 2**20:.1f} MiB",
        "at least: compute": lambda s: f"{1000 * s['seconds']['compute']:.1f} ms",
        "at least: memory access": lambda s: f"{1000 * s['seconds']['memory']:.1f} ms",
        "at least: its operations, one after another": lambda s: f"{1000 * s['seconds']['operations']:.1f} ms",
        "at least: communication": lambda s: f"{1000 * s['seconds']['communication']:.1f} ms",
        "estimate of a step": lambda s: f"{1000 * s['seconds']['step']:.1f} ms",
        "utilization (HFU, with what is recomputed) at that estimate": lambda s: f"{100 * s['hfu']:.0f} %",
    }
    for name, cell in rows.items():
        table.add_row(name, *(_cell(cell, stage) for stage in report["stages"].values()))
    console.print(table)
    if parse_topology(report["topology"]).is_gpu and any(stage.get("attention") == "XLA" for stage in report["stages"].values()):
        console.print(
            "attention: compiled as XLA's, always where no GPU is there; on a GPU model.fusion.attention=auto takes cuDNN's where it can, which needs less "
            "memory and time",
            highlight=False,
        )
    for name, tiles in report["raised"].items():
        stage = report["stages"].get(name)
        if stage is not None:
            console.print(f"{name}: {tiles} tiles cannot be divided among {report['chips']} chips, so it is compiled for {stage['batch_size']}", highlight=False)
    for name, stage in report["stages"].items():
        if "compiler" in stage:
            console.print(f"{name}: the compiler refuses: {stage['compiler']}", highlight=False)


def _cell(cell, stage):
    try:
        return cell(stage)
    except KeyError:
        return "-"
