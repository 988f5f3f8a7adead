"""Grids of runs: every run once, shared pre-training, and studies that cannot be run."""

import dataclasses
import importlib

import pytest

from configs.studies import base
from omnisat_jax.config.rules import ConfigError
from omnisat_jax.study import grid
from tests.conftest import ROOT
from tests.study.player import make


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_grid_has_every_run_once():
    runs = grid.runs(make())
    assert len(runs) == 8 and len({run.name for run in runs}) == 8
    by_row = {run.rows for run in runs}
    assert by_row == {("plain",), ("pretrained", "only_s2")}  # rows that differ in the subset alone are one run
    shared = {(run.seed, run.pretraining) for run in runs if "pretrained" in run.rows}
    assert len(shared) == 2 and all(key for _, key in shared)  # labels do not change pre-training, seeds do
    assert all(run.pretraining == "" for run in runs if run.rows == ("plain",))


def test_some_rows_alone_can_be_run():
    assert {run.rows for run in grid.runs(make(only=("plain",)))} == {("plain",)}
    assert len(grid.runs(make(only=()))) == len(grid.runs(make(only=("pretrained,plain",)))) == 8


def test_the_baseline_is_among_the_rows_that_run():
    with pytest.raises(ConfigError, match="baseline must be one of the rows pretrained"):
        make(only=("pretrained",))


def test_what_fine_tuning_changes_shares_pretraining_and_nothing_else():
    def keys(*changes):
        study = make(seeds=(0,), label_shares=(1.0,))
        rows = {"plain": grid.Row(0, "", (), 0.0, "", ""), "other": grid.Row(0, "", changes, 0.0, "", "")}
        return [run.pretraining for run in grid.runs(dataclasses.replace(study, rows=rows))]

    assert len(set(keys("finetune.learning_rate=0.1", "model.head.width=8", "eval.panels=0"))) == 1
    for change in ("contrastive.temperature=0.2", "model.width=16", "pretrain.learning_rate=0.1", "data.fold=2"):
        found = keys(change)
        assert len(set(found)) == len(found) or change == "data.fold=2"  # the grid's own keys win


