"""Every recipe builds and traces at its own size; nothing is computed."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import flair, pastis, treesat
from omnisat_jax.config import schema
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.models.registry import make_model
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.records.nominal import nominal
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.build import make_task
from omnisat_jax.train.trainer import Trainer

ONE_DEVICE = meshes.make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])

def resized(dataset, size, image):
    """The complete dataset's form with tiles of another size."""
    records = nominal(dataset)
    modalities = {
        name: dataclasses.replace(m, shape=(side, side, m.shape[2]))
        for name, m in records.modalities.items()
        if (side := {"series": size, "image": image}.get(m.kind))
    }
    return dataclasses.replace(records, modalities=records.modalities | modalities, label_side=size if records.label_side else 0)


# Steps of the other rows run at tiny size (tests/experiment/test_rows.py).
RECIPES = {
    **{f"pastis:hd,{row}": (pastis, f"hd,{row}", nominal("pastis")) for row in ("omnisat", "published", "skysense")},
    "pastis:demo": (pastis, "demo", resized("pastis", 32, 320)),
    "treesat:small": (treesat, "small", nominal("treesat")),
    "flair:full": (flair, "full", nominal("flair")),
    "treesat:full": (treesat, "full", nominal("treesat")),
}


@pytest.mark.parametrize("name", [name if name == "pastis:demo" else pytest.param(name, marks=pytest.mark.exhaustive) for name in RECIPES])
def test_both_steps_trace(name):
    module, preset, records = RECIPES[name]
    settings = schema.parse(module.get_config(preset))
    a = resolve_input_spec(settings, records)
    model = make_model(a.specs, settings, len(a.classes), a.label_patch, np.float32)
    statistics = {s.name: {"mean": np.zeros(s.channels), "std": np.ones(s.channels)} for s in a.specs}
    for stage in ("pretrain", "finetune"):
        task = make_task(stage, settings, model, statistics, LabelInfo(a.classes, records.ignore))
        trainer = Trainer(task, getattr(settings, stage), a.train.abstract(1), ONE_DEVICE, fsdp_min_size=0)
        state = trainer.abstract_state
        after, metrics = jax.eval_shape(trainer.train_step, state, trainer.abstract_batch, trainer.abstract_root, statistics)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
        assert metrics["loss"].shape == () and metrics["loss"].dtype == np.float32
    out = jax.eval_shape(task.logits, state.params, a.evaluation.abstract(2), np.ones((3, len(a.specs)), bool))
    side = (a.grid * a.label_patch,) * 2 if a.label_patch else ()
    assert out.shape == (3, 2, *side, len(a.classes))
