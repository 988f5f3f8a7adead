"""What the programs of a run cost before they run, at its first start and at a second one that reads them from the cache, in one run.

    python -m benchmarks.second_start [--config=configs/pastis.py] [--tiles=20] [--steps=4] [--changes KEY=VALUE ...]

Both starts train from nothing, in folders of their own; the second finds records and compiled programs of the first in `<data.cache_dir>`. A
number of steps is a constant of its training step, so few steps cost as much before they run as many. Seconds are those that JAX reports, from run.json; the step of a stage is traced and compiled beside its
initial state and validation, and threads that work side by side both count.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from benchmarks.timing import device
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.train.compile_time import SECONDS

ROOT = pathlib.Path(__file__).parents[1]
STAGES = ("pretrain", "finetune", "evaluate")
Times = Mapping[str, Mapping[str, float]]  # {stage: what `compile_time.compile_times` found}


def start(options: argparse.Namespace, folder: pathlib.Path, name: str) -> Times:
    """Runs the job once, in <folder>/<name>; returns what the programs of each stage cost.

    Raises:
      UserError: the run failed; with the last line that it printed.
    """
    changes = [f"data.cache_dir={folder / 'cache'}", f"data.simulated.tiles={options.tiles}"]
    changes += [f"{stage}.{key}={options.steps}" for stage in ("pretrain", "finetune") for key in ("steps", "eval_every", "save_every")]
    arguments = [f"--config={options.config}", *(f"--config.{change}" for change in (*changes, *options.changes))]
    programs = f"--compilation_cache={folder / 'cache' / 'programs'}"
    command = [sys.executable, "launch.py", *arguments, programs, f"--workdir={folder / name}"]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["nothing"]
        raise UserError(f"second_start: expected the {name} start to end with exit code 0, found {done.returncode}; it printed last: {lines[-1]}")
    compiling = json.loads((folder / name / "run.json").read_text())["compiling"]
    return {stage: compiling[stage][-1] for stage in STAGES if stage in compiling}


def total(times: Times) -> float:
    """Seconds of all stages and causes."""
    return sum(stage[cause] for stage in times.values() for cause in SECONDS)


def table(name: str, times: Times) -> str:
    """Seconds of one start, a line per stage."""
    lines = [f"{name} start" + "".join(f"{column:>10}" for column in (*SECONDS, "programs", "compiled"))]
    for stage, found in times.items():
        counts = f"{found['programs']:10.0f}{found['compiled']:10.0f}"
        lines.append(f"{stage:{len(name) + 6}}" + "".join(f"{found[cause]:10.1f}" for cause in SECONDS) + counts)
    return "\n".join([*lines, f"{name} start: {total(times):.1f} s in all"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="python -m benchmarks.second_start", description=__doc__.splitlines()[0])  # pyright: ignore[reportOptionalMemberAccess]
    parser.add_argument("--config", default="configs/pastis.py", help="configuration, as of launch.py")
    parser.add_argument("--tiles", type=int, default=20, help="simulated tiles")
    parser.add_argument("--steps", type=int, default=4, help="of each stage")
    parser.add_argument("--changes", nargs="*", default=(), metavar="KEY=VALUE", help="further changes of the configuration")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        times = {name: start(options, pathlib.Path(folder), name) for name in ("first", "second")}
    print(device())
    for name, found in times.items():
        print(table(name, found))
    print(f"ratio of times (second / first): {total(times['second']) / total(times['first']):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
