"""Prepares the records of a raw folder, so that training starts at once:

python -m data.prepare pastis --raw DIR --out DIR [--jobs N]        each DIR may be gs://BUCKET/FOLDER
python -m data.prepare pastis --raw DIR --out DIR --shard I/N     on the I-th of N machines that share DIR, from 0; then once without --shard
python launch.py --config=configs/pastis.py --config.data.prepared_dir=DIR

`prepare` is what a training run calls by itself.
"""

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from data.preparation import uploading
from data.preparation.options import ON_BAD, PreparationOptions
from data.preparation.preparing import open_raw_folder, prepare, prepare_folder
from data.preparation.report import print_report
from data.preparation.writing import summaries, write_shard
from data.reading.datasets import DATASETS
from data.reading.raw import UNLABELLED
from omnisat_jax.cli import terminal
from omnisat_jax.cli.arguments import Parser, words
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.files import fetching
from omnisat_jax.files.addresses import need_bucket, scheme_of
from omnisat_jax.shards import Shard

__all__ = ["main", "prepare"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = Parser(
        prog="python -m data.prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--raw", required=True, type=words, help="the dataset's folder, as published; may be gs://BUCKET/FOLDER")
    parser.add_argument("--out", required=True, type=words, help="folder of the records: a new one, or an interrupted one; may be gs://BUCKET/FOLDER")
    parser.add_argument("--mirror_dir", type=pathlib.Path, help="where data of buckets are copied; default: beside --out, or the system's temporary folder")
    parser.add_argument("--mirror_gb", type=float, default=0.0, help="disk space for copies of raw files, in GB; 0 = half of the free space")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="prepare every N-th part from the I-th on, for several machines that share the folder")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="reading processes; default: one per core")
    parser.add_argument("--nomenclature", default="", help="which set of classes, for datasets with several")
    parser.add_argument("--on_bad", choices=ON_BAD, default="raise", help="what to do with a tile with a broken file")
    parser.add_argument("--max_bad", type=float, default=0.05, help="largest share of tiles with a broken file")
    parser.add_argument("--unlabelled", choices=UNLABELLED, default="refuse", help="tiles without labels: refuse, or keep for pre-training only")
    parser.add_argument("--float16", action="store_true", help="store floats in two bytes (see data/README.md)")
    flags = parser.parse_args(arguments)
    if flags.jobs < 1:
        raise UserError(f"--jobs: expected 1 or more, found {flags.jobs}")
    if not 0 <= flags.max_bad <= 1:
        raise UserError(f"--max_bad: expected a share from 0 to 1, found {flags.max_bad}")
    if flags.mirror_gb < 0:
        raise UserError(f"--mirror_gb: expected a number of GB above 0, or 0 for half of the free disk space, found {flags.mirror_gb:g}")
    shard = Shard.parse(flags.shard, "--shard")
    console = terminal.console()
    options = PreparationOptions(flags.on_bad, flags.float16, flags.max_bad, flags.jobs, flags.unlabelled)
    for argument, place in (("--raw", flags.raw), ("--out", flags.out)):
        need_bucket(place, argument)
    scratch = flags.mirror_dir or pathlib.Path(tempfile.gettempdir() if scheme_of(flags.out) else pathlib.Path(flags.out).parent)
    with (
        uploading.opened(flags.out, scratch) as out,
        fetching.opened(flags.raw, "--raw", scratch=scratch, limit=flags.mirror_gb) as raw,
    ):
        if shard.count > 1:
            dataset, origin = open_raw_folder(flags.dataset, raw, flags.nomenclature, options, console)
            missing = write_shard(dataset, out, origin, options, console, shard)
            left = f"; {', '.join(missing)} of other shards {'is' if len(missing) == 1 else 'are'} not done yet" if missing else "; all parts are done"
            text = f"shard {shard} of {flags.out} is done{left}. Once all are done, run the same command without --shard, which completes the folder."
            console.print(text, markup=False, highlight=False, soft_wrap=True)
            return 0
        info = prepare_folder(flags.dataset, raw, out, flags.nomenclature, options, console)
        print_report(console, info, summaries(out, info), flags.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
