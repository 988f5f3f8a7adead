"""Where the parameters of every full-size recipe lie, pinned: a change of rules or names that moves one must be meant.

UPDATE_SHARDING=1 python -m pytest -m "" tests/parallel/test_sharding.py writes the file anew.
"""

import functools
import json
import math
import os
import pathlib

import jax
import numpy as np
import pytest

from configs import flair, pastis, treesat
from omnisat_jax.config import schema
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.models.registry import make_model
from omnisat_jax.parallel import mesh as meshes, rules
from omnisat_jax.records.nominal import nominal
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.build import make_task
from omnisat_jax.train.trainer import Trainer
from tests.conftest import ROOT

GOLDEN = pathlib.Path(__file__).with_name("sharding.json")
RECIPES = {f"pastis:hd,{row}": (pastis, f"hd,{row}") for row in pastis.ROWS} | {
    "pastis:xl": (pastis, "xl"),
    "treesat:full": (treesat, "full"),
    "flair:full": (flair, "full"),
}
PRETRAINED = [f"pastis:hd,{row}" for row in ("omnisat", "omnisat_resnet", "published", "satclip", "skysense")] + [
    "treesat:full",
    "flair:full",
]
FSDP = 4
PLAIN = ("pastis:hd,omnisat", "treesat:full")
PINNED = [(name, "finetune") for name in RECIPES if name != "pastis:xl"] + [(name, "pretrain") for name in PRETRAINED]


@functools.cache
def parameters(name, stage="finetune"):
    """{path: shape} of the parameters of a recipe's stage."""
    module, preset = RECIPES[name]
    settings = schema.parse(module.get_config(preset))
    records = nominal(settings.data.dataset)
    input_spec = resolve_input_spec(settings, records)
    model = make_model(input_spec.specs, settings, len(input_spec.classes), input_spec.label_patch, np.float32)
    statistics = {s.name: {"mean": np.zeros(s.channels), "std": np.ones(s.channels)} for s in input_spec.specs}
    task = make_task(stage, settings, model, statistics, LabelInfo(input_spec.classes, records.ignore))
    mesh = meshes.make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])
    trainer = Trainer(task, getattr(settings, stage), input_spec.train.abstract(1), mesh, fsdp_min_size=0)
    found = jax.tree_util.tree_flatten_with_path(trainer.abstract_state.params)[0]
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in found}


def cut(name, stage):
    """{parameter: spec} of what is cut over four devices when parameters of 2**16 elements and more are, and the count of the rest."""
    specs = {path: list(rules.partition_spec(path, shape, FSDP, 2**16)) for path, shape in parameters(name, stage).items()}
    return {key: spec for key, spec in specs.items() if spec} | {"copied": sum(not spec for spec in specs.values())}


@pytest.mark.parametrize(
    ("name", "stage"), [pair if pair[0] in PLAIN else pytest.param(*pair, marks=pytest.mark.exhaustive) for pair in PINNED]
)
def test_specs_are_pinned(name, stage):
    known = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    key, found = f"{name} {stage}", cut(name, stage)
    if os.environ.get("UPDATE_SHARDING"):
        GOLDEN.write_text(json.dumps(known | {key: found}, indent=1, sort_keys=True) + "\n")
    else:
        assert found == known[key]


@pytest.mark.parametrize("row", [row if f"pastis:hd,{row}" in PLAIN else pytest.param(row, marks=pytest.mark.exhaustive) for row in pastis.ROWS])
def test_the_page_of_methods_states_the_parameters(row):
    count = sum(math.prod(shape) for shape in parameters(f"pastis:hd,{row}").values())
    stated = [line for line in (ROOT / "docs" / "methods.md").read_text().splitlines() if line.startswith(f"| `{row}`")]
    assert len(stated) == 1 and f"| {count:,} |" in stated[0], f"docs/methods.md must say {count:,} parameters of {row}"


def test_the_largest_recipe_is_cut_over_the_devices_that_it_names():
    settings = schema.parse(pastis.get_config("xl"))
    sizes = {path: math.prod(shape) for path, shape in parameters("pastis:xl").items()}
    blocks = sum(size for path, size in sizes.items() if path.startswith("fusion/block"))
    assert 300e6 < blocks < 305e6  # those of a ViT-L, 24 blocks of 12.6 million
    fsdp, smallest = settings.mesh.fsdp, settings.mesh.fsdp_min_size
    whole = sum(sizes[path] for path, shape in parameters("pastis:xl").items() if not list(rules.partition_spec(path, shape, fsdp, smallest)))
    assert whole < 0.02 * sum(sizes.values())


def test_small_and_odd_parameters_are_copied():
    assert rules.partition_spec("a/kernel", (512, 256), 4, 2**16) == jax.sharding.PartitionSpec("fsdp")
    assert rules.partition_spec("a/kernel", (255, 512), 4, 2**16) == jax.sharding.PartitionSpec(None, "fsdp")
    for path, shape in (("a/kernel", (8, 8)), ("a/kernel", (511, 257)), ("a/bias", (2**20,))):
        assert rules.partition_spec(path, shape, 4, 2**16) == jax.sharding.PartitionSpec()
