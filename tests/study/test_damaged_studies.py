"""Damaged or incomplete files of a study and its runs: one sentence that names the file, or the run is repeated."""

import json

import numpy as np
import pytest

from omnisat_jax.errors import DataError, UserError
from omnisat_jax.report import html
from omnisat_jax.study import folder as folders, grid, runner, summary
from tests.study.player import RUN, calls, make


@pytest.fixture
def finished(launcher, tmp_path, console):
    study, folder = make(label_shares=(1.0,), seeds=(0,)), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    summary.summarise(study, folder)
    return study, folder


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(**changes):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    "truncated": truncate,
    "empty": lambda path: path.write_bytes(b""),
    "a list": lambda path: path.write_text("[]"),
    "null": lambda path: path.write_text("null"),
    "a number": lambda path: path.write_text("7"),
    "too deep": lambda path: path.write_text("[" * 100_000),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}
FILES = {
    "settings.json": lambda study, folder, launcher, console: runner.run_study(study, folder, launcher, console=console),
    f"runs/{RUN}/config.json": lambda study, folder, launcher, console: runner.run_study(study, folder, launcher, console=console),
    f"runs/{RUN}/results.json": lambda study, folder, launcher, console: summary.summarise(study, folder),
    f"runs/{RUN}/run.json": lambda study, folder, launcher, console: summary.summarise(study, folder),
    f"runs/{RUN}/tiles.npz": lambda study, folder, launcher, console: summary.summarise(study, folder),
    "study.json": lambda study, folder, launcher, console: html.write(folder),
}


@pytest.mark.parametrize("damage", [name if name in ("truncated", "null", "a folder") else pytest.param(name, marks=pytest.mark.exhaustive) for name in DAMAGES])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named(file, damage, finished, launcher, console):
    study, folder = finished
    path = folder / file
    if path.name == "config.json":
        path.write_text(json.dumps(next(run.flat_config for run in grid.runs(study) if run.name == RUN)))
    DAMAGES[damage](path)
    if damage == "a folder":  # counts as a missing file
        if path.name in ("results.json", "tiles.npz"):
            assert RUN in summary.summarise(study, folder).waiting
        return
    with pytest.raises(UserError, match=path.name) as raised:
        FILES[file](study, folder, launcher, console)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"task": "count"}, "task: one of segment, classify"),
        ({"subsets": []}, "subsets: at least one"),
        ({"subsets": [{"modalities": "s2", "scores": {}}]}, "subsets[0].modalities: a list"),
        ({"subsets": [{"modalities": ["s2"], "scores": {}}]}, "subsets[0].scores: a key 'miou'"),
        ({"subsets": [{"modalities": ["s2"], "scores": {"miou": "high"}}]}, "subsets[0].scores.miou: a whole number or a number"),
        ({"protocol": {}}, "protocol: a key 'dataset'"),
        ({"protocol": None}, "protocol: an object"),
    ],
)
def test_results_of_another_shape(changes, key, finished):
    study, folder = finished
    change(**changes)(folder / "runs" / RUN / "results.json")
    with pytest.raises(DataError) as raised:
        summary.summarise(study, folder)
    assert key in str(raised.value) and "start the run's command again" in str(raised.value)


def test_runs_of_different_data_share_no_table(launcher, tmp_path, console):
    study, folder = make(label_shares=(1.0,)), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    places = sorted((folder / "runs").iterdir())
    protocols = {place: json.loads((place / "results.json").read_text())["protocol"] for place in places if place.is_dir()}
    for place, protocol in protocols.items():
        change(protocol=protocol | {"fingerprint": "a" * 16})(place / "results.json")
    summary.summarise(study, folder)
    last = list(protocols)[-1]
    change(protocol=protocols[last] | {"fingerprint": "b" * 16})(last / "results.json")
    with pytest.raises(UserError, match=f"made from data a{{16}}, {last.name} from b{{16}}, so they cannot share a table"):
        summary.summarise(study, folder)


@pytest.mark.parametrize("arrays", [{}, {"tile": 1}, {"tile": ["a"], "counts": np.zeros((1, 9, 9, 9))}, {"tile": [], "counts": np.zeros((0, 2, 2, 3))}])
def test_tiles_of_another_shape(arrays, finished):
    study, folder = finished
    np.savez(folder / "runs" / RUN / "tiles.npz", **arrays)
    with pytest.raises(DataError, match="tiles.npz: expected arrays"):
        summary.summarise(study, folder)


@pytest.mark.parametrize("gone", folders.PROMISED)
def test_a_run_is_done_when_all_it_promised_is_there(gone, finished, launcher, console):
    """As after a kill between any two of its files: it is run again, and once only."""
    study, folder = finished
    before = calls(folder)[RUN]
    (folder / "runs" / RUN / gone).unlink()
    assert RUN in summary.summarise(study, folder).waiting
    states = runner.run_study(study, folder, launcher, console=console)
    assert states[RUN].state == "done" and calls(folder)[RUN] == before + 1
    runner.run_study(study, folder, launcher, console=console)
    assert calls(folder)[RUN] == before + 1


def test_a_run_that_ends_without_its_model_has_failed(finished, launcher, console, tmp_path):
    study, folder = finished
    (tmp_path / "player.py").write_text("")
    (folder / "runs" / RUN / "model" / "config.json").unlink()
    outcome = runner.run_study(study, folder, launcher, console=console)[RUN]
    assert outcome.state == "failed" and "ended without model/config.json: delete" in outcome.reason


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_report_of_damaged_files(damage, tmp_path):
    for name in ("results.json", "study.json"):
        path = tmp_path / name
        path.write_text("{}")
        DAMAGES[damage](path)
        with pytest.raises(UserError, match=name if damage != "a folder" else "expected results.json"):
            html.write(tmp_path)
        path.rmdir() if damage == "a folder" else path.unlink()
