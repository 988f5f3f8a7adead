"""Whole runs at tiny size on the simulated counterpart of every dataset but PASTIS, which all other tests use."""

import pytest

from configs import base, flair, treesat
from tests.conftest import go, tiny


def shrunk(config, tmp_path):
    """As small as the other tests' configurations."""
    levels = len(config.model.utae.encoder_widths)
    config.model = tiny().model
    config.model.utae.encoder_widths = config.model.utae.decoder_widths = (8, 12)[:levels]
    config.mesh.data = 1
    config.pretrain.steps = 0  # tests/models/test_recipes.py traces it
    config.finetune.modality_dropout = config.segmentation.unimodal_weight = 0.0  # other datasets, not other losses
    config.model.head.unimodal = "none"
    config.data.cache_dir = str(tmp_path / "cache")
    config.eval.batch_size, config.eval.panels, config.eval.calibrate = 2, 1, False  # temperatures: test_calibration.py
    for stage in (config.pretrain, config.finetune):
        stage.steps, stage.batch_size = min(stage.steps, 2), 2
        stage.log_every, stage.eval_every, stage.save_every = 1, 0, 2
    for modality in config.modalities.values():
        if modality.kind == "series":
            modality.dates_train, modality.dates_eval = 3, 4
    return config


@pytest.mark.parametrize(
    ("preset", "subsets"),
    [
        ("small", ["aerial+s2", "aerial", "s2"]),
        pytest.param("aerial_only", ["aerial"], marks=pytest.mark.exhaustive),
        pytest.param("s2_only", ["s2"], marks=pytest.mark.exhaustive),
    ],
)
def test_flair(preset, subsets, tmp_path, console):
    config = shrunk(flair.get_config(preset), tmp_path)
    config.data.simulated.tiles, config.data.simulated.tile_size, config.data.crop = 12, 128, 0
    config.data.nomenclature = "13"
    results = go(config, tmp_path / "run", console)
    about = results["protocol"]
    assert ["+".join(entry["modalities"]) for entry in results["subsets"]] == subsets
    assert about["simulated"] and about["protocol"] == "fixed" and about["test_tiles"] == 4
    assert len(about["classes"]) == 13 and about["unscored"] == ["Other"]
    # Every pixel of the four test tiles is scored, as nothing is void under this nomenclature.
    assert results["subsets"][0]["scores"]["pixels"] == 4 * 128 * 128
    assert "not in the mean: Other" in (tmp_path / "run" / "results.md").read_text()


@pytest.mark.exhaustive
def test_treesat(tmp_path, console):
    config = treesat.get_config()
    config.modalities.location = base.modality(kind="location", channels=2, resolution=60.0, patch=1, encoder="location")
    config = shrunk(config, tmp_path)
    config.data.simulated.tiles = 10
    results = go(config, tmp_path / "run", console)
    assert results["protocol"]["simulated"] and results["subsets"][0]["scores"]["tiles"] == 2
    assert len(results["subsets"]) == 31  # of four sensors and the location
