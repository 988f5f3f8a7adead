"""Runs that are killed, stopped, damaged or continued by other numbers of processes give the result of an undisturbed run."""

import json
import random
import re
import resource
import shutil
import signal

import numpy as np
import pytest

from data.pastis.simulated import simulate
from tests.conftest import prepare_pastis
from tests.distributed.processes import KILL, Launcher, assert_same, finish, rows, state

PREEMPTED = 75


def losses(folder):
    """Of the training steps. Sums over other groups of devices differ in the last digits, and eight steps make more of it."""
    return [row["loss"] for row in rows(folder) if "loss" in row]


@pytest.fixture(scope="module")
def launcher(simulated, cache, tmp_path_factory):
    """Its runs end with fine-tuning: what is compared is its state and its losses. The evaluation has its turn in every moment of every stage."""
    return Launcher(simulated, cache, tmp_path_factory.mktemp("programs"), stage="finetune")


@pytest.fixture(scope="module")
def whole(launcher, tmp_path_factory):
    """An uninterrupted run of one process."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    launcher.run(folder)
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Flags of a run that pre-trains on further tiles as well, of another size and without labels."""
    folder = tmp_path_factory.mktemp("additional")
    root = simulate(folder / "raw", tiles=5, tile_size=24, seed=1)
    shutil.rmtree(root / "ANNOTATIONS")
    assert prepare_pastis(root, folder / "out", "--unlabelled", "pretrain") == 0
    return (f"--config.data.pretrain_dirs={folder / 'out'}", "--config.data.pretrain_weights=(1.0,1.0)")


@pytest.mark.parametrize(("processes", "times"), [(1, 1), pytest.param(1, 2, marks=pytest.mark.exhaustive), pytest.param(2, 1, marks=pytest.mark.exhaustive)])
def test_killed_again_and_again(launcher, whole, tmp_path, processes, times):
    reference = whole
    if processes > 1:
        reference = tmp_path / "reference"
        launcher.run(reference, processes=processes)
    last = 0
    for _ in range(times):
        step = random.Random(last + processes).randint(last + 1, 6)
        first, *others = launcher.start(tmp_path / "run", processes=processes, signals={0: (signal.SIGKILL, step)})
        finish([first], -signal.SIGKILL)
        for child in others:
            child.kill()
            child.communicate()
        last = max(0, step - 2)
    launcher.run(tmp_path / "run", processes=processes)
    assert rows(tmp_path / "run") == rows(reference)
    assert_same(state(tmp_path / "run"), state(reference))


# In the order of a run: what is about to be there when the process is killed.
MOMENTS = (
    r"/run/config\.json$",
    r"/fold_3\.json$",  # of the records
    r"/dataset\.json$",
    r"/run/run\.json$",
    r"/pretrain/checkpoints/2$",
    r"/pretrain/done\.json$",
    r"/finetune/checkpoints/4$",
    r"/run/metrics\.jsonl$",  # cut, as the checkpoint after step 4 is not there
    r"/tiles\.npz$",
    r"/model[^/]*/config\.json$",
    r"/run/report\.html",
    r"/evaluate/done\.json$",
)


def kill_at(moments, how, launcher, tmp_path):
    """Kills a run, started as `How` says, at each moment in turn.

    Returns (launcher, what the start after the last one writes, folder, folder of an undisturbed run).
    """
    again = Launcher(launcher.raw, tmp_path / "cache", launcher.programs)
    folder, reference = tmp_path / "run", tmp_path / "reference" / "run"
    launcher.run(reference, **how)
    for moment in moments:
        again.run(folder, code=-signal.SIGKILL, before=KILL.format(moment), **how)
    output = again.run(folder, **how)[0]
    assert rows(folder) == rows(reference)
    assert {path.name for path in folder.iterdir()} == {path.name for path in reference.iterdir()}
    # Nothing half-written is left.
    assert not [path for path in folder.rglob("*") if "partial-" in path.name or "orbax-checkpoint-tmp" in path.name]
    return again, output, folder, reference


