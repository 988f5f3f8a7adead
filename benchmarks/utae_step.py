"""Time and memory of one U-TAE training step at default widths: B=1, T=24, 128x128, 10 bands, float32.

    python -m benchmarks.utae_step

The reference of the ratio is the same network through the platform's own convolution, in the same run.
"""

import sys

import jax
import jax.numpy as jnp

from benchmarks.timing import measure
from configs import pastis
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.models.encoders.utae import UTAE
from omnisat_jax.models.layers import blocks as layers
from omnisat_jax.ops import convolution


def main():
    model = schema.parse(pastis.get_config("hd")).model
    module = UTAE(model.utae, model.ltae, model.width, 4)
    inputs = (
        jax.random.normal(jax.random.key(0), (1, 24, 128, 128, 10)),
        jnp.arange(24, dtype=jnp.int32)[None] * 15,
        jnp.ones((1, 24), bool),
    )
    variables = module.init(jax.random.key(1), *inputs, train=False)

    def make_step():
        """A new function each time: JAX would take the program of the same one from its cache."""

        def loss(variables):
            tokens, features = module.apply(variables, *inputs, train=False)
            return (tokens**2).mean() + (features**2).mean()

        return jax.value_and_grad(loss)

    ours = measure(make_step(), variables)
    layers.conv2d = convolution.direct
    theirs = measure(make_step(), variables)
    print(f"device {jax.devices()[0].device_kind}, jax {jax.__version__}")
    for name, (seconds, memory, compiling) in (("ops.convolution", ours), ("lax.conv", theirs)):
        print(f"{name:16s} {seconds:7.2f} s a step  {memory:7.0f} MiB temporary  {compiling:5.1f} s to compile")
    print(f"ratio of times (lax.conv / ours): {theirs[0] / ours[0]:.2f}")


if __name__ == "__main__":
    sys.exit(run_command(main))
