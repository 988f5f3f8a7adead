"""Damaged files of a finished run: no result comes from another checkpoint than it names, and intact files are not touched."""

import json
import re
import shutil

import jax
import numpy as np
import optax
import pytest
from rich.console import Console

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.experiment.cross_validation import run_folds
from omnisat_jax.inference.model_folder import load_model
from omnisat_jax.tasks import finetune
from omnisat_jax.train import trainer
from omnisat_jax.train.checkpoints import SaveError
from omnisat_jax.train.finite import NonFiniteError
from omnisat_jax.train.stage_store import LostStepError, StageStore
from tests.conftest import QUICK_RUN, go, options, tiny


@pytest.fixture(scope="module")
def config(simulated, cache):
    config = tiny(**{"data.raw_dir": str(simulated), "data.cache_dir": str(cache)} | QUICK_RUN)
    for name in ("s1d", "spot"):
        del config.modalities[name]
    for stage in (config.pretrain, config.finetune):
        stage.steps, stage.save_every, stage.eval_every = 4, 1, 2
    return config


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    go(config, folder, Console(quiet=True))
    return folder


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def damage(step):
    """The arrays, not the descriptions."""
    for path in step.rglob("*"):
        if path.is_file() and "ocdbt" in str(path):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def forget(run, *names):
    for name in names:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def read(run, name="results.json"):
    return json.loads((run / name).read_text())


def contents(run):
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


def test_nothing_is_touched_when_nothing_runs(config, run, console):
    before = contents(run)
    changed = config.copy_and_resolve_references()
    changed.data.threads = 1
    assert go(changed, run, console) == read(run)
    assert contents(run) == before


def test_results_name_their_checkpoint(run):
    protocol, done = read(run)["protocol"], read(run, "finetune/done.json")
    about = read(run / "finetune" / "checkpoints" / str(done["step"]), "meta/metadata")
    assert protocol["checkpoint"] == done["step"] == done["best"] and protocol["checkpoint_is"] == "best"
    assert protocol["checkpoint_checksum"] == done["checksum"] == about["checksum"]
    assert f"Checkpoint: step {done['step']} (best)." in (run / "results.md").read_text()


@pytest.mark.parametrize("how", ["damaged", pytest.param("gone", marks=pytest.mark.exhaustive)])
def test_a_finished_stage_whose_last_step_is_lost_is_trained_again(config, whole, run, console, how):
    forget(run, "finetune", "evaluate")
    last = run / "pretrain" / "checkpoints" / "4"
    damage(last) if how == "damaged" else shutil.rmtree(last)
    go(config, run, console)
    assert read(run) == read(whole)
    assert read(run, "pretrain/done.json") == read(whole, "pretrain/done.json")
    assert (run / "pretrain" / "checkpoints-broken" / "4.0").is_dir() == (how == "damaged")
    a, b = (load_model(folder / "model").params for folder in (run, whole))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_without_an_older_step_it_is_refused_every_time(config, run, console):
    forget(run, "finetune", "evaluate", "pretrain/checkpoints")
    for _ in range(2):
        with pytest.raises(LostStepError, match="expected step 4, for which pretrain counts as finished.*Restore it, or move .*pretrain away"):
            go(config, run, console)
        assert (run / "pretrain" / "done.json").is_file()


def test_another_step_is_never_taken_for_the_best_one(config, run, console):
    """The mark says that step 3 was best: what was trained after it does not give it again."""
    forget(run, "evaluate")
    mark = run / "finetune" / "done.json"
    about = read(run / "finetune" / "checkpoints" / "3", "meta/metadata")
    mark.write_text(json.dumps({"steps": 4, "step": 3, "best": 3, "last": 4, "checksum": about["checksum"]}))
    results = go(config, run, console)
    assert results["protocol"]["checkpoint"] == 3
    forget(run, "evaluate")
    damage(run / "finetune" / "checkpoints" / "3")
    for _ in range(2):
        with pytest.raises(LostStepError, match=r"expected step 3, for which finetune counts as finished, found none that can be read"):
            go(config, run, console)
    assert read(run) == json.loads(json.dumps(results))  # untouched


@pytest.mark.exhaustive
def test_a_step_of_another_run_is_not_taken(config, run, console):
    forget(run, "finetune", "evaluate")
    (run / "pretrain" / "checkpoints" / "4").rename(run / "pretrain" / "4")
    shutil.copytree(run / "pretrain" / "checkpoints" / "3", run / "pretrain" / "checkpoints" / "4")
    go(config, run, console)  # set aside, and trained again from step 3
    assert (run / "pretrain" / "checkpoints-broken" / "4.0").is_dir()


