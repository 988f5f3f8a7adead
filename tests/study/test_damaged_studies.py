"""Files of a study and of its runs that are damaged or half there: one sentence with the file, or the run is done again."""

import dataclasses
import json

import numpy as np
import pytest

from omnisat_jax.errors import DataError, UserError
from omnisat_jax.report import html
from omnisat_jax.report.run_files import read_arrays
from omnisat_jax.study import grid, runner, summary
from tests.study.test_study import calls, make, player  # noqa: F401  a fixture

RUN = "plain-seed0-fold1"


@pytest.fixture
def finished(player, tmp_path, console):  # noqa: F811
    study, folder = make(label_shares=(1.0,), seeds=(0,)), tmp_path / "study"
    runner.run_study(study, folder, console=console)
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
    "settings.json": lambda study, folder, console: runner.run_study(study, folder, console=console),
    f"runs/{RUN}/config.json": lambda study, folder, console: runner.run_study(study, folder, console=console),
    f"runs/{RUN}/results.json": lambda study, folder, console: summary.summarise(study, folder),
    f"runs/{RUN}/run.json": lambda study, folder, console: summary.summarise(study, folder),
    f"runs/{RUN}/tiles.npz": lambda study, folder, console: summary.summarise(study, folder),
    "study.json": lambda study, folder, console: html.write(folder),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named(file, damage, finished, console):
    study, folder = finished
    path = folder / file
    if path.name == "config.json":
        settings = next(run.settings for run in grid.runs(study) if run.name == RUN)
        path.write_text(json.dumps(settings))
    DAMAGES[damage](path)
    if damage == "a folder":  # a file that is no file is one that is not there
        if path.name in ("results.json", "tiles.npz"):
            assert RUN in summary.summarise(study, folder)["waiting"]
        return
    with pytest.raises(UserError, match=path.name) as raised:
        FILES[file](study, folder, console)
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


def test_runs_of_different_data_share_no_table(player, tmp_path, console):  # noqa: F811
    study, folder = make(label_shares=(1.0,)), tmp_path / "study"
    runner.run_study(study, folder, console=console)
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


@pytest.mark.parametrize("gone", runner.PROMISED)
def test_a_run_is_done_when_all_it_promised_is_there(gone, finished, console):
    """As after a kill between any two of its files: it is run again, and once only."""
    study, folder = finished
    before = calls(folder)[RUN]
    (folder / "runs" / RUN / gone).unlink()
    assert RUN in summary.summarise(study, folder)["waiting"]
    states = runner.run_study(study, folder, console=console)
    assert states[RUN].state == "done" and calls(folder)[RUN] == before + 1
    runner.run_study(study, folder, console=console)
    assert calls(folder)[RUN] == before + 1


def test_a_run_that_ends_without_its_model_has_failed(finished, console, tmp_path):
    study, folder = finished
    (tmp_path / "player.py").write_text("")
    (folder / "runs" / RUN / "model" / "config.json").unlink()
    outcome = runner.run_study(study, folder, console=console)[RUN]
    assert outcome.state == "failed" and "ended without model/config.json: delete" in outcome.reason


@pytest.mark.parametrize("content", ["null", np.array([{}])])
def test_nobody_is_advised_to_load_objects(content, tmp_path):
    path = tmp_path / "tiles.npz"
    path.write_text(content) if isinstance(content, str) else np.savez(path, tile=content)
    with pytest.raises(DataError, match="tiles.npz: expected arrays.*which are not loaded") as raised:
        read_arrays(path, "arrays")
    assert "pickle" not in str(raised.value)


def test_a_study_runs_from_any_folder(player, tmp_path, console, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    study = make(label_shares=(1.0,), seeds=(0,))
    assert {outcome.state for outcome in runner.run_study(study, tmp_path / "study", console=console).values()} == {"done"}
    (line,) = (tmp_path / "study" / "runs" / RUN / "calls").read_text().splitlines()
    path = json.loads(line)["config"].partition(":")[0]
    assert path == str(grid.PROJECT / "configs" / "pastis.py") and json.loads((tmp_path / "study" / "settings.json").read_text())["config"] == study.config


def test_a_study_of_probes_is_refused():
    study = dataclasses.replace(make(seeds=(0,)), changes=("eval.probe=knn",))
    with pytest.raises(UserError, match="eval.probe is 'knn', but a study compares fine-tuned models"):
        grid.runs(study)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_report_of_damaged_files(damage, tmp_path):
    for name in ("results.json", "study.json"):
        path = tmp_path / name
        path.write_text("{}")
        DAMAGES[damage](path)
        with pytest.raises(UserError, match=name if damage != "a folder" else "expected results.json"):
            html.write(tmp_path)
        path.rmdir() if damage == "a folder" else path.unlink()
