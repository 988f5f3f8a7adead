"""Time and memory of one pre-training step and one fine-tuning step of the demo: tiles of 32 px, four modalities.

    python -m benchmarks.pretrain_step [--preset=demo] [--side=32]

Measured: the whole compiled training step, from a batch on the device to the updated state. The images are ones, as the time does not depend
on their values. `configs/pastis.py` sets the number of tiles per step.
"""

import argparse
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import device, measure
from configs import pastis
from omnisat_jax.batch import BatchLayout, ModalityLayout
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.models.registry import make_model
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.build import make_task
from omnisat_jax.train.step import create_state, make_step

DTYPES = {"s2": "int16", "s1a": "float32", "s1d": "float32", "spot": "uint8"}
LABEL_RESOLUTION = 10.0  # metres per pixel
CLASSES = tuple(map(str, range(19)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line per stage."""
    parser = Parser(prog="python -m benchmarks.pretrain_step", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo", help="of configs/pastis.py")
    parser.add_argument("--side", type=int, default=32, help="label pixels per side of a tile")
    options = parser.parse_args(arguments)
    config = schema.parse(pastis.get_config(options.preset))
    specs = config.modalities
    sides = {spec.name: round(options.side * LABEL_RESOLUTION / spec.resolution) for spec in specs}
    layouts = (ModalityLayout(s.name, s.dates_train, (sides[s.name], sides[s.name], s.channels), DTYPES[s.name]) for s in specs)
    layout = BatchLayout(tuple(layouts), (options.side, options.side), "uint8")
    statistics = {spec.name: {"mean": np.zeros(spec.channels), "std": np.ones(spec.channels)} for spec in specs}
    model = make_model(specs, config, len(CLASSES), 4, jnp.float32)
    print(device())
    for name in ("pretrain", "finetune"):
        stage_config = getattr(config, name)
        if not stage_config.steps:
            continue
        task = make_task(name, config, model, statistics, LabelInfo(CLASSES, len(CLASSES)))
        batch = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), layout.abstract(stage_config.batch_size))
        optimizer, root = make_optimizer(stage_config), jax.random.key(0)
        state = jax.jit(lambda batch: create_state(task, optimizer, root, batch))(batch)  # noqa: B023
        measured = measure(make_step(task, optimizer), state, batch, root)
        print(
            f"{name:8s} {stage_config.batch_size} tiles: {measured.seconds:5.2f} s per step "
            f"({stage_config.batch_size / measured.seconds:4.1f} tiles/s)  {measured.temporary_mib:6.0f} MiB temporary  "
            f"{measured.compile_seconds:5.1f} s to compile"
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
