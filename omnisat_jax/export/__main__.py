"""Writes a trained model as one file that runs without this package.

    python -m omnisat_jax.export FOLDER --format jax --out model.zip
    python -m omnisat_jax.export FOLDER --format onnx --out model.onnx
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from omnisat_jax.cli.arguments import Parser, whole
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError, printable
from omnisat_jax.export.jax_file import jax_file
from omnisat_jax.export.onnx_file import onnx_file
from omnisat_jax.export.program import make_program
from omnisat_jax.files import atomic
from omnisat_jax.inference.model_folder import load_model

FORMATS = {"jax": jax_file, "onnx": onnx_file}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; `arguments` default to those of the process."""
    parser = Parser(prog="python -m omnisat_jax.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of a trained model, such as runs/NAME/model")
    parser.add_argument("--format", choices=FORMATS, required=True, help="jax: runs with jax alone; onnx: runs in onnxruntime")
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write, in place of one that is there already")
    parser.add_argument("--window", type=whole(1, "a number of tokens"), metavar="TOKENS", help="tokens per tile side; default: those of the training tiles")
    options = parser.parse_args(arguments)
    out = pathlib.Path(options.out)
    if not out.parent.is_dir() or out.is_dir():  # before minutes are spent on the conversion
        found = "a folder" if out.is_dir() else f"no folder {out.parent}"
        raise UserError(printable(f"{out}: expected a file in a folder that exists, found {found}", None))
    program = make_program(load_model(options.folder), options.window)
    content = FORMATS[options.format](program)
    atomic.write_bytes(out, content)
    sizes = ", ".join(program.open_sizes)
    print(printable(f"written to {out}: {len(content):,} bytes, {program.window} x {program.window} tokens per tile, any {sizes}", None))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
