"""Cuts rasters of a region into tiles that keep their georeference: python -m data.tiles.cut --help

All rasters share one coordinate reference system, and their pixels nest: a tile is a whole number of pixels of each raster.
A series is a folder of GeoTIFFs, one per date, with the date in the name as YYYYMMDD or YYYY-MM-DD.
What the files declare about their values is honored: nodata, masks, alpha, scale, offset, and the names of the bands.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from data.tiles.cut_report import print_report
from data.tiles.cutting import CutOptions, cut
from omnisat_jax.cli import terminal
from omnisat_jax.cli.arguments import Parser, words
from omnisat_jax.cli.command import run_command
from omnisat_jax.rasters.grid import RasterError
from omnisat_jax.rasters.offset import S2_OPTIONS
from omnisat_jax.rasters.sources import parse_source


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = Parser(
        prog="python -m data.tiles.cut", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=pathlib.Path, help="raster of integer classes; its grid is that of the tiles, unless --grid is given")
    parser.add_argument("--classes", default="", help="names of the classes 0, 1, ... of the labels, joined by commas")
    parser.add_argument(
        "--grid", type=pathlib.Path,
        help="any raster whose grid the tiles take: where there are no labels, or only of a part of the region; other tiles have none then",
    )  # fmt: skip
    parser.add_argument("--ignore", type=int, default=255, help="label of unknown pixels; default: 255")
    parser.add_argument(
        "--series", action="append", default=[], metavar="NAME=FOLDER[:BANDS]", help="dated GeoTIFFs, band names joined by commas"
    )
    parser.add_argument("--image", action="append", default=[], metavar="NAME=FILE[:BANDS]", help="one GeoTIFF")
    parser.add_argument(
        "--s2_offset", action="append", default=[], metavar="NAME=WORD",
        help="whether the values of Sentinel-2 files of baseline 04.00 and later are 1,000 higher, where files do not declare it: "
        "subtract (all but those of earlier baselines), from_2022 (those sensed from 25 January 2022 on) or none (harmonized already)",
    )  # fmt: skip
    parser.add_argument("--any_radiometry", action="store_true", help="cut bands as they are even if their names seem to be exchanged")
    parser.add_argument("--size", type=int, default=32, help="pixels of the labels, or of --grid, per side of a tile; default: 32")
    parser.add_argument("--folds", type=int, default=5, help="number of folds; default: 5")
    parser.add_argument("--block", type=int, default=1, help="tiles per side of the blocks that folds consist of; default: 1")
    parser.add_argument("--name", default="tiles", help="of the dataset, in reports")
    parser.add_argument("--citation", default="own data", type=words, help="source and license, in reports")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder to create")
    flags = parser.parse_args(arguments)
    console = terminal.console(width=None if sys.stdout.isatty() else 200)
    sources = [parse_source(text, "series") for text in flags.series] + [parse_source(text, "image") for text in flags.image]
    options = CutOptions(
        classes=flags.classes.split(",") if flags.classes else (), ignore=flags.ignore, size=flags.size, fold_count=flags.folds, block=flags.block,
        name=flags.name, citation=flags.citation, s2_options=_parse_s2_options(flags.s2_offset), grid=flags.grid,
        any_radiometry=flags.any_radiometry,
    )  # fmt: skip
    report = cut(flags.out, flags.labels, sources, options, console)
    print_report(console, report, options.classes, flags.out)
    return 0


def _parse_s2_options(texts: Sequence[str]) -> dict[str, str]:
    """{sensor: one of S2_OPTIONS} from the values of --s2_offset."""
    found = {}
    for text in texts:
        name, _, word = text.partition("=")
        if word not in S2_OPTIONS or name in found:
            raise RasterError(f"--s2_offset: expected NAME={' or NAME='.join(S2_OPTIONS)}, once per sensor, found {text!r}")
        found[name] = word
    return found


if __name__ == "__main__":
    sys.exit(run_command(main))
