"""python -m omnisat_jax.report RUN_OR_STUDY_DIR: writes report.html there."""

import argparse
import sys

from omnisat_jax.cli.command import run_command
from omnisat_jax.report import html


def main(arguments=None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m omnisat_jax.report", description="One HTML file that tells a run or a study.")
    parser.add_argument("folder", help="working directory of a finished run, or of a study")
    options = parser.parse_args(arguments)
    print(f"written to {html.write(options.folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
