"""Running studies: shared pre-training, resumption, shards, failures, locks. Runs are played by a small program."""

import dataclasses
import fcntl
import io
import json
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from omnisat_jax.errors import UserError
from omnisat_jax.shards import Shard
from omnisat_jax.study import grid, runner, summary
from omnisat_jax.train.workdir import WorkdirError
from tests.conftest import ROOT
from tests.study.player import RUN, calls, make


def test_a_study_runs_shares_and_resumes(launcher, tmp_path, console):
    study, folder = make(), tmp_path / "study"
    first = runner.run_study(study, folder, launcher, processes=3, console=console)
    assert {outcome.state for outcome in first.values()} == {"done"}
    made = calls(folder)
    assert len(made) == 8 + 2 and set(made.values()) == {1}  # eight runs, two pre-trainings
    # As after a kill: one run has no results.
    (folder / "runs" / "plain-seed1-fold1" / "results.json").unlink()
    runner.run_study(study, folder, launcher, console=console)
    again = calls(folder)
    assert again.pop("plain-seed1-fold1") == 2 and set(again.values()) == {1}
    # More seeds are more of the same study, another size is not.
    runner.run_study(dataclasses.replace(study, seeds=(0, 1, 2)), folder, launcher, console=console)
    assert len(calls(folder)) == 8 + 2 + 4 + 1
    # So are other label shares: runs keep their folders, and pre-training that is there is taken even by a single run.
    runner.run_study(dataclasses.replace(study, seeds=(0,), label_shares=(1.0, 0.25)), folder, launcher, console=console)
    assert len(calls(folder)) == 8 + 2 + 4 + 1 + 2 and set(calls(folder).values()) == {1, 2}
    with pytest.raises(WorkdirError, match="size: 'demo' before, 'hd' now"):
        runner.run_study(dataclasses.replace(study, size="hd"), folder, launcher, console=console)


def test_runs_that_may_wait_for_shared_pretraining_start_last(launcher, tmp_path, console, monkeypatch):
    started = []
    launch = runner._Worker._launch

    def watched(self, task, slot):
        started.append(task.name)
        return launch(self, task, slot)

    monkeypatch.setattr(runner._Worker, "_launch", watched)
    runner.run_study(make(), tmp_path / "study", launcher, console=console)
    kinds = ["pretrain" if name.startswith("pretrain-") else name.split("-")[0] for name in started]
    # For each of the two seeds its pre-training and a run that starts from it, then the runs that need none, then the rest.
    assert kinds == ["pretrain", "pretrained"] * 2 + ["plain"] * 4 + ["pretrained"] * 2


def test_a_study_draws_its_board_on_a_terminal_only(launcher, tmp_path):
    drawn = {}
    for terminal in (False, True):
        console = Console(file=io.StringIO(), width=120, force_terminal=terminal)
        runner.run_study(make(seeds=(0,)), tmp_path / str(terminal), launcher, console=console)
        drawn[terminal] = console.file.getvalue()
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn[terminal])
        assert "0 left)" in plain and re.search(r"done plain-seed0-fold1 \(\d+\.\d min, ", plain)
    assert "runs ended" in drawn[True] and "runs ended" not in drawn[False]


def test_a_run_with_another_configuration_is_refused(launcher, tmp_path, console):
    study, folder = make(), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    flat = next(run.flat_config for run in grid.runs(study) if run.name == RUN)
    path = folder / "runs" / RUN / "config.json"
    path.write_text(json.dumps(flat | {"pretrain_from": "x"}))
    runner.run_study(study, folder, launcher, console=console)
    earlier = {key.replace("num_microbatches", "parts"): value for key, value in flat.items()}  # its name in earlier versions
    assert earlier.keys() != flat.keys()
    path.write_text(json.dumps(earlier))
    runner.run_study(study, folder, launcher, console=console)
    assert calls(folder)[RUN] == 1
    path.write_text(json.dumps(flat | {"model.width": 7}))
    for again in (lambda: runner.run_study(study, folder, launcher, console=console), lambda: summary.summarise(study, folder)):
        with pytest.raises(WorkdirError, match="model.width: 7 before, 32 now"):
            again()


def test_failures_are_kept_and_do_not_stop_the_rest(launcher, tmp_path, console):
    broken = {"plain": make().rows["plain"], "broken": grid.Row(0, "", ("data.crop=4",), 0.0, "", "")}
    study = dataclasses.replace(make(), rows=broken, label_shares=(1.0,))
    outcomes = runner.run_study(study, tmp_path / "study", launcher, console=console)
    states = {name: outcome.state for name, outcome in outcomes.items()}
    assert states == {
        "plain-seed0-fold1": "done",
        "plain-seed1-fold1": "done",
        "broken-seed0-fold1": "failed",
        "broken-seed1-fold1": "failed",
    }
    found = summary.summarise(study, tmp_path / "study", outcomes)
    assert set(found.failed) == {"broken-seed0-fold1", "broken-seed1-fold1"}
    assert "data.crop is wrong" in (tmp_path / "study" / "table.md").read_text()


