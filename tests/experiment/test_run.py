"""Whole runs at tiny size on simulated tiles: every stage, resume, refusals."""

import dataclasses
import io
import json
import pathlib
import re
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from data.pastis.simulated import simulate
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.experiment.cross_validation import run_folds
from omnisat_jax.inference.model_folder import load_model
from omnisat_jax.report.contributions import read_parcels
from omnisat_jax.train import stage as stage_training
from omnisat_jax.train.workdir import WorkdirError, cores
from tests.conftest import QUICK_MODEL, QUICK_RUN, go, options, prepare_pastis, tiny


def state_of(folder, stage, step):
    path = pathlib.Path(folder) / stage / "checkpoints" / str(step) / "state"
    return ocp.StandardCheckpointer().restore(path.resolve())


def lines(folder, drop=("examples_per_second", "teraflops")):
    rows = [json.loads(line) for line in (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in drop} for row in rows]


@pytest.fixture
def config(simulated, cache):
    return tiny(**{"data.raw_dir": str(simulated), "data.cache_dir": str(cache)} | QUICK_MODEL)


@pytest.fixture(scope="module")
def finished(simulated, cache, tmp_path_factory):
    """(configuration, folder, results) of a run with a series and an image; rows run with radar in test_rows.py."""
    folder = tmp_path_factory.mktemp("finished")
    config = tiny(**{"data.raw_dir": str(simulated), "data.cache_dir": str(cache), "eval.monitor_tiles": 4} | QUICK_MODEL)
    for name in ("s1a", "s1d"):
        del config.modalities[name]
    return config, folder / "run", go(config, folder / "run", Console(quiet=True))


def test_a_run_writes_everything(finished, console):
    config, folder, whole = finished
    for name in ("results.json", "results.md", "panels.png", "confusion.png", "metrics.jsonl", "run.json", "statistics.json"):
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tensorboard" / "finetune").iterdir())
    assert len(whole["subsets"]) == 3 and whole["subsets"][0]["modalities"] == ["s2", "spot"]
    assert all(s["scores"]["pixels"] == whole["subsets"][0]["scores"]["pixels"] for s in whole["subsets"])
    # What pre-training learned is watched, at both of its validations, and drawn.
    watched = [row for row in lines(folder) if row["stage"] == "pretrain" and "validation_loss" in row]
    assert len(watched) == 2 and all(0 <= row["validation_knn_miou"] <= 100 for row in watched)
    for name in ("embedding.png", "attention.png"):
        assert (folder / "pretrain" / name).stat().st_size > 0, name
    about = json.loads((folder / "run.json").read_text())
    assert about["data"]["fingerprint"] and about["versions"]["jax"] and about["config"]["seed"] == 0
    assert about["cores"] == len(cores())

    # The model goes out as plain files and comes back identical, numbers and settings.
    model = load_model(folder / "model")
    assert schema.flatten(model.config) == schema.flatten(schema.parse(config)) and model.module.names == ("s2", "spot")
    best = json.loads((folder / "evaluate" / "done.json").read_text())["checkpoint"]
    kept = state_of(folder, "finetune", best)["params"]
    jax.tree.map(np.testing.assert_array_equal, model.params, kept)
    assert model.statistics == json.loads((folder / "statistics.json").read_text())

    # Another configuration in the same folder is refused, key by key.
    config = config.copy_and_resolve_references()
    config.finetune.learning_rate = 0.5
    with pytest.raises(WorkdirError, match=r"finetune\.learning_rate: 0\.002 before, 0\.5 now"):
        go(config, folder, console)


@pytest.mark.exhaustive  # tests/distributed does it with real processes
def test_a_run_resumes_bit_for_bit(config, tmp_path, console, monkeypatch):
    """Killed in the third step of each stage. Pre-training mixes the tiles of two folders."""
    assert prepare_pastis(simulate(tmp_path / "raw", tiles=5, tile_size=24, seed=1), tmp_path / "additional") == 0
    config.data.pretrain_dirs = str(tmp_path / "additional")
    for name in ("s1a", "s1d"):
        del config.modalities[name]
    config.eval.monitor_tiles = 4
    whole = go(config, tmp_path / "whole", console)
    real_loop = stage_training.run_loop

    class Killed(Exception):
        pass

    def killed(state, first, stage, budget, hooks):
        taken = iter(range(first, first + 3))

        def step(state, batch):
            if next(taken) == first + 2 and first == 0:
                raise Killed
            return hooks.step(state, batch)

        return real_loop(state, first, stage, budget, dataclasses.replace(hooks, step=step))

    monkeypatch.setattr(stage_training, "run_loop", killed)
    for _ in range(2):
        with pytest.raises(Killed):
            go(config, tmp_path / "cut", console)
    again = go(config, tmp_path / "cut", console)
    assert again["subsets"] == whole["subsets"]
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    for stage in ("pretrain", "finetune"):
        a, b = (state_of(tmp_path / run, stage, 4) for run in ("whole", "cut"))
        jax.tree.map(np.testing.assert_array_equal, a, b)

    # A finished run is shown, not repeated.
    monkeypatch.setattr(stage_training, "run_loop", None)
    assert go(config, tmp_path / "cut", console)["subsets"] == whole["subsets"]


