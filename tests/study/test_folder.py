"""The folder of a study belongs to one study, and says which of its runs are finished."""

import dataclasses
import json

import pytest

from omnisat_jax.study import folder, grid
from omnisat_jax.train.workdir import WorkdirError
from tests.conftest import ROOT
from tests.study.player import RUN, make


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_study_may_grow_but_not_change(tmp_path):
    study = make()
    folder.claim(tmp_path / "study", study)
    folder.claim(tmp_path / "study", dataclasses.replace(study, seeds=(0, 1, 2), folds=(1, 2), label_shares=(1.0,)))
    assert json.loads((tmp_path / "study" / "settings.json").read_text())["seeds"] == [0, 1, 2]
    with pytest.raises(WorkdirError, match=r"holds another study:\n  raw_dir: '' before, 'x' now\nChoose another --workdir"):
        folder.claim(tmp_path / "study", dataclasses.replace(study, raw_dir="x"))


def test_a_run_is_done_when_it_is_marked_and_complete(tmp_path):
    run = next(run for run in grid.runs(make()) if run.name == RUN)
    workdir = folder.run_folder(tmp_path, run)
    assert workdir == tmp_path / "runs" / RUN
    assert not folder.is_done(tmp_path, run) and folder.missing(tmp_path, run) == list(folder.PROMISED)
    for name in folder.PROMISED:
        (workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / name).touch()
    assert folder.is_done(tmp_path, run) and not folder.missing(tmp_path, run)
    weights = workdir / "model" / "model.safetensors"
    weights.rename(weights.with_name("weights.safetensors"))  # of an earlier version
    assert folder.is_done(tmp_path, run)
    weights.with_name("weights.safetensors").unlink()
    assert folder.missing(tmp_path, run) == ["model/model.safetensors"]
    weights.touch()
    (workdir / "config.json").write_text(json.dumps(run.flat_config | {"pretrain_from": "elsewhere"}))
    assert folder.is_done(tmp_path, run)
    (workdir / "config.json").write_text(json.dumps(run.flat_config | {"seed": 9}))
    with pytest.raises(WorkdirError, match="holds a run with another configuration:\n  seed: 9 before, 0 now"):
        folder.is_done(tmp_path, run)