def test_a_run_that_outlives_its_study_is_left_alone(launcher, tmp_path, console, monkeypatch):
    """A study that is killed cannot stop its run, so the next one must not start it a second time."""
    study, folder, gate = dataclasses.replace(make(), seeds=(0,), label_shares=(1.0,)), tmp_path / "study", tmp_path / "gate"
    os.mkfifo(gate)
    slow = tmp_path / "slow.py"  # ends when somebody opens the gate
    slow.write_text(
        f"import runpy, sys\nopen({str(gate)!r}).read()\nrunpy.run_path({str(tmp_path / 'player.py')!r}, run_name='__main__')"
    )
    run = next(run for run in grid.runs(study) if run.rows == ("plain",))
    place = folder / "runs" / run.name
    place.parent.mkdir(parents=True)
    with open(place.with_name(f"{place.name}.running"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, slow, f"--workdir={place}", *(f"--config.{k}={v}" for k, v in run.changes.items())]
        orphan = subprocess.Popen(command, pass_fds=[lock.fileno()])
    states = {name: outcome.state for name, outcome in runner.run_study(study, folder, launcher, console=console).items()}
    assert states.pop(run.name) == "elsewhere" and set(states.values()) == {"done"}
    gate.write_text("")
    assert orphan.wait(60) == 0
    assert {outcome.state for outcome in runner.run_study(study, folder, launcher, console=console).values()} == {"done"}
    assert calls(folder)[run.name] == 1


def test_a_run_holds_the_lock_of_its_folder(tmp_path, console, monkeypatch):
    probe = tmp_path / "probe.py"  # fails if its own folder is free
    probe.write_text("""
import fcntl, os, pathlib, sys
place = pathlib.Path(next(a for a in sys.argv if a.startswith("--workdir=")).split("=", 1)[1])
held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
sys.exit(0 if str(place) + ".running" in held else 3)
""")
    launcher = runner.Launcher((sys.executable, str(probe)), ROOT)
    study = dataclasses.replace(make(), seeds=(0,), label_shares=(1.0,), rows={"plain": make().rows["plain"]})
    (outcome,) = runner.run_study(study, tmp_path / "study", launcher, console=console).values()
    # It wrote nothing, so it is not done, but it held the lock.
    assert outcome.state == "failed" and outcome.reason.startswith("ended without evaluate/done.json, results.json")


@pytest.mark.parametrize(
    ("count", "dealt"), [(1, [[3, 5, 6, 8]]), (2, [[3, 5], [6, 8]]), (3, [[3], [5], [6]]), (5, [[3], [5], [6], [8], [3]])]
)
def test_cores_are_divided_among_simultaneous_runs(count, dealt, monkeypatch):
    monkeypatch.setattr(runner, "cores", lambda: [3, 5, 6, 8])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    slots = runner._slots(count)
    assert [slot.cores for slot in slots] == dealt and all(slot.environment == dict(os.environ) for slot in slots)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,7")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in runner._slots(3)] == ["2", "7", "2"]


def test_shards_cover_the_grid_once_and_share_a_folder(launcher, tmp_path, console):
    study, folder = make(), tmp_path / "study"
    for index in range(3):
        runner.run_study(study, folder, launcher, shard=Shard(index, 3), console=console)
    made = calls(folder)
    assert len(made) == 10 and set(made.values()) == {1}
    assert len(summary.summarise(study, folder).entries) == 6


def test_a_study_runs_from_any_folder(launcher, tmp_path, console, monkeypatch):
    """Its configuration is found beside the program, and its own folder may be relative."""
    monkeypatch.chdir(tmp_path)
    study = make(label_shares=(1.0,), seeds=(0,))
    assert {outcome.state for outcome in runner.run_study(study, "study", launcher, console=console).values()} == {"done"}
    (line,) = (tmp_path / "study" / "runs" / RUN / "calls").read_text().splitlines()
    assert json.loads(line)["config"] == f"{ROOT / 'configs' / 'pastis.py'}:demo"
    assert json.loads(line)["workdir"] == str(tmp_path / "study" / "runs" / RUN)
    assert json.loads((tmp_path / "study" / "settings.json").read_text())["config"] == study.config


def test_runs_are_started_by_the_given_program(tmp_path):
    launcher = runner.Launcher.of_program(ROOT / "launch.py")
    assert launcher.command == (sys.executable, str(ROOT / "launch.py")) and launcher.root == ROOT
    with pytest.raises(UserError, match="nowhere.py: expected the program that starts the runs of a study.* from a copy of the repository"):
        runner.Launcher.of_program(tmp_path / "nowhere.py")


STUDY = '''
"""A study far from the project, of a configuration beside it."""
from configs.studies import base

def get_config():
    study = base.study("far", config="mine.py", baseline="plain")
    study.size = ""
    base.add(study, "plain", "", "pretrain.steps=0")
    return study
'''
CONFIG = '''
from configs import pastis

def get_config(preset=""):
    config = pastis.get_config("demo")
    config.name = "mine"
    return config
'''


def test_launch_runs_a_study_elsewhere_on_disk(launcher, tmp_path, monkeypatch):
    """As typed by a user in another folder: study, configuration, data and workdir are all relative to it."""
    away = tmp_path / "away"
    away.mkdir()
    (away / "study.py").write_text(STUDY)
    (away / "mine.py").write_text(CONFIG)
    code = (
        "import runpy, sys\n"
        "from omnisat_jax.study import runner\n"
        f"command, root = {launcher.command!r}, runner.Launcher.of_program({str(ROOT / 'launch.py')!r}).root\n"
        "runner.Launcher.of_program = lambda path: runner.Launcher(command, root)\n"
        f"runpy.run_path({str(ROOT / 'launch.py')!r}, run_name='__main__')\n"
    )
    options = ["--study=study.py", "--workdir=out", "--study.raw_dir=raw"]
    done = subprocess.run(
        [sys.executable, "-c", code, *options], cwd=away, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    call = json.loads((away / "out" / "runs" / RUN / "calls").read_text())
    assert call["config"] == "mine.py:" and call["config.data.raw_dir"] == "raw"
    assert (away / "out" / "report.html").is_file() and f"written to {away / 'out'}" in done.stdout.replace("\n", "")
