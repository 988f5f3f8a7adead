"""Time and memory of one pre-training step and one fine-tuning step of the demo: tiles of 32 px, four modalities.

    python -m benchmarks.pretrain_step [--preset=demo] [--side=32]

Measured: the whole compiled training step, from a batch on the device to the updated state. The images are ones, as the time does not depend
on their values. `configs/pastis.py` sets the number of tiles per step.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
from omnisat_jax.train.step import TrainState, create_state, make_step

DTYPES = {"s2": "int16", "s1a": "float32", "s1d": "float32", "spot": "uint8"}
LABEL_RESOLUTION = 10.0  # meters per pixel
CLASSES = tuple(map(str, range(19)))


class Stage(NamedTuple):
    """A stage of training without data.

    Attributes:
      task: of the stage.
      optimizer: of the stage.
      arguments: (state, batch, root key) of its training step; the batch is all ones.
    """

    task: Any
    optimizer: optax.GradientTransformation
    arguments: tuple[TrainState, Any, jax.Array]


def make_stage(config: schema.ExperimentConfig, name: str, side: int) -> Stage:
    """Makes a stage on tiles of PASTIS-HD.

    Args:
      config: of the experiment.
      name: of the stage, "pretrain" or "finetune".
      side: label pixels per side of a tile.
    """
    specs, stage_config = config.modalities, getattr(config, name)
    sides = {spec.name: round(side * LABEL_RESOLUTION / spec.resolution) for spec in specs}
    layouts = (ModalityLayout(s.name, s.dates_train, (sides[s.name], sides[s.name], s.channels), DTYPES[s.name]) for s in specs)
    layout = BatchLayout(tuple(layouts), (side, side), "uint8")
    statistics = {spec.name: {"mean": np.zeros(spec.channels), "std": np.ones(spec.channels)} for spec in specs}
    model = make_model(specs, config, len(CLASSES), 4, jnp.float32)
    task = make_task(name, config, model, statistics, LabelInfo(CLASSES, len(CLASSES)))
    batch = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), layout.abstract(stage_config.batch_size))
    optimizer, root = make_optimizer(stage_config), jax.random.key(0)
    state = jax.jit(lambda batch: create_state(task, optimizer, root, batch))(batch)
    return Stage(task, optimizer, (state, batch, root))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line per stage."""
    parser = Parser(prog="python -m benchmarks.pretrain_step", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo", help="of configs/pastis.py")
    parser.add_argument("--side", type=int, default=32, help="label pixels per side of a tile")
    options = parser.parse_args(arguments)
    config = schema.parse(pastis.get_config(options.preset))
    print(device())
    for name in ("pretrain", "finetune"):
        stage_config = getattr(config, name)
        if not stage_config.steps:
            continue
        stage = make_stage(config, name, options.side)
        measured = measure(make_step(stage.task, stage.optimizer), *stage.arguments)
        print(
            f"{name:8s} {stage_config.batch_size} tiles: {measured.seconds:5.2f} s per step "
            f"({stage_config.batch_size / measured.seconds:4.1f} tiles/s)  {measured.temporary_mib:6.0f} MiB temporary  "
            f"{measured.compile_seconds:5.1f} s to compile"
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