def test_pretraining_of_another_run_is_read_and_left_alone(config, run, tmp_path, console):
    changed = config.copy_and_resolve_references()
    changed.pretrain_from = str(run)
    forget(run, "pretrain/checkpoints/3")
    damage(run / "pretrain" / "checkpoints" / "4")
    before = contents(run)
    with pytest.raises(LostStepError, match="Restore it, or train pretrain there again"):
        go(changed, tmp_path / "other", console)
    assert contents(run) == before


@pytest.mark.parametrize("name", ["model/model.safetensors", pytest.param("evaluate/done.json", marks=pytest.mark.exhaustive)])  # all files: tests/train/test_workdir.py
def test_a_damaged_evaluation_is_done_again(config, whole, run, console, name):
    path = run / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    go(config, run, console)
    for each in ("results.json", "model/model.safetensors", "results.md"):
        assert (run / each).read_bytes() == (whole / each).read_bytes()
    (run / "report.html").unlink()
    go(config, run, console)
    assert "<html" in (run / "report.html").read_text()


@pytest.mark.exhaustive
def test_what_can_be_made_again_is(config, whole, run, console, caplog):
    forget(run, "evaluate")
    names = ("statistics.json", "metrics.jsonl", "finetune/done.json")
    for name in names:
        (run / name).write_text('{"a":\n')
    go(config, run, console)
    assert all(str(run / name) in caplog.text for name in names)
    assert read(run, "statistics.json") == read(whole, "statistics.json")
    assert read(run, "finetune/done.json") == read(whole, "finetune/done.json") and read(run) == read(whole)


@pytest.mark.exhaustive
def test_an_interrupted_stage_may_be_made_longer_and_its_data_moved(config, simulated, run, tmp_path, console):
    forget(run, "evaluate", "finetune/done.json")
    shutil.copytree(simulated, tmp_path / "moved")
    changed = config.copy_and_resolve_references()
    changed.finetune.steps, changed.data.raw_dir = 6, f"{tmp_path / 'moved'}/"
    results = go(changed, run, console)
    assert read(run, "config.json")["finetune.steps"] == 6 and read(run, "finetune/done.json")["last"] == 6
    (_, start) = read(run, "run.json")["starts"]
    assert start["changed"].keys() == {"finetune.steps", "data.raw_dir"} and json.loads(json.dumps(results)) == read(run)


def test_a_run_that_learned_nothing_has_failed(config, tmp_path, console, monkeypatch):
    loss = finetune.segmentation_loss
    monkeypatch.setattr(finetune, "segmentation_loss", lambda *a, **k: ((out := loss(*a, **k))[0] * float("nan"), out[1]))
    changed = config.copy_and_resolve_references()
    changed.pretrain.steps = 0
    for _ in range(2):
        with pytest.raises(NonFiniteError, match="none of 4 steps had a finite loss and gradient: nothing was learned"):
            go(changed, tmp_path / "run", console)
    assert not (tmp_path / "run" / "finetune" / "done.json").exists() and not (tmp_path / "run" / "results.json").exists()


@pytest.mark.exhaustive
def test_parameters_that_are_not_finite_have_failed(config, tmp_path, console, monkeypatch):
    real = trainer.make_optimizer
    monkeypatch.setattr(trainer, "make_optimizer", lambda s: optax.chain(real(s), optax.scale(float("nan"))))
    changed = config.copy_and_resolve_references()
    changed.pretrain.steps = 0
    # Reported by the validation where there is one, otherwise after the last step.
    with pytest.raises(UserError, match="finite predictions.*weights have diverged|parameters are not finite after the last step"):
        go(changed, tmp_path / "run", console)


@pytest.mark.exhaustive
def test_finished_folds_are_not_touched(config, tmp_path, console):
    changed = config.copy_and_resolve_references()
    changed.pretrain.steps, changed.finetune.steps = 0, 1
    parsed = schema.parse(changed)
    results = run_folds(parsed, (1, 3), options(tmp_path / "run", console))
    before = contents(tmp_path / "run")
    assert run_folds(parsed, (1, 3), options(tmp_path / "run", console)) == results
    assert contents(tmp_path / "run") == before
    assert re.fullmatch(r"[0-9a-f]{16}/[0-9a-f]{16}", results["protocol"]["checkpoint_checksum"])
    (tmp_path / "run" / "results.json").write_text("{")
    run_folds(parsed, (1, 3), options(tmp_path / "run", console))
    assert read(tmp_path / "run") == json.loads(json.dumps(results))


@pytest.mark.exhaustive
def test_the_cause_is_reported_not_what_follows_from_it(config, tmp_path, console, monkeypatch):
    def full(self, *_):
        raise SaveError("the disk is full")

    monkeypatch.setattr(StageStore, "finish", full)
    monkeypatch.setattr("omnisat_jax.train.provenance.Start.note_time", full)
    changed = config.copy_and_resolve_references()
    changed.pretrain.steps, changed.finetune.steps = 0, 1
    with pytest.raises(SaveError, match="the disk is full"):
        go(changed, tmp_path / "run", console)
