"""Every method by name: trains, evaluates and leaves a model, at tiny size."""

import math

import pytest

from configs import pastis
from omnisat_jax.config import schema
from omnisat_jax.config.constraints import ConfigError
from omnisat_jax.inference.model_folder import load_model
from tests.conftest import go, tiny

# omnisat_resnet is what the demo is made of: test_experiment.py runs it.
MODALITIES = {
    "utae": ["s2"],
    "utae_s1": ["s1a"],
    "early": ["s1a", "s2"],
    "late": ["s1a", "s2"],
    "dual": ["s1a", "s2"],
    "omnisat": ["s1a", "s2", "spot"],
    "published": ["s1a", "s2", "spot"],
    "published,no_s1": ["s2", "spot"],
    "satclip": ["location", "s1a", "s2", "spot"],
    "skysense": ["s1a", "s2", "spot"],
}


def quick(simulated, cache, preset):
    config = tiny(preset, **{"data.raw_dir": str(simulated), "data.cache_dir": str(cache)})
    if "s1d" in config.modalities:
        del config.modalities["s1d"]  # a program less to compile; the demo itself runs with all in test_experiment.py
    for stage in (config.pretrain, config.finetune):
        stage.steps = min(stage.steps, 2)
        stage.eval_every = 0
    config.eval.calibrate = False  # test_calibration.py
    return config


def test_every_row_is_tried():
    assert {name.split(",")[0] for name in MODALITIES} | {"omnisat_resnet"} == {*pastis.ROWS}


@pytest.mark.parametrize("row", [row if row == "published,no_s1" else pytest.param(row, marks=pytest.mark.exhaustive) for row in MODALITIES])
def test_row_runs_end_to_end(row, simulated, cache, tmp_path, console):
    config = quick(simulated, cache, row)
    results = go(config, tmp_path / "run", console)
    assert results["subsets"][0]["modalities"] == MODALITIES[row]
    assert len(results["subsets"]) == 2 ** len(MODALITIES[row]) - 1
    name = row.split(",")[0]
    key = "f1_macro" if name == "published" else "miou"
    assert all(math.isfinite(entry["scores"][key]) for entry in results["subsets"])
    if name == "published":
        labels_of_tiles(results)
    pretrained = name not in ("utae", "utae_s1", "early", "late", "dual")
    assert (tmp_path / "run" / "pretrain").is_dir() == pretrained
    assert type(load_model(tmp_path / "run" / "model").module).__name__ == {
        "published": "PublishedOmniSat", "skysense": "SkySense", "early": "EarlyFusion", "dual": "DualStream",
        "utae": "LateFusion", "utae_s1": "LateFusion", "late": "LateFusion",
    }.get(name, "OmniSat")  # fmt: skip


@pytest.mark.exhaustive  # of the rows, the published model scores them
def test_tile_labels_from_dense_ones(simulated, cache, tmp_path, console):
    """Any row can score labels of tiles."""
    labels_of_tiles(go(quick(simulated, cache, "utae,tile_f1"), tmp_path / "run", console))


def labels_of_tiles(results):
    """They are made from dense ones: 18 classes, without background and void."""
    assert results["protocol"]["protocol"] == "tile_f1" and len(results["protocol"]["classes"]) == 18
    assert "Background" not in results["protocol"]["classes"]


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        ("late", {"pretrain.steps": 5}, "has no pre-training"),
        ("published", {"task": "segment", "data.protocol": "auto"}, "has no dense head"),
        ("demo", {"model.architecture": "early"}, "takes series only, found spot"),
        ("demo", {"data.protocol": "tile_f1"}, "set task to 'classify'"),
        ("demo", {"contrastive.granularities": ("patch", "field")}, "contrastive.granularities: expected 1 to 3 entries, all different, each one of pixel, patch, tile"),
        ("demo", {"contrastive.weight": 0.0}, "nothing to learn"),
        ("demo", {"eval.monitor_tiles": -3}, "eval.monitor_tiles: expected a whole number"),
        ("demo", {"contrastive.views": ("s3",)}, "must name configured modalities, found s3"),
        ("demo", {"reconstruction.mask_ratio": 1.0}, "reconstruction.mask_ratio: expected a number from 0 to below 1"),
    ],
)
def test_what_cannot_be_run_is_refused(preset, changes, message):
    with pytest.raises(ConfigError, match=message):
        schema.parse(tiny(preset, **changes))


@pytest.mark.parametrize(
    ("preset", "kind"),
    [
        pytest.param("demo,no_s1", "linear", marks=pytest.mark.exhaustive),
        ("utae", "knn"),
        pytest.param("published,no_s1", "linear", marks=pytest.mark.exhaustive),
        pytest.param("published,no_s1", "knn", marks=pytest.mark.exhaustive),
    ],
)
def test_frozen_tokens_are_probed(preset, kind, simulated, cache, tmp_path, console):
    config = quick(simulated, cache, preset)
    config.eval.probe = kind
    results = go(config, tmp_path / "run", console)
    key = "miou" if config.task == "segment" else "f1_macro"
    floor = results.get("floor")
    assert (floor is None) == (preset == "utae")  # without pre-training the random weights are all there is
    assert results["protocol"]["probe"] == kind and not (tmp_path / "run" / "finetune").exists()
    for entry in results["subsets"] + (floor or []):
        assert math.isfinite(entry["scores"][key])
        assert config.task != "segment" or entry["parcels"]["scores"]["parcels"] > 0
    if floor:
        assert [entry["scores"] for entry in floor] != [entry["scores"] for entry in results["subsets"]]
    text = (tmp_path / "run" / "results.md").read_text()
    assert f"{kind} probe fitted with all modalities" in text and ("random weights" in text) == bool(floor)
    assert ("a prediction of every label for every tile scores" in text) == (config.task == "classify")
