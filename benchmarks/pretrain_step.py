"""Time and memory of one pre-training step of the demo (tiles of 32 px, four modalities), and of its fine-tuning step.

    python -m benchmarks.pretrain_step

Ones stand for the images: the work does not depend on their values. `configs/pastis.py` says how many tiles a step has.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import measure
from configs import pastis
from omnisat_jax.batch import BatchLayout, Layout
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.models.registry import make_model
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.build import make_task
from omnisat_jax.train.step import create_state, make_step

SIDES = {"s2": 32, "s1a": 32, "s1d": 32, "spot": 320}
DTYPES = {"s2": "int16", "s1a": "float32", "s1d": "float32", "spot": "uint8"}


def main():
    settings = schema.parse(pastis.get_config())
    specs = settings.modalities
    layout = BatchLayout(
        tuple(Layout(s.name, s.dates_train, (SIDES[s.name], SIDES[s.name], s.channels), DTYPES[s.name]) for s in specs),
        (32, 32),
        "uint8",
    )
    statistics = {s.name: {"mean": np.zeros(s.channels), "std": np.ones(s.channels)} for s in specs}
    model = make_model(specs, settings, 19, 4, jnp.float32)
    classes = tuple(map(str, range(19)))
    print(f"device {jax.devices()[0].device_kind}, jax {jax.__version__}")
    for name in ("pretrain", "finetune"):
        task = make_task(name, settings, model, statistics, LabelInfo(classes, 19))
        stage = getattr(settings, name)
        batch = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), layout.abstract(stage.batch_size))
        optimizer, root = make_optimizer(stage), jax.random.key(0)
        state = jax.jit(lambda batch: create_state(task, optimizer, root, batch))(batch)  # noqa: B023
        seconds, memory, compiling = measure(make_step(task, optimizer), state, batch, root)
        print(
            f"{name:8s} {stage.batch_size} tiles: {seconds:5.2f} s a step ({stage.batch_size / seconds:4.1f} tiles/s)  "
            f"{memory:6.0f} MiB temporary  {compiling:5.1f} s to compile"
        )


if __name__ == "__main__":
    sys.exit(run_command(main))
