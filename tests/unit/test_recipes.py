"""Every recipe builds and traces at its own size; nothing is computed."""

import types

import jax
import numpy as np
import pytest

from configs import pastis, treesat
from omnisat_jax import schema
from omnisat_jax.input.layouts import agree
from omnisat_jax.input.records import Stored
from omnisat_jax.models.build import make_model
from omnisat_jax.optim.optimizer import make_optimizer
from omnisat_jax.tasks.finetune import Classify, Segment
from omnisat_jax.tasks.pretrain import Pretrain
from omnisat_jax.train.step import create_state, make_step
from tests.conftest import ROOT


def stored(size, image, image_name, bands, radar, dates):
    series = {"s2": (10, "int16"), "s1a": (radar, "float32"), "s1d": (radar, "float32")}
    modalities = {name: Stored("series", (size, size, count), dtype, dates) for name, (count, dtype) in series.items()}
    modalities |= {image_name: Stored("image", (image, image, bands), "uint8", 1)}
    return modalities | {"location": Stored("location", (2,), "float32", 1)}


RECIPES = {
    **{f"pastis:hd,{row}": (pastis, f"hd,{row}", stored(128, 1280, "spot", 3, 3, 71), 19) for row in (*pastis.ROWS, "masked")},
    "pastis:demo": (pastis, "demo", stored(32, 320, "spot", 3, 3, 71), 19),
    "pastis:flanders": (pastis, "flanders", stored(32, 320, "spot", 3, 3, 75), 19),
    "treesat:small": (treesat, "small", stored(6, 300, "aerial", 4, 2, 140), 15),
    "treesat:full": (treesat, "full", stored(6, 300, "aerial", 4, 2, 140), 15),
}


METHODS = (ROOT / "docs" / "methods.md").read_text().splitlines()


@pytest.mark.parametrize("name", RECIPES)
def test_both_steps_trace(name):
    module, preset, modalities, classes = RECIPES[name]
    settings = schema.parse(module.get_config(preset))
    records = types.SimpleNamespace(
        modalities=modalities,
        task="segment" if module is pastis else "classify",
        classes=tuple(map(str, range(classes))),
        background=0 if module is pastis else -1,
        label_side=modalities["s2"].shape[0] if module is pastis else 0,
        about={"source": "nowhere"},
    )
    a = agree(settings, records)
    classes = len(a.classes)
    model = make_model(a.specs, settings, classes, a.label_patch, np.float32)
    statistics = {s.name: {"mean": np.zeros(s.channels), "std": np.ones(s.channels)} for s in a.specs}
    common = (model, statistics, a.classes, settings.finetune.modality_dropout)
    finetune = Segment(*common, ignore=19) if settings.task == "segment" else Classify(*common)
    stages = {"pretrain": Pretrain(model, statistics, 0.3, settings.reconstruction)} if settings.pretrain.steps else {}
    for stage, task in (stages | {"finetune": finetune}).items():
        stage_settings = getattr(settings, stage)
        batch = a.train.abstract(stage_settings.batch_size)
        optimizer, root = make_optimizer(stage_settings), jax.random.key(0)
        state = jax.eval_shape(lambda batch, task=task, o=optimizer: create_state(task, o, jax.random.key(0), batch), batch)
        after, metrics = jax.eval_shape(make_step(task, optimizer, root), state, batch)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
        assert metrics["loss"].shape == () and metrics["loss"].dtype == np.float32
    if name.startswith("pastis:hd,") and name != "pastis:hd,masked":
        row, count = name.split(",")[1], sum(x.size for x in jax.tree.leaves(state.params))
        stated = [line for line in METHODS if line.startswith(f"| `{row}`")]
        assert len(stated) == 1 and f"| {count:,} |" in stated[0], f"docs/methods.md must say {count:,} parameters of {row}"
    out = jax.eval_shape(task.logits, state.params, a.evaluation.abstract(2), np.ones((3, len(a.specs)), bool))
    side = (a.grid * a.label_patch,) * 2 if a.label_patch else ()
    assert out.shape == (3, 2, *side, classes)
