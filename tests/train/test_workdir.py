"""The folder of a run: who may start in it, what may change, and what is reported of its damaged files."""

import json
import multiprocessing
import os
import subprocess
import sys

import pytest

from omnisat_jax.config import versions
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files.locks import InUseError
from omnisat_jax.train.workdir import (
    WorkdirError,
    check_path,
    claim,
    evaluated,
    finished,
    held,
    mark_done,
    mark_evaluated,
    need_own,
)
from tests.train.run_folder import DATA, FLAT, begin, read, start_run


@pytest.fixture
def run(tmp_path):
    return start_run(tmp_path / "run")


# One start at a time.


def _hold(folder, ready, release):
    with held(folder):
        ready.set()
        release.wait(60)


def test_a_second_start_is_refused_with_who_is_first_and_a_dead_one_holds_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path / "run", ready, release))
    first.start()
    try:
        assert ready.wait(120)
        host = os.uname().nodename
        with pytest.raises(InUseError, match=rf"run: another process is using it \(process {first.pid} on {host}, since \d{{4}}-"), held(tmp_path / "run"):
            pass
    finally:
        first.kill()
        first.join()
    with held(tmp_path / "run"):
        assert claim(tmp_path / "run", FLAT) == []


def test_folds_lock_their_common_folder(tmp_path):
    with held(tmp_path / "runs", folds=True):
        with held(tmp_path / "runs" / "fold_1"), pytest.raises(InUseError), held(tmp_path / "runs" / "fold_1"):
            pass
        with pytest.raises(InUseError), held(tmp_path / "runs", folds=True):
            pass
    with held(tmp_path / "runs", folds=True):
        pass
    with held(tmp_path / "single"):
        claim(tmp_path / "single", FLAT)
    with pytest.raises(WorkdirError, match="holds a single run"), held(tmp_path / "single", folds=True):
        pass


# Where a run may be.


@pytest.mark.parametrize("name", ["a[1]", "a]", "a*b", "what?", "a\\b", "a\nb", "a\x1b[31mb", "a\udcffb"])
def test_a_path_that_could_not_be_read_again_is_refused(tmp_path, name):
    for folder in (tmp_path / name, tmp_path / name / "run"):
        with pytest.raises(WorkdirError, match="--workdir must not have") as refused, held(folder):
            pass
        assert str(refused.value).isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["plain", "with space", "Zürich", "日本", "a(b){c}", "50%", "#1", "a'b\"c", "~x", "a=b,c;d&e!f$g^h`i|j+k@l<m>n"])
def test_other_paths_are_accepted(tmp_path, name):
    check_path(tmp_path / name)


def test_other_addresses_are_no_folders():
    with pytest.raises(WorkdirError, match="--workdir: expected a folder of this machine or gs://BUCKET/FOLDER, found https://bucket/run"):
        check_path("https://bucket/run")


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for folds in (False, True):
        with pytest.raises(WorkdirError, match="holds no run .*thesis.tex"), held(tmp_path, folds=folds):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(WorkdirError, match=r"cannot be the folder of a run \(it is a file"), held(tmp_path / "thesis.tex"):
        pass
    with pytest.raises(WorkdirError, match="a part of its path is a file"), held(tmp_path / "thesis.tex" / "run"):
        pass


def test_a_start_that_died_at_the_first_file_blocks_nothing(tmp_path):
    folder = tmp_path / "run"
    killed = f"""
import os, pathlib, signal, sys
def hook(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("config.json"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from omnisat_jax.train.workdir import claim, held
with held({str(folder)!r}):
    claim({str(folder)!r}, {FLAT!r})
"""
    assert subprocess.run([sys.executable, "-c", killed]).returncode == -9
    left = [path.name for path in folder.iterdir()]
    assert any("config.json.partial-" in name for name in left) and "config.json" not in left
    # And what other machines, earlier versions and desktops leave.
    for name in ("config.json.partial-elsewhere-1-0123abcd", "config.json.partial-17", ".DS_Store", "compiled_v5e-4x4.json"):
        (folder / name).write_text("")
    with held(folder):
        assert claim(folder, FLAT) == []
        # Of the two that may still be written, nothing is removed.
        assert {path.name for path in folder.glob("*.partial-*")} == {"config.json.partial-elsewhere-1-0123abcd", "config.json.partial-17"}
    assert read(folder / "config.json") == FLAT


