"""What a run prints before it starts."""

import io
import subprocess
import sys
import types

import pytest
from rich.console import Console

import launch
from configs import pastis
from omnisat_jax.config import schema
from omnisat_jax.experiment import plan
from tests.conftest import ROOT


def configured(preset="demo", **changes):
    config = pastis.get_config(preset)
    config.update_from_flattened_dict(changes)
    return schema.parse(config)


def names(config, folder="/nowhere", last="all"):
    return [stage.name for stage in plan.plan(config, folder, last)]


def shown(config, folder, **options):
    console = Console(file=io.StringIO(), width=40)
    plan.show(console, config, folder, **options)
    return console.file.getvalue()


def test_the_demo_is_estimated_and_the_estimate_grows_with_its_steps():
    stages = plan.plan(configured(), "/nowhere")
    assert [stage.name for stage in stages] == ["prepare", "pretrain", "finetune", "evaluate"]
    total = sum(stage.minutes for stage in stages)
    longer = plan.plan(configured(**{"finetune.steps": 9000}), "/nowhere")
    shorter = plan.plan(configured("no_pretrain"), "/nowhere")
    assert [stage.minutes for stage in shorter] == [stages[index].minutes for index in (0, 2, 3)]
    assert 4 < total < 20 and longer[2].minutes > 5 * stages[2].minutes and longer[1] == stages[1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pretrain.steps": 0}, ["prepare", "finetune", "evaluate"]),
        ({"pretrain_from": "runs/other"}, ["prepare", "finetune", "evaluate"]),
        ({"eval.probe": "linear"}, ["prepare", "pretrain", "evaluate"]),
    ],
)
def test_only_stages_that_run_are_named(changes, expected):
    assert names(configured(**changes)) == expected


def test_the_plan_ends_with_the_last_stage():
    assert names(configured(), last="pretrain") == ["prepare", "pretrain"]


def test_no_minutes_are_claimed_for_what_was_not_measured(tmp_path):
    for changes in ({"data.raw_dir": "there"}, {"data.prepared_dir": "there"}):
        text = shown(configured(**changes), tmp_path)
        assert "there" in text and "about" not in text and "shows the time left" in text
    text = shown(configured("hd"), tmp_path)
    assert "about" not in text and "needs the dataset in --config.data.raw_dir" in text


def test_finished_stages_are_said_to_be_finished(tmp_path):
    for stage in ("pretrain", "finetune", "evaluate"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "done.json").touch()
    text = shown(configured(), tmp_path)
    assert text.count("finished before") == 3 and "about 1 min" in text


def test_folds_are_named_and_lines_are_not_broken(tmp_path):
    lines = shown(configured(), tmp_path, folds=["1", "2"]).splitlines()
    assert ", for each of the folds 1, 2, in" in lines[0] and len(lines) == 7


def test_the_plan_needs_no_jax():
    """It is printed before JAX is imported, which takes seconds."""
    code = "import sys, omnisat_jax.experiment.plan, omnisat_jax.cli.terminal; sys.exit('jax' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("process", "environment", "first"),
    [(-1, {}, True), (0, {}, True), (1, {}, False), (-1, {"SLURM_PROCID": "0"}, True), (-1, {"SLURM_PROCID": "3"}, False), (-1, {"TPU_WORKER_ID": "x"}, True)],
)
def test_one_process_of_a_run_prints_the_plan(process, environment, first, monkeypatch):
    for name in ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "TPU_WORKER_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launch._looks_first(types.SimpleNamespace(process_id=process)) == first
