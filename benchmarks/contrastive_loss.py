"""Time and memory of the contrastive loss and its gradient on one device: the ring against the dense form, in one run.

    python -m benchmarks.contrastive_loss [--tiles=1,4,16] [--patches=1024] [--limit_mib=2048]

A row is one patch of one tile in one view; the default measures three views of 1, 4 and 16 PASTIS-HD tiles (1,024 patches each) with embeddings
of 128 numbers. The last line is the largest number of rows, by doubling, whose temporary memory stays below the limit; it is compiled, not run.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from benchmarks.timing import device, measure, temporary_mib
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.losses.infonce import infonce_loss
from omnisat_jax.losses.infonce_ring import ring_infonce_loss
from omnisat_jax.parallel.mesh import make_mesh

VIEWS, WIDTH, TEMPERATURE = 3, 128, 0.1
MAX_LOGITS = 4 * 2**30  # bytes; the dense form is not run with more

Loss = Callable[..., tuple[jax.Array, ...]]


def value_and_gradient(loss: Loss) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """(z, present) -> (loss, its gradient to z)."""
    return lambda z, present: jax.value_and_grad(lambda z: loss(z, present, TEMPERATURE)[0])(z)


def make_inputs(tiles: int, patches: int) -> tuple[jax.Array, jax.Array]:
    """Random unit vectors (VIEWS,tiles,patches,WIDTH), and which views are present (VIEWS,tiles): all."""
    z = jax.random.normal(jax.random.key(0), (VIEWS, tiles, patches, WIDTH))
    return z / jnp.linalg.norm(z, axis=-1, keepdims=True), jnp.ones((VIEWS, tiles), bool)


def planned_mib(step: Callable, tiles: int, patches: int) -> float:
    """MiB of temporary memory of the compiled step."""
    z, present = jax.eval_shape(functools.partial(make_inputs, tiles, patches))
    return temporary_mib(jax.jit(step).lower(z, present).compile())


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line per number of tiles, then the largest number of rows."""
    parser = Parser(prog="python -m benchmarks.contrastive_loss", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", default="1,4,16", help="comma-separated")
    parser.add_argument("--patches", type=int, default=1024, help="per tile")
    parser.add_argument("--limit_mib", type=float, default=2048)
    options = parser.parse_args(arguments)
    mesh = make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])
    ring, dense = value_and_gradient(functools.partial(ring_infonce_loss, mesh=mesh)), value_and_gradient(infonce_loss)
    print(device())
    tiles = 1
    for tiles in map(int, options.tiles.split(",")):
        rows = VIEWS * tiles * options.patches
        inputs = make_inputs(tiles, options.patches)
        measured = measure(ring, *inputs)
        line = f"{rows:6d} rows: ring {measured.seconds:7.3f} s {measured.temporary_mib:8.1f} MiB"
        if 4 * rows**2 < MAX_LOGITS:
            reference = measure(dense, *inputs)
            line += f"   dense {reference.seconds:7.3f} s {reference.temporary_mib:8.1f} MiB   ratios dense / ring: "
            line += f"time {reference.seconds / measured.seconds:.1f}, memory {reference.temporary_mib / measured.temporary_mib:.1f}"
        else:
            line += f"   dense not run: its logits alone are {4 * rows**2 / 2**30:.1f} GiB"
        print(line, flush=True)
    while planned_mib(ring, 2 * tiles, options.patches) < options.limit_mib:
        tiles *= 2
    print(
        f"ring: {VIEWS * tiles * options.patches:,} rows plan {planned_mib(ring, tiles, options.patches):.1f} MiB; "
        f"twice as many plan {options.limit_mib:g} MiB or more"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