def test_killed_at_moments_of_pretraining(launcher, mixed, tmp_path):
    """The evaluation is stopped in test_signals.py and damaged in tests/experiment/test_lost_checkpoints.py.

    What several devices share is written in the other tests, whose programs take less time to compile for them than those of pre-training.
    """
    moments, extra = (MOMENTS[2], r"/pretrain/checkpoints/4$"), (*mixed, "--config.eval.monitor_tiles=0")
    _, output, folder, reference = kill_at(moments, {"pretrain": True, "extra": extra, "stage": "pretrain", "devices": 1}, launcher, tmp_path)
    assert "pretrain: goes on after step 2" in output
    assert_same(state(folder, "pretrain"), state(reference, "pretrain"))


@pytest.mark.exhaustive
def test_killed_at_every_moment_of_every_stage(launcher, mixed, tmp_path):
    again, output, folder, reference = kill_at(MOMENTS, {"pretrain": True, "extra": mixed, "stage": "all"}, launcher, tmp_path)
    assert "pretrain: finished before" in output and "finetune: finished before" in output and "evaluate: finished" not in output
    for stage in ("pretrain", "finetune"):
        assert_same(state(folder, stage), state(reference, stage))
    for name in ("results.json", "results.md", "model/model.safetensors", "statistics.json"):
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name
    assert "evaluate: finished before" in again.run(folder, pretrain=True, extra=mixed)[0]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_sigterm_saves_and_ends(launcher, whole, tmp_path, processes):
    one_of_them = {processes - 1: (signal.SIGTERM, 2)}
    outputs = launcher.run(tmp_path / "run", code=PREEMPTED, processes=processes, signals=one_of_them)
    assert all("is saved; the same command goes on from there" in output for output in outputs)
    compiled = launcher.programs_of("finetune_step")
    output = launcher.run(tmp_path / "run", processes=processes)[0]
    assert "finetune: goes on after step" in output
    # With the cache of programs, going on compiles no step again.
    assert compiled and launcher.programs_of("finetune_step") == compiled
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(whole), rtol=2e-3)
    if processes == 1:
        assert_same(state(tmp_path / "run"), state(whole))


@pytest.mark.parametrize("processes", [(2, 1), pytest.param((2, 1, 4), marks=pytest.mark.exhaustive)], ids=str)
def test_grow_and_shrink(launcher, whole, tmp_path, processes):
    """On four devices in all: the same examples, the same losses."""
    *first, last = processes
    for step, number in enumerate(first, 1):
        launcher.run(tmp_path / "run", code=PREEMPTED, processes=number, signals={0: (signal.SIGTERM, 2 * step)})
    launcher.run(tmp_path / "run", processes=last)
    found, expected = rows(tmp_path / "run"), rows(whole)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(whole), rtol=2e-3)


@pytest.mark.exhaustive
def test_the_temperature_of_two_processes_is_that_of_one(launcher, whole, tmp_path):
    for name, processes in (("alone", 1), ("first", 2), ("second", 2)):
        shutil.copytree(whole, tmp_path / name)
        launcher.run(tmp_path / name, processes=processes, stage="all", extra=["--config.eval.calibrate=True"])
    expected, found, again = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("alone", "first", "second"))
    assert found == again
    assert [row["confusion"] for row in found["subsets"]] == [row["confusion"] for row in expected["subsets"]]
    found, expected = found["temperature_scaling"], expected["temperature_scaling"]
    assert found["predictions"] == expected["predictions"] > 0 and found["remark"] == expected["remark"]
    assert found["temperature"] == pytest.approx(expected["temperature"], rel=1e-4)
    for side in ("before", "after"):
        assert found[side]["nll"] == pytest.approx(expected[side]["nll"], rel=1e-5)
        np.testing.assert_allclose(np.array(found[side]["counts"]).sum(0), np.array(expected[side]["counts"]).sum(0), rtol=1e-4)


@pytest.mark.exhaustive
def test_pretraining_over_two_processes(launcher, mixed, tmp_path):
    """The contrastive step gives the losses of one process, with groups within and across hosts, and with tiles of several folders."""
    for processes in (1, 2):
        launcher.run(tmp_path / f"run{processes}", processes=processes, pretrain=True, stage="pretrain", extra=mixed)
    np.testing.assert_allclose(losses(tmp_path / "run1"), losses(tmp_path / "run2"), rtol=2e-3)


