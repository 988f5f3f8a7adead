"""A run that an earlier version started, with other names of keys, goes on as if nothing had happened."""

import json
import shutil

import pytest

from omnisat_jax.config import schema
from omnisat_jax.config.versions import RENAMED, RENAMED_GROUPS
from tests.conftest import QUICK_RUN, go, tiny

SPELT = {
    "contrast.granularity": "+".join,
    "contrast.scope": lambda size: f"group:{size}" if size else "global",
}


def earlier(flat):
    """A flat configuration as the version before the renaming wrote it."""
    names = {new: old for old, new in RENAMED.items()}
    groups = {new: old for old, new in RENAMED_GROUPS.items()}
    found = {}
    for key, value in flat.items():
        group, dot, rest = key.partition(".")
        old = names.get(key, f"{groups.get(group, group)}{dot}{rest}")
        found[old] = SPELT[old](value) if old in SPELT else value
    return found


@pytest.fixture
def config(simulated, tmp_path):
    changes = {"contrastive.group_size": 2, "contrastive.fused": True, "contrastive.granularities": ("patch", "tile"), "pretrain.num_microbatches": 2}
    config = tiny(**{"data.raw_dir": str(simulated), "data.cache_dir": str(tmp_path / "cache")} | QUICK_RUN | changes)
    for name in ("s1d", "spot"):
        del config.modalities[name]
    config.pretrain.batch_size = 4
    for stage in (config.pretrain, config.finetune):
        stage.steps, stage.eval_every, stage.save_every = 2, 0, 1
    return config


def test_the_earlier_names_are_others(config):
    flat = schema.flatten(schema.parse(config))
    old = earlier(flat)
    assert old["contrast.granularity"] == "patch+tile" and old["contrast.scope"] == "group:2" and old["pretrain.parts"] == 2
    assert old["model.assembly"] == "omnisat" and not [key for key in old if key.startswith("contrastive.")]


@pytest.mark.exhaustive
def test_a_run_goes_on_under_present_names(config, tmp_path, console):
    go(config, tmp_path / "run", console, stage="pretrain")
    shutil.copytree(tmp_path / "run", tmp_path / "old")
    for name in ("config.json", "run.json"):
        path = tmp_path / "old" / name
        content = json.loads(path.read_text())
        content = content | {"config": earlier(content["config"])} if name == "run.json" else earlier(content)
        path.write_text(json.dumps(content))
    # In the middle of a stage, too: the last step of pre-training is taken again.
    for folder in ("run", "old"):
        (tmp_path / folder / "pretrain" / "done.json").unlink()
        shutil.rmtree(tmp_path / folder / "pretrain" / "checkpoints" / "2")
    expected = go(config, tmp_path / "run", console)
    assert go(config, tmp_path / "old", console)["subsets"] == expected["subsets"]
    marks = [json.loads((tmp_path / folder / "finetune" / "done.json").read_text()) for folder in ("run", "old")]
    assert marks[0] == marks[1]
    (tmp_path / "old" / "config.json").unlink()  # made again from run.json
    assert go(config, tmp_path / "old", console)["subsets"] == expected["subsets"]
