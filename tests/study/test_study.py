"""Studies: the grid, who shares pre-training, shards, resumption, failures, and what the numbers mean. Runs are played by a small program."""

import dataclasses
import fcntl
import io
import json
import os
import re
import shlex
import subprocess
import sys
import types
from html import unescape

import numpy as np
import pytest
from rich.console import Console

from configs.studies import base
from omnisat_jax.config.constraints import ConfigError
from omnisat_jax.report import html
from omnisat_jax.study import board, grid, runner, summary
from omnisat_jax.train.workdir import WorkdirError, cores
from tests.conftest import ROOT

PLAYER = '''
"""Plays launch.py: writes what a run leaves, from its command line."""
import json, os, pathlib, sys
import numpy as np

options = dict(part.lstrip("-").split("=", 1) for part in sys.argv[1:])
place = pathlib.Path(options["workdir"])
place.mkdir(parents=True, exist_ok=True)
with open(place / "calls", "a") as calls:
    calls.write(json.dumps(options) + "\\n")
if options.get("config.data.crop") == "4":
    sys.exit("error: data.crop is wrong")
if options.get("stage") == "pretrain":
    (place / "pretrain").mkdir(exist_ok=True)
    (place / "pretrain" / "done.json").write_text("{}")
    sys.exit()
seed, good = int(options["config.seed"]), "pretrain_from" in "".join(options)
rng = np.random.default_rng(seed)
counts = np.zeros((6, 2, 2, 3), int)
counts[:, :, 0, 0], counts[:, :, 1, 1] = 10, rng.integers(4, 7, (6, 1)) + 3 * good
counts[:, 1, 1, 0] = 5
for name in ("evaluate/done.json", "model/weights.safetensors", "model/statistics.json", "model/config.json"):
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text("{}")
np.savez(place / "tiles.npz", tile=np.array([f"t{i}" for i in range(6)])[::-1], counts=counts)
about = {"classes": ["a", "b"], "unscored": [], "threshold": 0.5, "simulated": True, "dataset": "pastis", "protocol": "single_split",
         "test": ["fold_5"], "test_tiles": 6, "train_tiles": 9}
subsets = []
for index, names in enumerate((["s2", "spot"], ["s2"])):
    total = counts[:, index].sum(0)
    iou = [100 * total[k, k] / (total[k].sum() + total[:, k].sum() - total[k, k]) for k in range(2)]
    subsets.append({"modalities": names, "scores": {"miou": float(np.mean(iou)), "ece": 4.0}})
(place / "results.json").write_text(json.dumps({"task": "segment", "protocol": about, "subsets": subsets}))
(place / "run.json").write_text(json.dumps({"device": {"platform": "cpu"}, "cores": len(os.sched_getaffinity(0))}))
'''


@pytest.fixture
def player(tmp_path, monkeypatch):
    path = tmp_path / "player.py"
    path.write_text(PLAYER)
    monkeypatch.setattr(runner, "PROGRAM", (sys.executable, str(path)))
    monkeypatch.chdir(ROOT)


def make(**changes):
    config = base.study("trial", baseline="plain")
    config.seeds = (0, 1)
    config.label_shares = (0.5, 1.0)
    config.resamples = 200
    base.add(config, "plain", "", base.NO_PRETRAIN)
    base.add(config, "pretrained", "", published=base.Published(60.0, "somewhere, mIoU"))
    base.add(config, "only_s2", "", subset="s2")
    config.update(changes)
    return grid.parse(config)


def calls(folder):
    return {path.parent.name: len(path.read_text().splitlines()) for path in folder.rglob("calls")}


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
    import importlib

    names = sorted(path.stem for path in (ROOT / "configs" / "studies").glob("*.py") if path.stem not in ("__init__", "base"))
    assert names == ["encoders", "label_efficiency", "missing_modalities", "objectives", "pastis_table", "scaling", "tile_labels"]
    for name in names:
        study = grid.parse(importlib.import_module(f"configs.studies.{name}").get_config())
        assert grid.runs(dataclasses.replace(study, seeds=(0,), label_shares=study.label_shares[:1]))


