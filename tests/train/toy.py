"""A task of one matrix and one vector, which compiles at once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.train.trainer import Trainer
from tests.conftest import tiny

SAMPLE = {"x": np.zeros((1, 4), np.float32), "weight": np.ones(1, np.float32)}


@dataclasses.dataclass(frozen=True)
class Toy:
    """Predicts noise from `x`."""

    step_name: str = "toy_step"
    best: str = "score"
    higher: bool = True

    statistics = {}

    def with_statistics(self, statistics):
        return self

    def init(self, key, batch):
        return {"kernel": jax.random.normal(key, (batch["x"].shape[1], 2)), "bias": jnp.zeros(2)}

    def loss(self, params, batch, streams):
        out = batch["x"] @ params["kernel"] + params["bias"]
        return ((out - jax.random.normal(streams("noise"), out.shape)) ** 2).mean(), {}


def one_device():
    """A mesh of the first device."""
    return meshes.make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])


def toy_trainer(**changes):
    """A trainer of `Toy` on one device."""
    config = dataclasses.replace(schema.parse(tiny()).finetune, steps=4, batch_size=3, **changes)
    return Trainer(Toy(), config, SAMPLE, one_device(), fsdp_min_size=0)
