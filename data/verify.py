"""Reads every file of a raw dataset, or of records prepared from it; shows what is in it and reports what is wrong or unusual.

python -m data.verify pastis --raw DIR [--jobs N] [--allow missing,not-finite] [--manifest FILE] [--json FILE]
python -m data.verify pastis --prepared DIR

It shows parts and classes, ranges and units of every band, and calendars. The first run on a raw folder writes all that, and a checksum of every
file, to a manifest. Later runs compare with it, which finds flipped bits that no reader can see. Prepared records hold their own checksums.
The exit code is 1 if anything is wrong that --allow does not name. What is merely unusual (a "doubt") is listed, but is not a failure.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from data.reading.datasets import DATASETS
from data.reading.raw import UNLABELLED
from data.verification.findings import KINDS, failures
from data.verification.options import VerificationOptions
from data.verification.raw_check import verify_raw
from data.verification.records_check import verify_records
from omnisat_jax.cli import terminal
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError

WIDE = 500  # columns where there is no terminal, so that no line is wrapped


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = Parser(
        prog="python -m data.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=DATASETS)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw", type=pathlib.Path, help="the dataset's folder")
    source.add_argument(
        "--prepared", type=pathlib.Path, help="records made by `python -m data.prepare`, or by a run in data.cache_dir"
    )
    parser.add_argument("--nomenclature", default="", help="which set of classes, for datasets with several")
    parser.add_argument("--unlabelled", choices=UNLABELLED, default="refuse", help="whether tiles without labels are faults; pretrain: they are not")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default: one per core")
    parser.add_argument("--manifest", type=pathlib.Path, help="checksums and contents; default: DIR/manifest.json")
    parser.add_argument("--update", action="store_true", help="write the manifest anew instead of comparing with it")
    parser.add_argument("--json", type=pathlib.Path, help="also write contents and findings to this file")
    parser.add_argument("--allow", default="", help="kinds of findings that are not failures: " + ", ".join(KINDS))
    flags = parser.parse_args(arguments)
    if flags.jobs < 1:
        raise UserError(f"--jobs: expected 1 or more, found {flags.jobs}")
    allowed = set(filter(None, flags.allow.split(",")))
    if allowed - set(KINDS):
        raise UserError(f"--allow: expected some of {', '.join(KINDS)}, found {', '.join(sorted(allowed - set(KINDS)))}")
    console = terminal.console(width=None if sys.stdout.isatty() else WIDE)
    options = VerificationOptions(
        allowed, flags.json, nomenclature=flags.nomenclature, manifest=flags.manifest, update=flags.update, jobs=flags.jobs,
        unlabelled=flags.unlabelled,
    )  # fmt: skip
    if flags.prepared:
        findings = verify_records(flags.dataset, flags.prepared, options, console)
    else:
        findings = verify_raw(flags.dataset, flags.raw, options, console)
    return 1 if failures(findings, allowed) else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
