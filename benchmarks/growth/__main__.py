"""How time and memory grow with tiles, dates, rows of the contrastive loss, modalities and processes: the exponent of a power law for each.

    python -m benchmarks.growth [--only=tiles,train,dates,rows,modalities,hosts] [--tiles=100,1000,10000] [--folder=DIR]

"tiles" prepares, verifies, opens and reads many small tiles; "train" fine-tunes a small model on them for a few steps. What work on the host costs
is CPU time and the growth of the memory of one process, in which what 10 tiles cost is subtracted before the exponent is fitted. Compiled steps
cost the time of the best of three repetitions and the temporary memory that XLA plans. "hosts" counts CPU time until the first step.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from rich.console import Console

from benchmarks.growth import hosts, powers, steps, tiles
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError

PARTS = ("tiles", "train", "dates", "rows", "modalities", "hosts")


def numbers(text: str) -> list[int]:
    """Ascending whole numbers above 0, separated by commas."""
    try:
        found = [int(number) for number in text.split(",")]
    except ValueError:
        found = []
    if not found or found[0] < 1 or found != sorted(set(found)):
        raise argparse.ArgumentTypeError(f"expected ascending whole numbers from 1, separated by commas, found {text!r}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one table per part."""
    parser = Parser(prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure")
    parser.add_argument("--tiles", type=numbers, default=[100, 1000, 10_000], help="numbers of tiles")
    parser.add_argument("--dates", type=numbers, default=[30, 60, 120, 250, 500], help="of the series")
    parser.add_argument("--rows", type=numbers, default=[1, 2, 4, 8], help="tiles per step of the contrastive loss; each has three views")
    parser.add_argument("--patches", type=int, default=1024, help="rows per view of a tile in the contrastive loss")
    parser.add_argument("--modalities", type=numbers, default=[1, 2, 3, 4], help="numbers of modalities, at most 4")
    parser.add_argument("--side", type=int, default=32, help="pixels per side of the tiles of compiled steps")
    parser.add_argument("--hosts", type=numbers, default=[1, 2, 4], help="numbers of processes, which divide 4")
    parser.add_argument("--steps", type=int, default=12, help="training steps of the processes")
    parser.add_argument("--folder", type=pathlib.Path, help="where tiles are kept, an empty folder, or one of an earlier start; default: a temporary one")
    options = parser.parse_args(arguments)
    parts = options.only.split(",")
    if set(parts) - set(PARTS):
        raise UserError(f"--only: expected some of {', '.join(PARTS)}, found {options.only}")
    console = Console(width=170)
    with contextlib.ExitStack() as stack:
        folder = options.folder or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for part in parts:
            found, notes = _measure(part, options, folder)
            console.print(powers.table(found), *notes, sep="\n", highlight=False)
    return 0


def _measure(part: str, options: argparse.Namespace, folder: pathlib.Path) -> tuple[list[powers.Growth], list[str]]:
    """Measurements of a part, and sentences to print below them."""
    match part:
        case "tiles" | "train":
            return tiles.measure(options.tiles, folder, training=part == "train")
        case "dates":
            return steps.dates(options.dates, options.side), []
        case "rows":
            return steps.rows(options.rows, options.patches), []
        case "modalities":
            return steps.modalities(options.modalities, options.side), []
    return hosts.measure(options.hosts, folder, options.steps)


if __name__ == "__main__":
    sys.exit(run_command(main))