def test_changed_data_are_refused(config, simulated, tmp_path, console):
    root = tmp_path / "raw"
    shutil.copytree(simulated, root)
    config.data.raw_dir = str(root)
    config.finetune.steps = 0
    go(config, tmp_path / "run", console, stage="prepare")
    (root / "DATA_S2" / "S2_10001.npy").unlink()
    with pytest.raises(WorkdirError, match="started on data"):
        go(config, tmp_path / "run", console, stage="prepare")


def test_a_foreign_folder_is_refused(config, tmp_path, console):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(WorkdirError, match="holds no run"):
        go(config, tmp_path / "run", console)


@pytest.mark.exhaustive
def test_metrics_do_not_depend_on_the_evaluation_batch(config, tmp_path, console):
    for name in ("s1a", "s1d", "spot"):
        del config.modalities[name]
    config.pretrain.steps = 0
    config.finetune.steps = 1
    config.finetune.eval_every = 0
    scores = []
    for size in (1, 3):
        config.eval.batch_size = size
        scores.append(go(config, tmp_path / f"run{size}", console)["subsets"][0]["scores"])
    # Pixels are counted, probabilities are added up: in another order, so with other rounding.
    assert scores[0].pop("ece") == pytest.approx(scores[1].pop("ece"), rel=1e-5)
    assert scores[0] == scores[1]


@pytest.mark.exhaustive
def test_whole_tiles_are_compared(config, tmp_path, console):
    for name in ("s1d", "spot"):
        del config.modalities[name]
    config.contrastive.granularities = ("tile",)
    config.contrastive.learned_temperature = True
    config.contrastive.group_size = 2
    results = go(config, tmp_path / "run", console)
    assert [s["modalities"] for s in results["subsets"]] == [["s1a", "s2"], ["s1a"], ["s2"]]


def test_folds_are_one_run(config, tmp_path, console, monkeypatch):
    config.update_from_flattened_dict(QUICK_RUN)
    config.pretrain.steps = 0
    config.finetune.steps = 1
    config.finetune.eval_every = 0
    for name in ("s1a", "s1d", "spot"):
        del config.modalities[name]

    def run_until(stage):
        return run_folds(schema.parse(config), (1, 3), options(tmp_path / "run", console, stage=stage))

    assert run_until("prepare") is None
    results = run_until("all")
    runs = [json.loads((tmp_path / "run" / f"fold_{k}" / "results.json").read_text()) for k in (1, 3)]
    assert [run["protocol"]["test"] for run in runs] == [["fold_5"], ["fold_2"]]
    total = sum(np.array(run["subsets"][0]["confusion"]) for run in runs)
    np.testing.assert_array_equal(results["subsets"][0]["confusion"], total)
    assert results["protocol"]["test"] == ["fold_5", "fold_2"] and (tmp_path / "run" / "results.md").is_file()
    # Finished folds are not trained again.
    monkeypatch.setattr(stage_training, "run_loop", None)
    assert run_until("all")["subsets"] == results["subsets"]


