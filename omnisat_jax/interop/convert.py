"""Converts original PyTorch weights into files of this package, and loads these into a module.

    python -m omnisat_jax.interop.convert utae WEIGHTS OUT [--n_head=16] [--d_model=256] [--d_k=4]
    python -m omnisat_jax.interop.convert omnisat WEIGHTS OUT --patch s2=4 s1-asc=4 aerial=40 [--n_head=16] [--d_k=8] [--period=734]

OUT becomes a folder with weights.safetensors (parameters of the Flax module, names joined by "/") and network.json.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import flax.linen as nn
import flax.traverse_util
import numpy as np
import xxhash
from safetensors.numpy import save as to_bytes

from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError, printable, system_sentence
from omnisat_jax.files import atomic
from omnisat_jax.files.json_file import read_json
from omnisat_jax.files.problems import Problems, WeightsError
from omnisat_jax.files.safetensors_file import open_safetensors
from omnisat_jax.interop.networks import build, describe, network_shapes, shapes_in
from omnisat_jax.interop.torch_weights import Variables, load_omnisat, load_utae
from omnisat_jax.models.shapes import compare
from omnisat_jax.types import StrPath

NETWORK, WEIGHTS = "network.json", "weights.safetensors"
CHECKSUM = "checksum"  # of the weights, stored with the description of the network
LARGEST_TEXT = 2**20


def save(folder: StrPath, module: nn.Module, variables: Variables) -> None:
    """Writes a module of `torch_weights` and its parameters. The folder is complete once network.json is there.

    Raises:
      UserError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    flat = flax.traverse_util.flatten_dict(variables["params"], sep="/")
    content = to_bytes({name: np.ascontiguousarray(value) for name, value in flat.items()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NETWORK).unlink(missing_ok=True)
        atomic.clear_partials(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({system_sentence(error)})") from error
    atomic.write_bytes(folder / WEIGHTS, content)
    atomic.write_json(folder / NETWORK, describe(module) | {CHECKSUM: xxhash.xxh3_128_hexdigest(content)})


def load(folder: StrPath) -> tuple[nn.Module, Variables]:
    """Reads the module and variables that `save` wrote, of this version or an earlier one without a checksum.

    Raises:
      WeightsError: listing everything that is wrong: files that are missing or damaged, an unknown network, parameters that are missing,
        unknown, of another shape or type or not finite.
    """
    folder = pathlib.Path(folder)
    problems = Problems(folder, WeightsError, noun="thing", verbs=("is wrong with these converted weights", "are wrong with these converted weights"))
    module = weights = checksum = None
    with problems.gathered(NETWORK):
        value = read_json(folder / NETWORK, what="a file of converted weights", advice="", largest=LARGEST_TEXT)
        if CHECKSUM in value.items():
            checksum = value.get(CHECKSUM).text("a checksum")
            del value.value[CHECKSUM]
        module = build(value)
    with problems.gathered(WEIGHTS):
        weights = open_safetensors(folder / WEIGHTS, what="a file of converted weights", advice="")
        for name, entry in weights.entries.items():
            if entry.dtype != "F32":
                problems.add(WEIGHTS, f"{name}: expected F32, found {entry.dtype}")
        if module is not None:
            found = {name: entry.shape for name, entry in weights.entries.items()}
            compare(network_shapes(module, found), found, problems, WEIGHTS)
    problems.finish()
    assert module is not None and weights is not None  # otherwise there is a problem
    arrays, actual = weights.read()
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            problems.add(WEIGHTS, f"{name}: expected finite numbers, found others")
    if checksum not in (None, actual):
        problems.add(WEIGHTS, f"expected the file that was written with {NETWORK} (XXH3 {checksum}), found another ({actual})")
    problems.finish()
    return module, {"params": flax.traverse_util.unflatten_dict(arrays, sep="/")}


def _positive(text):
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = Parser(prog="python -m omnisat_jax.interop.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    networks = parser.add_subparsers(dest="network", required=True)
    utae, omnisat = networks.add_parser("utae"), networks.add_parser("omnisat")
    for command, key_dim in ((utae, 4), (omnisat, 8)):
        command.add_argument("weights", help=".safetensors, or the authors' .pth.tar / .ckpt")
        command.add_argument("out", help="folder to write")
        command.add_argument("--n_head", type=_positive, default=16, help="heads of temporal attention")
        command.add_argument("--d_k", type=_positive, default=key_dim, help="key width per head")
    utae.add_argument("--d_model", type=_positive, default=256, help="width of temporal attention")
    omnisat.add_argument("--patch", nargs="+", required=True, metavar="NAME=PX", help="pixels per token side of each modality")
    omnisat.add_argument("--period", type=float, default=734, help="base of the date sinusoid, days")
    options = parser.parse_args(arguments)
    if options.network == "utae":
        made = load_utae(options.weights, n_head=options.n_head, d_model=options.d_model, d_k=options.d_k)
    else:
        patch = _patches(options.patch)
        made = load_omnisat(options.weights, n_head=options.n_head, d_k=options.d_k, patch=patch, period=options.period)
    save(options.out, *made)
    print(printable(f"{options.out}: {sum(np.prod(shape) for shape in shapes_in(made[1]).values()):,} parameters written", None))
    return 0


def _patches(pairs):
    """{name: side} of NAME=PX options."""
    patch = {}
    for pair in pairs:
        name, _, side = pair.partition("=")
        if not name or name in patch or not (side.isascii() and side.isdecimal()):
            raise WeightsError(f"--patch: expected NAME=PX, each name once, found {pair!r}")
        patch[name] = int(side[:9])
    return patch


if __name__ == "__main__":
    sys.exit(run_command(main))
