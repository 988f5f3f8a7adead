"""One U-TAE step at default widths against the original PyTorch code, the same weights in both, alternating in one run.

    git clone https://github.com/VSainteuf/utae-paps
    pip install "omnisat-jax[torch]"
    python -m benchmarks.utae_torch --original=utae-paps

Inference is the forward pass; training is loss and gradient of all parameters, without dropout and with the statistics of normalization that
are kept with the weights (PyTorch's evaluation mode), so that both compute the same numbers. Prints the best time of each, the ratios of these, and the share of the
matrix products that each machine can do at best, by one large product in the same library. Both use as many threads as the process may.
"""

import argparse
import importlib
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from benchmarks.timing import device
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.interop.torch_weights import load_utae
from omnisat_jax.train.flops import count_flops

BANDS = 10
PEAK_SIDE = 2048  # of the large product


def import_original(folder: pathlib.Path) -> tuple[Any, Any]:
    """PyTorch, and the original class of U-TAE.

    Raises:
      UserError: PyTorch is not installed, or the folder is not a clone of the original code.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise UserError("the comparison needs PyTorch: pip install 'omnisat-jax[torch]'") from error
    sys.path.insert(0, str(folder))
    try:
        return torch, importlib.import_module("src.backbones.utae").UTAE
    except ImportError as error:
        raise UserError(f"{folder}: expected a clone of https://github.com/VSainteuf/utae-paps, found no src/backbones/utae.py in it") from error
    finally:
        sys.path.remove(str(folder))


def seconds(function: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def original_steps(torch: Any, network: Any, values: np.ndarray, dates: np.ndarray) -> dict[str, Callable[[], float]]:
    """Steps of the original: name -> function that returns the mean of its squared logits.

    Args:
      torch: the library.
      network: the original, in evaluation mode.
      values: (1,T,C,H,W) float32.
      dates: (1,T) days.
    """
    inputs, days = torch.from_numpy(values), torch.from_numpy(dates)

    def infer() -> float:
        with torch.no_grad():
            return (network(inputs, batch_positions=days) ** 2).mean().item()

    def train() -> float:
        network.zero_grad()
        loss = (network(inputs, batch_positions=days) ** 2).mean()
        loss.backward()
        return loss.item()

    return {"inference": infer, "training": train}


def our_steps(module: Any, variables: Any, values: np.ndarray, dates: np.ndarray) -> tuple[dict[str, Callable[[], float]], dict[str, float]]:
    """The same steps in JAX, compiled, and their floating-point operations."""
    inputs = jnp.asarray(values.transpose(0, 1, 3, 4, 2)), jnp.asarray(dates, jnp.int32), jnp.ones(dates.shape, bool)

    def loss(variables):
        return (module.apply(variables, *inputs) ** 2).mean()

    functions = {"inference": loss, "training": jax.value_and_grad(loss)}
    steps = {}
    for name, function in functions.items():
        program = jax.jit(function).lower(variables).compile()
        steps[name] = lambda program=program: float(jax.tree.leaves(jax.block_until_ready(program(variables)))[0])
    return steps, {name: count_flops(function, variables) for name, function in functions.items()}


def main(arguments: list[str]) -> int:
    """Prints the comparison."""
    parser = Parser(prog="python -m benchmarks.utae_torch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", type=pathlib.Path, required=True, help="a clone of the original code")
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--side", type=int, default=128, help="pixels per side of the tile")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    torch, original = import_original(options.original)
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network: Any = original(BANDS).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.safetensors"
        save_file({name: np.ascontiguousarray(value.detach().numpy()) for name, value in network.state_dict().items()}, path)
        module, variables = load_utae(path)
    values = np.random.default_rng(0).standard_normal((1, options.dates, BANDS, options.side, options.side), np.float32)
    dates = np.arange(options.dates)[None] * 15
    theirs = original_steps(torch, network, values, dates)
    ours, flops = our_steps(module, jax.tree.map(jnp.asarray, variables), values, dates)
    for name in ours:
        found, expected = ours[name](), theirs[name]()
        if not np.isclose(found, expected, rtol=1e-3):
            raise UserError(f"{name}: expected the mean of squared logits of the original, {expected:.6g}, found {found:.6g}")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ours}
    for _ in range(options.rounds):
        for name, pairs in times.items():
            pairs.append((seconds(theirs[name]), seconds(ours[name])))
    square = np.ones((PEAK_SIDE, PEAK_SIDE), np.float32)
    tensor, array, product = torch.from_numpy(square), jnp.asarray(square), jax.jit(jnp.matmul)
    product(array, array).block_until_ready()
    peaks = [min(seconds(function) for _ in range(5)) for function in (lambda: tensor @ tensor, lambda: product(array, array).block_until_ready())]
    print(f"{device()}, torch {torch.__version__}, {threads} threads; {options.dates} dates, {options.side} px")
    print(f"large product: torch {2 * PEAK_SIDE**3 / peaks[0] / 1e9:.0f}, jax {2 * PEAK_SIDE**3 / peaks[1] / 1e9:.0f} GFLOP/s")
    for name, pairs in times.items():
        original_best, our_best = (min(column) for column in zip(*pairs))
        share = flops[name] / our_best / (2 * PEAK_SIDE**3 / min(peaks))
        print(
            f"{name:10s} original {original_best:.2f} s, ours {our_best:.2f} s ({100 * share:.0f} % of the faster large product); "
            f"ratio of times (ours / original): {our_best / original_best:.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