def test_pretraining_of_another_run_is_taken(finished, tmp_path, console):
    config, first = finished[0].copy_and_resolve_references(), finished[1]
    config.pretrain_from = str(first)
    config.data.label_share = 0.5
    config.pretrain.steps, config.pretrain.batch_size = 9, 4  # of which nothing is done
    results = go(config, tmp_path / "second", console)
    assert not (tmp_path / "second" / "pretrain").exists() and (tmp_path / "second" / "report.html").is_file()
    assert results["protocol"]["pretrain_from"] == str(first) and results["protocol"]["label_share"] == 0.5
    text = (tmp_path / "second" / "results.md").read_text()
    assert "Labels: 50 % of the training tiles" in text and "Pre-training: 4 steps" in text
    assert f"Pre-trained by the run in {first}, on pastis (SIMULATED), fold_1 fold_2 fold_3." in text
    with np.load(tmp_path / "second" / "tiles.npz") as tiles:
        assert tiles["counts"].sum((0, 2, 3)).tolist() == [results["subsets"][0]["scores"]["pixels"]] * 3
    for position, entry in enumerate(results["subsets"]):
        units = read_parcels(tmp_path / "second", results, position)
        assert units.counts.pixels.sum() == entry["scores"]["pixels"] and entry["parcels"]["scores"]["parcels"] > 0
    assert sum(results["training"][0]["pixels"]) > 0 and "test parcels" in text
    config.pretrain_from = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="nowhere: pretrain has not finished"):
        go(config, tmp_path / "third", console)
    config.pretrain_from, config.data.fold = str(first), 2
    with pytest.raises(UserError, match="without the 4 tiles on which this run is validated or tested, .* that has seen 2 of them, first 10000"):
        go(config, tmp_path / "other_fold", console)
    config.pretrain.steps = 0
    with pytest.raises(schema.ConfigError, match="pretrain.steps is 0"):
        go(config, tmp_path / "fourth", console)


@pytest.mark.exhaustive  # tests/train/test_pretrained_run.py compares, tests/train/test_warmstart.py takes over
def test_pretraining_with_other_sensors_is_taken_where_it_fits(config, tmp_path, console):
    both, other = config.copy_and_resolve_references(), config.copy_and_resolve_references()
    for name in ("s1a", "s1d"):
        del both.modalities[name]
    both.pretrain.ema_decay = 0.5
    go(both, tmp_path / "first", console, stage="pretrain")
    for name in ("s1d", "spot"):
        del other.modalities[name]
    other.pretrain_from = str(tmp_path / "first")
    other.finetune.steps, other.finetune.learning_rate, other.finetune.save_every = 1, 1e-12, 1
    shown = Console(file=io.StringIO(), width=1000)
    go(other, tmp_path / "second", shown, stage="finetune")
    assert re.search(r"parameters taken over \(encoders_s2, fusion\); \d+ start fresh \(encoders_s1a, fusion, head\)", shown.file.getvalue())
    # It starts from the averages of the first: after a step at no learning rate they are still there.
    average = [part for part in state_of(tmp_path / "first", "pretrain", 4)["opt_state"] if part and "average" in part][0]["average"]
    found = state_of(tmp_path / "second", "finetune", 1)["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found["encoders_s2"], average["encoders_s2"])
    other.eval.probe = "linear"
    with pytest.raises(UserError, match="eval.probe: expected pre-trained parameters of the whole model, found none of .* encoders_s1a"):
        go(other, tmp_path / "fourth", console)
    other.model.fusion.heads = 1
    with pytest.raises(UserError, match="model.fusion.heads: 2 there, 1 here"):
        go(other, tmp_path / "fifth", console)


@pytest.mark.exhaustive
def test_frozen_encoders_are_those_of_pretraining_to_the_last_bit(config, tmp_path, console):
    for name in ("s1a", "s1d"):
        del config.modalities[name]
    config.finetune.encoder_rate = 0.0
    config.finetune.ema_decay = 0.5
    go(config, tmp_path / "run", console, stage="pretrain")
    go(config, tmp_path / "run", console, stage="finetune")
    before, after = state_of(tmp_path / "run", "pretrain", 4)["params"], state_of(tmp_path / "run", "finetune", 4)
    average = [part for part in after["opt_state"] if part and "average" in part][0]["average"]
    shared = before.keys() & after["params"].keys()
    assert shared == {"encoders_s2", "encoders_spot", "fusion"} and after["params"].keys() - shared == {"head"}
    for name in shared:
        for found in (after["params"], average):
            jax.tree.map(np.testing.assert_array_equal, found[name], before[name])


@pytest.mark.exhaustive
def test_one_sensor_takes_a_pretraining_with_others(config, tmp_path, console):
    for name in ("s1a", "s1d"):
        del config.modalities[name]
    go(config, tmp_path / "first", console, stage="pretrain")
    del config.modalities["spot"]  # one sensor alone could not be pre-trained
    config.pretrain_from = str(tmp_path / "first")
    assert len(go(config, tmp_path / "second", console)["subsets"]) == 1
