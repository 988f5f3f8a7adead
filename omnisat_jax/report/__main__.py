"""python -m omnisat_jax.report RUN_OR_STUDY_DIR: writes report.html there."""

import argparse
import sys

from omnisat_jax.report import html


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m omnisat_jax.report", description="One HTML file that tells a run or a study.")
    parser.add_argument("folder", help="working directory of a finished run, or of a study")
    options = parser.parse_args(arguments)
    try:
        path = html.write(options.folder)
    except (html.ReportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
