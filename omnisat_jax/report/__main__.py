"""Writes report.html of a run or a study: python -m omnisat_jax.report RUN_OR_STUDY_DIR"""

import sys
from collections.abc import Sequence

from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.report import html


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; `arguments` default to those of the process."""
    parser = Parser(prog="python -m omnisat_jax.report", description="Write report.html of a finished run or a study.")
    parser.add_argument("folder", help="working directory of a finished run, or of a study")
    options = parser.parse_args(arguments)
    print(f"written to {html.write(options.folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
