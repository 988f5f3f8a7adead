"""Time and memory of one U-TAE training step at default widths: 1 tile, 24 dates, 128x128 pixels, 10 bands, float32.

    python -m benchmarks.utae_step [--preset=hd] [--dates=24] [--side=128]

Measured: forward and backward pass of the encoder, without the optimizer. The reference is the same network with the convolution of the
platform (`lax.conv`) instead of `omnisat_jax.ops.convolution`, in the same run.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks.timing import device, measure
from configs import pastis
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.models.encoders.utae import UTAE
from omnisat_jax.models.layers import blocks
from omnisat_jax.ops import convolution

BANDS = 10
PATCH = 4  # pixels per token side


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the time and memory of both convolutions, and the ratio of their times."""
    parser = Parser(prog="python -m benchmarks.utae_step", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="hd", help="of configs/pastis.py, for the widths")
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--side", type=int, default=128, help="pixels per side of the tile")
    options = parser.parse_args(arguments)
    model_config = schema.parse(pastis.get_config(options.preset)).model
    module = UTAE(model_config.utae, model_config.ltae, model_config.width, PATCH)
    inputs = (
        jax.random.normal(jax.random.key(0), (1, options.dates, options.side, options.side, BANDS)),
        jnp.arange(options.dates, dtype=jnp.int32)[None] * 15,
        jnp.ones((1, options.dates), bool),
    )
    variables = jax.jit(functools.partial(module.init, train=False))(jax.random.key(1), *inputs)

    def make_step() -> Callable:
        """A new function for each measurement: JAX would reuse the compiled program of a function that it has seen."""

        def loss(variables):
            encoded = module.apply(variables, *inputs, train=False)
            return (encoded.tokens**2).mean() + (encoded.features**2).mean()  # pyright: ignore[reportAttributeAccessIssue]  an Encoding

        return jax.value_and_grad(loss)

    ours = measure(make_step(), variables)
    with mock.patch.object(blocks, "conv2d", convolution.direct):
        reference = measure(make_step(), variables)
    print(device())
    for name, measured in (("ops.convolution", ours), ("lax.conv", reference)):
        print(
            f"{name:16s} {measured.seconds:7.2f} s per step  {measured.temporary_mib:7.0f} MiB temporary  "
            f"{measured.compile_seconds:5.1f} s to compile"
        )
    print(f"ratio of times (lax.conv / ops.convolution): {reference.seconds / ours.seconds:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
