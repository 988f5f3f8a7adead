"""Time and memory of the series encoders on one tile: U-TAE with few dates against the temporal-first encoder with all of a year, in one run.

    python -m benchmarks.series_encoders [--preset=demo] [--side=32] [--few=10] [--all=60]

Measured: forward and backward pass of one encoder at the widths of the preset, 10 bands, without the optimizer.
"""

import argparse
import functools
import sys
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.timing import Measurement, device, measure
from configs import pastis
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.encoders.registry import make_encoder

BANDS, PATCH = 10, 4  # PATCH: pixels per token side
DAYS = 400  # that the dates are spread over


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints time and memory of both encoders for both numbers of dates, and the ratios of their times."""
    parser = Parser(prog="python -m benchmarks.series_encoders", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo", help="of configs/pastis.py, for the widths")
    parser.add_argument("--side", type=int, default=32, help="pixels per side of the tile")
    parser.add_argument("--few", type=int, default=10, help="dates of the shorter series")
    parser.add_argument("--all", type=int, default=60, help="dates of the longer series")
    options = parser.parse_args(arguments)
    config = schema.parse(pastis.get_config(options.preset)).model
    counts = (options.few, options.all)
    found = {(name, dates): measure_encoder(name, config, dates, options.side) for name in ("utae", "temporal_first") for dates in counts}
    print(device())
    for (name, dates), measured in found.items():
        print(f"{name:16s} {dates:4d} dates  {1000 * measured.seconds:8.1f} ms per step  {measured.temporary_mib:7.0f} MiB temporary")
    few, every = counts
    first = found["temporal_first", every].seconds
    print(f"ratio of times (utae, {every} dates / temporal_first, {every} dates): {found['utae', every].seconds / first:.2f}")
    print(f"ratio of times (utae, {few} dates / temporal_first, {every} dates): {found['utae', few].seconds / first:.2f}")
    return 0


def measure_encoder(name: str, config: schema.ModelConfig, dates: int, side: int) -> Measurement:
    """Measures forward and backward pass of the encoder `name` on a series of `dates` dates and `side` x `side` pixels."""
    spec = ModalitySpec(name="s2", kind="series", channels=BANDS, resolution=10.0, patch=PATCH, encoder=name, dates_train=0, dates_eval=0)
    module: nn.Module = make_encoder(spec, config, jnp.float32)
    inputs = (
        jax.random.normal(jax.random.key(0), (1, dates, side, side, BANDS)),
        jnp.linspace(0, DAYS, dates).astype(jnp.int32)[None],
        jnp.ones((1, dates), bool),
    )
    variables = jax.jit(functools.partial(module.init, train=False))(jax.random.key(1), *inputs)

    def loss(variables):
        encoded = module.apply(variables, *inputs, train=False)
        return (encoded.tokens**2).mean() + (encoded.features**2).mean()  # pyright: ignore[reportAttributeAccessIssue]  an Encoding

    return measure(jax.value_and_grad(loss), variables)


if __name__ == "__main__":
    sys.exit(run_command(main))