def test_every_study_can_be_run():
    names = sorted(path.stem for path in (ROOT / "configs" / "studies").glob("*.py") if path.stem not in ("__init__", "base"))
    assert names == ["encoders", "label_efficiency", "missing_modalities", "objectives", "pastis_table", "scaling", "tile_labels", "unlabelled_tiles"]
    for name in names:
        study = grid.parse(importlib.import_module(f"configs.studies.{name}").get_config())
        assert grid.runs(dataclasses.replace(study, seeds=(0,), label_shares=study.label_shares[:1]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}}, "study.rows: expected 1 to 1000"),
        ({"seeds": ()}, "study.seeds"),
        ({"seeds": (-1,)}, "study.seeds: expected .* found -1"),
        ({"seeds": (True,)}, "study.seeds: expected .* found True"),
        ({"seeds": 0.5}, "study.seeds: expected .* found 0.5"),
        ({"seeds": (0, 0)}, "study.seeds: expected .* all different"),
        ({"seeds": tuple(range(1000)), "folds": tuple(range(1, 1001))}, "expected at most 100000 runs, found 1000000"),
        ({"folds": "one"}, "study.folds: expected .* found 'one'"),
        ({"folds": None}, "study.folds: expected .* found None"),
        ({"label_shares": (0.0,)}, "study.label_shares: expected .* found 0.0"),
        ({"label_shares": (2.0,)}, "study.label_shares: expected .* found 2.0"),
        ({"label_shares": (float("nan"),)}, "study.label_shares: expected .* found nan"),
        ({"label_shares": (0.1, 0.1 + 1e-9)}, "study.label_shares: expected shares that differ"),
        ({"resamples": 0}, "study.resamples: expected a whole number from 1"),
        ({"resamples": 1e3}, "study.resamples: expected a whole number from 1"),
        ({"name": "../x"}, "study.name: expected a name"),
        ({"config": "LICENSE"}, "row plain: study.config: LICENSE"),
        ({"config": "configs/studies/base.py"}, "row plain: study.config: configs/studies/base.py: expected a function get_config"),
        ({"baseline": 3}, "study.baseline: expected printable text"),
        ({"changes": "seed=1"}, "study.changes: expected 0 to 200 entries"),
        ({"rows": {"plain": {}}}, "missing configuration keys: study.rows.plain.position"),
        ({"rows": {"a/b": {}}}, "the name 'a/b' in study.rows: expected a name"),
        ({"rows": {"plain": 3}}, "study.rows.plain: expected a group of keys, found 3"),
        ({"rows": 3}, "study.rows: expected names, each with a group of keys, found 3"),
        ({"only": ("plian",)}, "study.only names .plian., which is not one of the rows. Did you mean .plain."),
        ({"changes": ("model.wdth=3",)}, "Did you mean 'model.width'"),
        ({"changes": ("model.width=many",)}, "expected a int"),
        ({"changes": ("model.width",)}, "expected key=value"),
        ({"config": "configs/nowhere.py"}, "found nothing at configs/nowhere.py"),
        ({"size": "huge"}, "huge"),
        ({"changes": ("data.fold=0",), "folds": (0,)}, "study.folds: expected"),
    ],
)
def test_a_study_that_cannot_be_run_is_refused(changes, message):
    config = base.study("trial", baseline="plain")
    base.add(config, "plain", "")
    with pytest.raises(ConfigError, match=message):
        grid.runs(grid.parse(config.to_dict() | changes))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"preset": "plian"}, "row plain: study.size and the presets of the rows: .* found 'plian'"),
        ({"subset": "s2+s3"}, "study.rows.plain.subset: expected some of s1a, s1d, s2, spot, .* found 's2.s3'"),
        ({"subset": "s2+s2"}, "study.rows.plain.subset: expected .* each once"),
        ({"published": float("inf")}, "study.rows.plain.published: expected a number from 0 to 100"),
        ({"position": -1}, "study.rows.plain.position: expected"),
        ({"changes": ("finetune.learning_rate=1e30",)}, "row plain: finetune.learning_rate: expected a number above 0 and up to 10"),
        ({"changes": ("model.width=" + "[" * 5000,)}, "study.rows.plain.changes: expected"),
        ({"changes": ("model.width=" + "[" * 1900,)}, "the study sets model.width to"),
        ({"changes": ("seed",)}, "row plain: expected key=value, found 'seed'"),
        ({"preest": ""}, "unknown configuration key 'study.rows.plain.preest'. Did you mean 'preset'"),
    ],
)
def test_a_row_that_cannot_be_run_is_named(row, message):
    values = base.study("trial", baseline="plain").to_dict()
    plain = {"position": 0, "preset": "", "changes": (), "published": 0.0, "source": "", "subset": ""}
    with pytest.raises(ConfigError, match=message):
        grid.runs(grid.parse(values | {"rows": {"plain": plain | row}}))


def test_unknown_keys_are_named():
    config = base.study("trial", baseline="plain")
    config.sedes = (1,)
    with pytest.raises(ConfigError, match="Did you mean 'seeds'"):
        grid.parse(config)


def test_a_study_of_probes_is_refused():
    study = dataclasses.replace(make(seeds=(0,)), changes=("eval.probe=knn",))
    with pytest.raises(ConfigError, match="eval.probe is 'knn', but a study compares fine-tuned models"):
        grid.runs(study)


def test_configuration_files_are_found_in_the_current_folder_or_in_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert grid.locate("configs/pastis.py", ROOT) == ROOT / "configs" / "pastis.py"
    with pytest.raises(ConfigError, match="found nothing at configs/pastis.py$"):
        grid.locate("configs/pastis.py")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "pastis.py").touch()
    assert grid.locate("configs/pastis.py", ROOT).resolve() == tmp_path / "configs" / "pastis.py"
    with pytest.raises(ConfigError, match=f"found nothing at none.py and {ROOT}/none.py"):
        grid.locate("none.py", ROOT)


def test_a_preset_without_pre_training_is_not_given_any():
    """Its equal compute was computed from other steps."""
    study = grid.parse(importlib.import_module("configs.studies.label_efficiency").get_config())
    with pytest.raises(ConfigError, match="row equal_compute: expected no change of pretrain.steps, as the preset demo,equal_compute does not pre-train, found 50"):
        grid.runs(dataclasses.replace(study, changes=("pretrain.steps=50",)))
    with pytest.raises(ConfigError, match="row equal_compute: expected no change of steps and batch sizes, .* found finetune.batch_size=4; for other steps leave"):
        grid.runs(dataclasses.replace(study, changes=("finetune.batch_size=4",)))
    assert grid.runs(dataclasses.replace(study, changes=("pretrain.steps=50",), only=(), rows={"omnisat": study.rows["omnisat"]}))
