"""Small training steps on any devices, for the tests that need one."""

import dataclasses
import functools

import jax

from omnisat_jax.batch import check_batch
from omnisat_jax.config import schema
from omnisat_jax.input import pipeline
from omnisat_jax.input.device import put
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.models.registry import make_model
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.finetune import Segment
from omnisat_jax.tasks.pretrain import Pretrain
from omnisat_jax.tasks.terms.registry import make_terms
from omnisat_jax.train.trainer import Trainer
from tests.conftest import tiny

PARTS = ("fold_1", "fold_2", "fold_3", "fold_4")


def bench(records, batch_size, preset="demo", without=(), **changes):
    """(settings, task by name, one host batch) of the tiny configuration with `changes` and without some modalities."""
    config = tiny(preset, **changes)
    for name in without:
        del config.modalities[name]
    settings = schema.parse(config)
    a = resolve_input_spec(settings, records.info)
    model = make_model(a.specs, settings, 19, a.label_patch, jax.numpy.float32)
    statistics = records.statistics(PARTS)
    tasks = {
        "pretrain": Pretrain(model, statistics, make_terms(settings, model.specs), 0.3),
        "finetune": Segment(model, statistics, LabelInfo(records.classes, 19), 0.3),
    }
    transform = MakeBatch(a.train, a.grid, a.crop, settings.data.origin, True, True, 19)
    batch = next(iter(pipeline.training(records.source(PARTS), transform, seed=0, batch_size=batch_size)))
    check_batch(batch, a.train, batch_size)
    return settings, tasks, batch


def start(settings, task, batch, layout=(1, 1, 1), min_size=2**20):
    """(fresh state, jitted step, batch on its devices, root key) with the optimizer of settings.finetune; layout: devices, replica, fsdp."""
    devices, replica, fsdp = layout
    mesh = meshes.make_mesh(schema.MeshConfig(replica, -1, fsdp, min_size), jax.devices()[:devices])
    if isinstance(task, Pretrain) and devices > 1:
        task = dataclasses.replace(task, terms=make_terms(settings, task.model.specs, mesh))
    trainer = Trainer(task, dataclasses.replace(settings.finetune, steps=50, warmup=0.1), batch, mesh, min_size)
    root = jax.random.key(0)
    step = functools.partial(trainer.train_step, statistics=trainer.statistics)
    return trainer.init(root), step, put(batch, meshes.batch_sharding(mesh)), root