def test_a_study_runs_shares_and_resumes(player, tmp_path, console):
    study, folder = make(), tmp_path / "study"
    first = runner.run_study(study, folder, processes=3, console=console)
    assert {outcome.state for outcome in first.values()} == {"done"}
    made = calls(folder)
    assert len(made) == 8 + 2 and set(made.values()) == {1}  # eight runs, two pre-trainings
    # As after a kill: one run has no results.
    (folder / "runs" / "plain-seed1-fold1" / "results.json").unlink()
    runner.run_study(study, folder, console=console)
    again = calls(folder)
    assert again.pop("plain-seed1-fold1") == 2 and set(again.values()) == {1}
    # More seeds are more of the same study, another size is not.
    runner.run_study(dataclasses.replace(study, seeds=(0, 1, 2)), folder, console=console)
    assert len(calls(folder)) == 8 + 2 + 4 + 1
    # So are other label shares: runs keep their folders, and pre-training that is there is taken even by a single run.
    runner.run_study(dataclasses.replace(study, seeds=(0,), label_shares=(1.0, 0.25)), folder, console=console)
    assert len(calls(folder)) == 8 + 2 + 4 + 1 + 2 and set(calls(folder).values()) == {1, 2}
    with pytest.raises(WorkdirError, match="size: 'demo' before, 'hd' now"):
        runner.run_study(dataclasses.replace(study, size="hd"), folder, console=console)


def test_runs_that_may_wait_for_shared_pretraining_come_last(player, tmp_path, console, monkeypatch):
    started = []
    launch = runner._launch

    def watched(study, folder, run, slot, board, crew, place, name, *more):
        started.append(name)
        return launch(study, folder, run, slot, board, crew, place, name, *more)

    monkeypatch.setattr(runner, "_launch", watched)
    runner.run_study(make(), tmp_path / "study", console=console)
    kinds = ["pretrain" if name.startswith("pretrain-") else name.split("-")[0] for name in started]
    # Two seeds: each one's pre-training with a run that takes it, then those that need none, then the rest.
    assert kinds == ["pretrain", "pretrained"] * 2 + ["plain"] * 4 + ["pretrained"] * 2