def test_a_start_that_was_refused_before_it_did_anything_keeps_no_configuration(tmp_path):
    with held(tmp_path / "run"):
        claim(tmp_path / "run", FLAT)
        other = FLAT | {"seed": 1}
        assert claim(tmp_path / "run", other) == [] and read(tmp_path / "run" / "config.json") == other
        (tmp_path / "run" / "finetune").mkdir()  # with a stage it is a run, also without its record
        with pytest.raises(WorkdirError, match="seed: 1 before, 0 now"):
            claim(tmp_path / "run", FLAT)


def test_foreign_folders_are_refused_before_anything_is_written(run, tmp_path):
    need_own(run, FLAT)
    need_own(run, FLAT | {"data.threads": 9})
    need_own(tmp_path / "new", FLAT)
    need_own("gs://bucket/run", FLAT)  # is asked later
    assert not (tmp_path / "new").exists()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(WorkdirError, match="holds a run with another configuration:\n  seed: 0 before, 1 now"):
        need_own(run, FLAT | {"seed": 1})
    with pytest.raises(WorkdirError, match="holds a single run: choose another --workdir for --folds"):
        need_own(run, FLAT, folds=[1])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(WorkdirError, match="is not empty and holds no run .no config.json, but thesis.tex"):
        need_own(tmp_path / "other", FLAT)
    with pytest.raises(WorkdirError, match="cannot be the folder of a run .it is a file"):
        need_own(tmp_path / "other" / "thesis.tex", FLAT)


def test_the_folder_of_each_fold_is_compared(run, tmp_path):
    folds = tmp_path / "folds"
    folds.mkdir()
    run.rename(folds / "fold_2")
    need_own(folds, FLAT, folds=[1])
    with pytest.raises(WorkdirError, match="fold_2 holds a run with another configuration:\n  data.fold: "):
        need_own(folds, FLAT, folds=[1, 2])


# What may change.


def test_what_does_not_change_the_result_may_change(run):
    before = read(run / "config.json")
    now = FLAT | {"data.threads": 9, "data.raw_dir": "/moved", "eval.panels": 0, "finetune.steps": 12, "pretrain_from": "runs/x/"}
    start = begin(run, flat=now)
    assert read(run / "config.json") == before  # nothing has run yet
    shown = start.begin()
    assert "data.threads: 2 before, 9 now" in shown and not any("learning rate" in text for text in shown)
    assert read(run / "config.json")["data.threads"] == 9
    assert read(run / "run.json")["starts"][-1]["changed"]["finetune.steps"] == [8, 12]
    assert claim(run, now) == []


def test_what_changes_the_result_is_refused_with_what_may_change(run):
    for key, value in {"seed": 1, "model.utae.encoder_widths": [8], "finetune.steps": 7, "pretrain_from": "runs/y", "extra": 1}.items():
        with pytest.raises(WorkdirError, match=f"{key}: .* before, .* now") as refused:
            claim(run, FLAT | {key: value, "data.threads": 5})
        assert "May change: the location of the data" in str(refused.value) and "data.threads: 2" not in str(refused.value)


def test_of_a_wholly_other_configuration_a_few_keys_are_shown(run):
    with pytest.raises(WorkdirError, match="and 88 more keys") as refused:
        claim(run, FLAT | {f"extra.{index}": 1 for index in range(100)})
    assert str(refused.value).count("\n") < 20


def test_more_steps_of_a_stage_that_has_begun_are_said_and_of_a_finished_one_refused(run):
    (run / "finetune" / "checkpoints").mkdir(parents=True)
    (shown,) = begin(run, flat=FLAT | {"finetune.steps": 12}).begin()
    assert "goes on with the learning rate of 12 steps where it has followed that of 8" in shown
    mark_done(run, "finetune", {"step": 12})
    with pytest.raises(WorkdirError, match="finetune.steps: 12 before, 20 now"):
        claim(run, FLAT | {"finetune.steps": 20})


def test_keys_that_are_younger_than_the_run_have_their_earlier_value(run, monkeypatch):
    monkeypatch.setitem(versions.ADDED, "model.new", 7)
    assert claim(run, FLAT | {"model.new": 7}) == []
    with pytest.raises(WorkdirError, match="model.new: 7 before, 8 now"):
        claim(run, FLAT | {"model.new": 8})


