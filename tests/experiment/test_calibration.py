"""The temperature of a whole run: it is fitted in one pass over the validation tiles, and changes no score."""

import json
import shutil
import types

import pytest

from omnisat_jax.experiment import calibration
from omnisat_jax.train.batches import RunBatches
from tests.conftest import QUICK_RUN, go, tiny

GONE = {"two": ("s1a", "s1d"), "one": ("s1a", "s1d", "spot")}


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize(("preset", "modalities"), [pytest.param("demo", "two", marks=pytest.mark.exhaustive), ("demo", "one"), pytest.param("tile_f1", "one", marks=pytest.mark.exhaustive)])
def test_calibration_changes_no_score(preset, modalities, simulated, cache, tmp_path, console, monkeypatch):
    config = tiny(preset, **{"data.raw_dir": str(simulated), "data.cache_dir": str(cache), "pretrain.steps": 0, "finetune.steps": 2} | QUICK_RUN)
    config.finetune.eval_every, config.eval.calibrate = 0, True
    for name in GONE[modalities]:
        if name in config.modalities:
            del config.modalities[name]
    go(config, tmp_path / "run", console, stage="finetune")
    shutil.copytree(tmp_path / "run", tmp_path / "plain")
    read, evaluation = [], RunBatches.evaluation
    monkeypatch.setattr(RunBatches, "evaluation", lambda self, parts, *rest: read.append(parts) or evaluation(self, parts, *rest))
    found = go(config, tmp_path / "run", console)
    split = found["protocol"]
    assert read == [split["validation"], split["test"]]
    config.eval.calibrate = False
    plain = go(config, tmp_path / "plain", console)
    assert read[2:] == [split["test"]] and "temperature_scaling" not in plain

    scaling = found["temperature_scaling"]
    assert {key: value for key, value in found.items() if key != "temperature_scaling"} == plain
    assert scaling["validation"] == list(split["validation"]) and 0.25 <= scaling["temperature"] <= 4 and scaling["predictions"] > 0
    if scaling["remark"] == "":  # no promise for other tiles than those of the fit, but here they are of one kind
        assert scaling["after"]["nll"] < scaling["before"]["nll"]
    scores = found["subsets"][0]["scores"]
    if "ece" in scores:
        assert scaling["before"]["ece"] == pytest.approx(scores["ece"], rel=1e-5) and scaling["predictions"] == scores["pixels"]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["calibration"] == {"temperature": scaling["temperature"], "remark": scaling["remark"]}
    for name in ("results.md", "report.html"):
        assert f"Temperature: {scaling['temperature']:.3f}" in (tmp_path / "run" / name).read_text()

    # Evaluated again, it is the same to the last digit.
    shutil.rmtree(tmp_path / "run" / "evaluate")
    config.eval.calibrate = True
    assert go(config, tmp_path / "run", console) == found
    assert results_of(tmp_path / "run") == json.loads(json.dumps(found))


def test_without_a_validation_part_none_is_fitted():
    context = types.SimpleNamespace(split=types.SimpleNamespace(validation=()))
    found = calibration.fit_to_validation(context, None, None, None, None)
    assert found.value == 1.0 and found.remark == "The run has no validation part, so none is fitted"
