"""Memory and time of the contrastive loss with its gradient: dense against the ring, on one device, in one run.

    python -m benchmarks.contrastive [--limit_mib=2048]

A row is one patch of one tile in one view: three views of 1, 4 and 16 PASTIS-HD tiles (1,024 patches), embeddings of 128 numbers. Then the largest
number of rows whose temporaries stay below the limit.
"""

import argparse
import sys

import jax
import jax.numpy as jnp

from benchmarks.timing import measure
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.losses.infonce import infonce_loss
from omnisat_jax.losses.infonce_ring import ring_infonce_loss
from omnisat_jax.parallel.mesh import make_mesh

VIEWS, PATCHES, WIDTH = 3, 1024, 128
TOO_LARGE = 4 * 2**30  # bytes of dense logits beyond which the dense loss is not tried


def gradient(loss):
    """A step as `timing.measure` takes it: (z, present) -> (its gradient, loss)."""

    def step(z, present):
        value, grad = jax.value_and_grad(lambda z: loss(z, present, 0.1)[0])(z)
        return grad, value

    return step


def inputs(tiles):
    """Random unit rows, all present."""
    z = jax.random.normal(jax.random.key(0), (VIEWS, tiles, PATCHES, WIDTH))
    return z / jnp.linalg.norm(z, axis=-1, keepdims=True), jnp.ones((VIEWS, tiles), bool)


def temporaries(step, tiles):
    """MiB of temporaries that the compiled step plans."""
    z, present = jax.eval_shape(lambda: inputs(tiles))
    return jax.jit(step).lower(z, present).compile().memory_analysis().temp_size_in_bytes / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit_mib", type=float, default=2048)
    options = parser.parse_args()
    mesh = make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])
    ring = gradient(lambda *arguments: ring_infonce_loss(*arguments, mesh=mesh))
    dense = gradient(infonce_loss)
    print(f"device {jax.devices()[0].device_kind}, jax {jax.__version__}")
    for tiles in (1, 4, 16):
        rows = VIEWS * tiles * PATCHES
        seconds, memory, _ = measure(ring, *inputs(tiles))
        line = f"{rows:6d} rows: ring {seconds:7.2f} s {memory:8.0f} MiB"
        if 4 * rows**2 < TOO_LARGE:
            dense_seconds, dense_memory, _ = measure(dense, *inputs(tiles))
            line += f"   dense {dense_seconds:7.2f} s {dense_memory:8.0f} MiB"
            line += f"   ratios: time {dense_seconds / seconds:4.1f}, memory {dense_memory / memory:5.1f}"
        else:
            line += f"   dense not tried: its logits alone are {4 * rows**2 / 2**30:.1f} GiB"
        print(line, flush=True)
    tiles = 16
    while temporaries(ring, 2 * tiles) < options.limit_mib:
        tiles *= 2
    print(
        f"ring: {VIEWS * tiles * PATCHES:,} rows plan {temporaries(ring, tiles):.0f} MiB, twice as many more than {options.limit_mib:.0f}"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