# Damaged files.

DAMAGE = {
    "empty": b"", "truncated": None, "binary": b"\xff\xfe\x00", "list": b"[1]", "null": b"null", "text": b'"x"', "deep": b"[" * 100_000,
    "other keys": b'{"a": {}}', "other kinds": b'{"data": [], "config": 1, "seconds": {"a": [{"b": "c"}]}, "starts": [1], "step": {}}',
}  # fmt: skip


def damage(path, how):
    content = DAMAGE[how]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_a_damaged_file_of_a_run_is_one_sentence_that_says_how_to_go_on(run, name, how):
    damage(run / name, how)
    if name == "config.json" and how.startswith("other"):
        with pytest.raises(WorkdirError, match="another configuration"):
            begin(run)
        return
    with pytest.raises(DataError) as refused:
        begin(run)
    assert str(run / name) in str(refused.value) and "elete it" in str(refused.value) and "\n" not in str(refused.value)
    (run / name).unlink()  # as it says
    begin(run).begin()
    assert read(run / "config.json") == FLAT and read(run / "run.json")["data"] == DATA


def test_both_records_gone_is_said(run):
    for name in ("config.json", "run.json"):
        (run / name).unlink()
    mark_done(run, "pretrain", {})
    with pytest.raises(WorkdirError, match="holds no run"), held(run):
        pass


@pytest.mark.parametrize("how", [how for how in DAMAGE if not how.startswith("other")])
def test_a_damaged_mark_counts_as_none(run, caplog, how):
    mark_done(run, "pretrain", {"step": 4})
    assert finished(run, "pretrain").get("step").value == 4
    damage(run / "pretrain" / "done.json", how)
    assert claim(run, FLAT) == [] and finished(run, "pretrain") is None
    assert caplog.text.count(str(run / "pretrain" / "done.json")) == 1


@pytest.fixture
def results(run):
    (run / "results.json").write_text(json.dumps({"subsets": [], "protocol": {"probe": "none"}}))
    (run / "model").mkdir()
    for name in ("config.json", "statistics.json", "model.safetensors"):
        (run / "model" / name).write_text(name)
    (run / "tiles.npz").write_bytes(b"tiles")
    mark_evaluated(run, {"checkpoint": 8}, model=True)
    return run


@pytest.mark.parametrize("name", ["results.json", "tiles.npz", "model/config.json", "model/statistics.json", "model/model.safetensors"])
def test_an_evaluation_is_finished_only_with_everything_it_promised(results, name):
    assert evaluated(results)[0]["protocol"] == {"probe": "none"}
    content = (results / name).read_bytes()
    for broken in (content[:-1], content.replace(content[2:3], b"~"), b"", None):
        (results / name).unlink()
        if broken is not None:
            (results / name).write_bytes(broken)
        found, why = evaluated(results)
        assert found is None and name.rsplit("/")[-1] in why
        (results / name).write_bytes(content)
    # Marks of earlier versions name no files, and their weights had another name.
    (results / "model" / "model.safetensors").rename(results / "model" / "weights.safetensors")
    name = name.replace("model.safetensors", "weights.safetensors")
    (results / "evaluate" / "done.json").write_text('{"checkpoint": 8}')
    assert evaluated(results)[0]
    (results / name).unlink()
    assert evaluated(results)[0] is None or name == "tiles.npz"
    for mark in ('{"checkpoint": 8, "files": [3]}', "{}", '{"checkpoint": null}'):
        (results / "evaluate" / "done.json").write_text(mark)
        assert evaluated(results)[0] is None and evaluated(results)[1]


def test_a_card_may_be_edited(results):
    (results / "model" / "README.md").write_text("card")
    mark_evaluated(results, {"checkpoint": 8}, model=True)
    for change in (lambda path: path.write_text("our own words"), lambda path: path.unlink()):
        change(results / "model" / "README.md")
        assert evaluated(results)[0]


def test_a_full_disk_at_the_first_file_is_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with held(tmp_path / "run"):
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="config.json: cannot be written .*the disk is full"):
            claim(tmp_path / "run", FLAT)
        monkeypatch.undo()
    with held(tmp_path / "run"):
        assert claim(tmp_path / "run", FLAT) == []
