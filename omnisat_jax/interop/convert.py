"""Original PyTorch weights in, our files out; and back into a module.

    python -m omnisat_jax.interop.convert utae WEIGHTS OUT [--n_head=16] [--d_model=256] [--d_k=4]
    python -m omnisat_jax.interop.convert omnisat WEIGHTS OUT --patch s2=4 s1-asc=4 aerial=40 [--n_head=16] [--d_k=8] [--period=734]

OUT becomes a folder of weights.safetensors (names of our parameters, joined by "/") and network.json.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import flax.traverse_util
import numpy as np
from safetensors.numpy import load_file, save_file

from omnisat_jax import schema
from omnisat_jax.commands import run_command
from omnisat_jax.interop.state_dict import WeightsError
from omnisat_jax.interop.torch_weights import load_omnisat, load_utae
from omnisat_jax.models.baselines import UTAESegmenter
from omnisat_jax.models.published import PublishedImageEncoder, PublishedOmniSat, PublishedSeriesEncoder

NETWORKS = {c.__name__: c for c in (UTAESegmenter, PublishedOmniSat, PublishedSeriesEncoder, PublishedImageEncoder)}
SETTINGS = {c.__name__: c for c in (schema.UTAE, schema.LTAE, schema.PatchLTAE, schema.PatchCNN)}


def save(folder, module, variables):
    """Writes a module of `torch_weights` and its parameters."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    flat = flax.traverse_util.flatten_dict(variables["params"], sep="/")
    save_file({name: np.ascontiguousarray(value) for name, value in flat.items()}, folder / "weights.safetensors")
    (folder / "network.json").write_text(json.dumps(_describe(module), indent=2))


def load(folder):
    """(module, variables) of a folder that `save` wrote.

    Raises:
      WeightsError: a file is missing.
    """
    folder = pathlib.Path(folder)
    for name in ("network.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name}: expected a file of converted weights, found none")
    module = _build(json.loads((folder / "network.json").read_text()))
    return module, {"params": flax.traverse_util.unflatten_dict(load_file(folder / "weights.safetensors"), sep="/")}


def _describe(value):
    """Plain JSON of a module: its class and attributes, nested."""
    if type(value).__name__ in NETWORKS | SETTINGS:
        fields = (f.name for f in dataclasses.fields(value) if f.name not in ("parent", "name", "dtype"))
        return {"class": type(value).__name__} | {name: _describe(getattr(value, name)) for name in fields}
    if isinstance(value, tuple | list):
        return [_describe(item) for item in value]
    return dict(value) if hasattr(value, "items") else value


def _build(value):
    if isinstance(value, list):
        return tuple(_build(item) for item in value)
    if isinstance(value, dict) and "class" in value:
        fields = {name: _build(item) for name, item in value.items() if name != "class"}
        return (NETWORKS | SETTINGS)[value["class"]](**fields)
    return value


def _positive(text):
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return number


def main(arguments=None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    networks = parser.add_subparsers(dest="network", required=True)
    utae, omnisat = networks.add_parser("utae"), networks.add_parser("omnisat")
    for command, key_dim in ((utae, 4), (omnisat, 8)):
        command.add_argument("weights", help=".safetensors, or the authors' .pth.tar / .ckpt")
        command.add_argument("out", help="folder to write")
        command.add_argument("--n_head", type=_positive, default=16, help="heads of temporal attention")
        command.add_argument("--d_k", type=_positive, default=key_dim, help="key width a head")
    utae.add_argument("--d_model", type=_positive, default=256, help="width of temporal attention")
    omnisat.add_argument("--patch", nargs="+", required=True, metavar="NAME=PX", help="pixels a token side, each modality")
    omnisat.add_argument("--period", type=float, default=734, help="base of the date sinusoid, days")
    options = parser.parse_args(arguments)
    if options.network == "utae":
        made = load_utae(options.weights, n_head=options.n_head, d_model=options.d_model, d_k=options.d_k)
    else:
        pairs = [pair.partition("=") for pair in options.patch]
        wrong = [pair for pair in pairs if not (pair[0] and pair[2].isascii() and pair[2].isdecimal() and int(pair[2]))]
        if wrong:
            raise WeightsError(f"--patch: expected NAME=PX, found {''.join(wrong[0])!r}")
        patch = {name: int(side) for name, _, side in pairs}
        made = load_omnisat(options.weights, n_head=options.n_head, d_k=options.d_k, patch=patch, period=options.period)
    save(options.out, *made)
    print(f"{options.out}: {sum(x.size for x in flax.traverse_util.flatten_dict(made[1]).values()):,} parameters written")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
