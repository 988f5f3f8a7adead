"""Draws a tile as a specialist would look at it: python -m data.show pastis --raw DIR --tile ID [--out FILE]"""

import pathlib
import re
import sys
from collections.abc import Sequence

from data.figures.tile import draw_tile, format_of, save
from data.reading.datasets import DATASETS, knows_unlabelled, open_dataset
from data.verification.findings import one_line
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="python -m data.show", description=__doc__)
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--raw", required=True, type=pathlib.Path, help="the dataset's folder")
    parser.add_argument("--tile", required=True)
    parser.add_argument("--nomenclature", default="", help="which set of classes, for datasets with several")
    parser.add_argument("--out", type=pathlib.Path, help="default: <dataset>_<tile>.png")
    flags = parser.parse_args(arguments)
    out = flags.out or pathlib.Path(re.sub(r"[^\w.-]", "_", f"{flags.dataset}_{flags.tile}.png"))
    # A picture may be of any tile; readers that know no tiles without labels refuse them themselves.
    unlabelled = "pretrain" if knows_unlabelled(flags.dataset) else "refuse"
    format_of(out)  # refuses an unknown format before anything is read
    save(draw_tile(open_dataset(flags.dataset, flags.raw, flags.nomenclature, unlabelled), flags.tile), out)
    print(f"written to {one_line(out)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