def test_the_board_says_how_far_each_run_is(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(board, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    console = Console(file=io.StringIO(), width=120)
    shown = board.Board(console, total=3)
    settings = {"pretrain.steps": 400, "finetune.steps": 900}
    (tmp_path / "b").mkdir()
    with shown.at_work("a-run", tmp_path / "a", settings), shown.at_work("b-run", tmp_path / "b", settings):
        entries = [{"stage": "pretrain", "step": 400}, {"stage": "finetune", "step": 10}]
        # The last line is still being written, the file is longer than what is read of it.
        text = "x" * 2 * board.TAIL + "\n" + "".join(json.dumps(entry) + "\n" for entry in entries) + '{"stage": "fine'
        (tmp_path / "b" / "metrics.jsonl").write_text(text)
        assert shown.ended() == 2
        now[0] = 90.0
        console.print(shown)
    console.print(shown)
    during, after = console.file.getvalue().split("1 of 3 runs ended, 2 left")[1:]
    rows = [line.split() for line in during.splitlines() if "-run" in line]
    assert rows == [["a-run", "starting", "1.5"], ["b-run", "finetune", "10", "/", "900", "1.5"]]
    assert "-run" not in after


def test_a_study_draws_its_board_on_a_terminal_only(player, tmp_path):
    drawn = {}
    for terminal in (False, True):
        console = Console(file=io.StringIO(), width=120, force_terminal=terminal)
        runner.run_study(make(seeds=(0,)), tmp_path / str(terminal), console=console)
        drawn[terminal] = console.file.getvalue()
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn[terminal])
        assert "0 left)" in plain and re.search(r"done plain-seed0-fold1 \(\d+\.\d min, ", plain)
    assert "runs ended" in drawn[True] and "runs ended" not in drawn[False]


def test_a_run_of_other_settings_is_never_taken_for_this_one(player, tmp_path, console):
    study, folder = make(), tmp_path / "study"
    runner.run_study(study, folder, console=console)
    settings = next(run.settings for run in grid.runs(study) if run.name == "plain-seed0-fold1")
    path = folder / "runs" / "plain-seed0-fold1" / "config.json"
    path.write_text(json.dumps(settings | {"pretrain_from": "x"}))
    runner.run_study(study, folder, console=console)
    path.write_text(json.dumps(settings | {"model.width": 7}))
    for again in (lambda: runner.run_study(study, folder, console=console), lambda: summary.summarise(study, folder)):
        with pytest.raises(WorkdirError, match="model.width: 7 before, 32 now"):
            again()


def test_failures_are_kept_and_do_not_stop_the_rest(player, tmp_path, console):
    broken = {"plain": make().rows["plain"], "broken": grid.Row(0, "", ("data.crop=4",), 0.0, "", "")}
    study = dataclasses.replace(make(), rows=broken, label_shares=(1.0,))
    outcomes = runner.run_study(study, tmp_path / "study", console=console)
    states = {name: outcome.state for name, outcome in outcomes.items()}
    assert states == {
        "plain-seed0-fold1": "done",
        "plain-seed1-fold1": "done",
        "broken-seed0-fold1": "failed",
        "broken-seed1-fold1": "failed",
    }
    about = summary.summarise(study, tmp_path / "study", outcomes)
    assert set(about["failed"]) == {"broken-seed0-fold1", "broken-seed1-fold1"}
    assert "data.crop is wrong" in (tmp_path / "study" / "table.md").read_text()


def test_a_run_that_outlives_its_study_is_left_alone(player, tmp_path, console, monkeypatch):
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
    states = {name: outcome.state for name, outcome in runner.run_study(study, folder, console=console).items()}
    assert states.pop(run.name) == "elsewhere" and set(states.values()) == {"done"}
    gate.write_text("")
    assert orphan.wait(60) == 0
    assert {outcome.state for outcome in runner.run_study(study, folder, console=console).values()} == {"done"}
    assert calls(folder)[run.name] == 1


def test_a_run_holds_the_lock_of_its_folder(player, tmp_path, console, monkeypatch):
    probe = tmp_path / "probe.py"  # fails if its own folder is free
    probe.write_text("""
import fcntl, os, pathlib, sys
place = pathlib.Path(next(a for a in sys.argv if a.startswith("--workdir=")).split("=", 1)[1])
held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
sys.exit(0 if str(place) + ".running" in held else 3)
""")
    monkeypatch.setattr(runner, "PROGRAM", (sys.executable, str(probe)))
    study = dataclasses.replace(make(), seeds=(0,), label_shares=(1.0,), rows={"plain": make().rows["plain"]})
    (outcome,) = runner.run_study(study, tmp_path / "study", console=console).values()
    # It wrote nothing, so it is not done, but it held the lock.
    assert outcome.state == "failed" and outcome.reason.startswith("ended without evaluate/done.json, results.json")


@pytest.mark.parametrize(
    ("count", "dealt"), [(1, [[3, 5, 6, 8]]), (2, [[3, 5], [6, 8]]), (3, [[3], [5], [6]]), (5, [[3], [5], [6], [8], [3]])]
)
def test_cores_are_dealt_to_the_runs_at_a_time(count, dealt, monkeypatch):
    monkeypatch.setattr(runner, "cores", lambda: [3, 5, 6, 8])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    slots = runner._slots(count)
    assert [slot.cores for slot in slots] == dealt and all(slot.environment == dict(os.environ) for slot in slots)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,7")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in runner._slots(3)] == ["2", "7", "2"]


def test_a_run_has_the_cores_of_its_slot_and_the_table_says_how_many(player, tmp_path, console):
    study, folder = make(label_shares=(1.0,)), tmp_path / "study"
    runner.run_study(study, folder, processes=len(cores()), console=console)
    assert summary.summarise(study, folder)["cores"] == [1]
    assert "CPU cores of a run: 1; another number changes the rounding." in (folder / "table.md").read_text()
    about = next((folder / "runs").glob("*/run.json"))
    about.write_text(json.dumps({"device": {"platform": "cpu"}, "cores": 4}))
    summary.summarise(study, folder)
    assert "CPU cores of a run: 1 and 4; runs of different numbers" in (folder / "table.md").read_text()
    for about in (folder / "runs").glob("*/run.json"):
        about.write_text(json.dumps({"device": {"platform": "gpu"}, "cores": 4}))
    summary.summarise(study, folder)
    assert "CPU cores" not in (folder / "table.md").read_text()


def test_shards_cover_the_grid_once_and_a_later_call_merges(player, tmp_path, console):
    study, folder = make(), tmp_path / "study"
    for index in range(3):
        runner.run_study(study, folder, shard=f"{index}/3", console=console)
    made = calls(folder)
    assert len(made) == 10 and set(made.values()) == {1}
    assert len(summary.summarise(study, folder)["entries"]) == 6
    for text in ("3/3", "1", "a/b", "-1/2"):
        with pytest.raises(ValueError, match="study_shard"):
            runner.shard_of(text)


def test_the_table_says_what_its_numbers_are(player, tmp_path, console):
    study, folder = make(), tmp_path / "study"
    runner.run_study(study, folder, console=console)
    about = summary.summarise(study, folder)
    entries = {(e["row"], e["label_share"]): e for e in about["entries"]}
    plain, better, single = (entries[name, 1.0] for name in ("plain", "pretrained", "only_s2"))
    results = [json.loads((folder / "runs" / f"plain-seed{seed}-fold1" / "results.json").read_text()) for seed in (0, 1)]
    scores = [r["subsets"][0]["scores"]["miou"] for r in results]
    assert plain["mean"] == pytest.approx(np.mean(scores)) and plain["spread"] == pytest.approx(np.std(scores, ddof=1))
    assert plain["interval"][0] <= plain["mean"] <= plain["interval"][1]
    assert plain["difference"] is None
    assert better["difference"]["mean"] == pytest.approx(better["mean"] - plain["mean"])
    assert single["modalities"] == ["s2"] and single["mean"] < better["mean"]
    text = (folder / "table.md").read_text()
    assert "SIMULATED" in text and "60.0, not comparable" in text and "somewhere, mIoU" in text
    assert (folder / "table.csv").read_text().count("\n") == 7
    assert "\\bottomrule" in (folder / "table.tex").read_text() and "only\\_s2" in (folder / "table.tex").read_text()
    assert json.loads((folder / "study.json").read_text())["entries"][0]["row"] == "plain"
    page = unescape(html.write(folder).read_text())
    assert shlex.join(sys.argv) in page and "With 50 % of the labels" in page and "lies above zero for" in page


def test_a_study_of_tile_labels_says_what_every_label_would_score(player, tmp_path, console):
    study, folder = make(label_shares=(1.0,)), tmp_path / "study"
    runner.run_study(study, folder, console=console)
    summary.summarise(study, folder)
    assert "Every label" not in (folder / "table.md").read_text()
    for place in (folder / "runs").glob("*/results.json"):
        results = json.loads(place.read_text()) | {"task": "classify"}
        for entry in results["subsets"]:
            entry["scores"] = {"f1_macro": 50.0, "f1_every_label": 66.66}
        place.write_text(json.dumps(results))
        names, labels = np.array([f"t{i}" for i in range(6)]), np.tile([[1, 0]], (6, 1))
        np.savez(place.with_name("tiles.npz"), tile=names, predicted=np.full((6, 2, 2), 0.7), labels=labels)
    summary.summarise(study, folder)
    text = (folder / "table.md").read_text()
    assert "Every label given to every tile: 66.7 % macro F1." in text and "mIoU in %" not in text
