"""Whole runs at tiny size on folders of real imagery, where they are at hand."""

from configs import flair, treesat
from tests.conftest import go, real, tiny


def test_real_pastis_layout(tmp_path, console):
    changes = {
        "data.raw_dir": str(real("pastis_flanders")),
        "data.cache_dir": str(tmp_path / "cache"),
        "data.void_test_parcels": True,
    }
    results = go(tiny(**changes), tmp_path / "run", console)
    assert results["protocol"]["protocol"] == "leave_one_fold_out" and len(results["subsets"]) == 3
    assert results["protocol"]["simulated"] is False


def test_real_pastis_r_with_three_dates(tmp_path, console):
    changes = {"data.raw_dir": str(real("pastis_r_32px")), "data.cache_dir": str(tmp_path / "cache")}
    assert len(go(tiny(**changes), tmp_path / "run", console)["subsets"]) == 7


def test_real_treesat(tmp_path, console):
    config = treesat.get_config()
    small = tiny()
    config.model = small.model
    config.data.raw_dir = str(real("treesatai_ts_mini"))
    config.data.cache_dir = str(tmp_path / "cache")
    config.eval.batch_size = config.pretrain.batch_size = config.finetune.batch_size = 2
    config.pretrain.steps = config.finetune.steps = 2
    for name in ("s2", "s1a", "s1d"):
        config.modalities[name].dates_train = config.modalities[name].dates_eval = 8
    results = go(config, tmp_path / "run", console)
    assert len(results["subsets"]) == 15 and results["subsets"][0]["scores"]["tiles"] == 2
    assert (tmp_path / "run" / "panels.png").stat().st_size > 0


def test_real_flair(tmp_path, console):
    config = flair.get_config()
    config.model = tiny().model
    config.data.raw_dir = str(real("flair_mini"))
    config.data.cache_dir = str(tmp_path / "cache")
    config.data.crop = 64
    config.eval.batch_size = config.pretrain.batch_size = config.finetune.batch_size = 1
    config.pretrain.steps = config.finetune.steps = 2
    results = go(config, tmp_path / "run", console)
    about = results["protocol"]
    assert about["missing_modalities"] == ["s2"] and not about["simulated"] and about["test_tiles"] == 2
    assert len(about["classes"]) == 12 and (tmp_path / "run" / "panels.png").stat().st_size > 0