@pytest.mark.parametrize("damage", ["truncated", pytest.param("missing", marks=pytest.mark.exhaustive)])
def test_a_damaged_checkpoint_is_set_aside(launcher, whole, tmp_path, damage):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "finetune" / "done.json").unlink()
    newest = tmp_path / "run" / "finetune" / "checkpoints" / "8"
    for path in [path for path in newest.rglob("*") if path.is_file()]:
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    output = launcher.run(tmp_path / "run")[0]
    assert "this checkpoint cannot be read" in output and "finetune: goes on after step 6" in output
    assert (tmp_path / "run" / "finetune" / "checkpoints-broken" / "8.0").is_dir()
    assert_same(state(tmp_path / "run"), state(whole))


def test_a_disk_that_is_full_loses_nothing(launcher, whole, tmp_path):
    """After the second save no file may grow beyond some kB, which the writer sees as a full disk."""
    limited = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from omnisat_jax.train import checkpoints as checkpoint
save = checkpoint.Checkpoints.save
def limited(self, step, state, value=None):
    if step >= 4:
        self.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, {resource.RLIM_INFINITY}))
    save(self, step, state, value)
checkpoint.Checkpoints.save = limited
"""
    output = launcher.run(tmp_path / "run", code=1, before=limited)[0]
    assert output.count("error:") == output.count("could not be written") == 1 and "Older checkpoints are untouched" in output and "Traceback" not in output
    output = launcher.run(tmp_path / "run")[0]
    assert "finetune: goes on after step 2" in output
    assert_same(state(tmp_path / "run"), state(whole))


def test_a_host_that_dies_stops_the_others(launcher, tmp_path):
    children = launcher.start(tmp_path / "run", processes=2, extra=["--host_timeout=10"], signals={1: (signal.SIGKILL, 1)})
    output = children[0].communicate(timeout=120)[0]
    assert children[0].returncode not in (0, PREEMPTED)
    assert "another host died" in output or "heartbeat" in output.lower(), output[-2000:]


def test_tiles_of_a_step_that_is_not_finite_are_named_on_every_host(launcher, tmp_path):
    nan = """
from omnisat_jax.tasks import finetune
segmentation_loss = finetune.segmentation_loss
def spoilt(*arguments, **options):
    loss, metrics = segmentation_loss(*arguments, **options)
    return loss * float("nan"), metrics
finetune.segmentation_loss = spoilt
"""
    children = launcher.start(tmp_path / "run", processes=2, before=nan, extra=["--config.nonfinite_budget=1"])
    for output in finish(children, 1):
        assert "2 steps had a loss or gradient that was not finite, more than nonfinite_budget = 1" in output
        tiles = re.search(r"step 1: tiles ([\d, ]+)", output).group(1)
        assert len(tiles.split(",")) == 4  # the whole batch, of which each host read two


def test_hosts_that_differ_are_named(launcher, tmp_path):
    children = launcher.start(
        tmp_path / "run", processes=2, each={1: ["--config.seed=5"]}, before="import socket; socket.gethostname = lambda: 'node'"
    )
    outputs = finish(children, 1)
    assert all("error: process 1 on node has another configuration (seed: 5, process 0 has 0)" in output for output in outputs)


def test_changed_data_are_used_only_when_accepted(launcher, whole, simulated, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "finetune" / "done.json").unlink()
    # The same raw folder, one tile's Sentinel-2 gone.
    shutil.copytree(simulated, tmp_path / "raw")
    (tmp_path / "raw" / "DATA_S2" / "S2_10001.npy").unlink()
    text = (tmp_path / "run" / "config.json").read_text()
    (tmp_path / "run" / "config.json").write_text(text.replace(str(simulated), str(tmp_path / "raw")))
    other = Launcher(tmp_path / "raw", launcher.cache, launcher.programs, launcher.stage)
    assert "this run was started on data" in other.run(tmp_path / "run", code=1)[0]
    assert "goes on after step 8" in other.run(tmp_path / "run", extra=["--accept_new_data"])[0]
