"""Methods beside each other: differences on the same tiles, protocols that differ, and tables that fit a terminal."""

import json

import numpy as np
import pytest

from omnisat_jax.cli import terminal
from omnisat_jax.cli.command import run_command
from omnisat_jax.metrics.intervals import bootstrap
from omnisat_jax.report import comparison, contributions, folds, tables
from omnisat_jax.report.contributions import TILES

GOOD = np.array([[[9, 1, 0], [0, 5, 0]], [[9, 0, 0], [1, 5, 0]]])
BAD = np.array([[[9, 1, 0], [5, 0, 0]], [[9, 0, 0], [6, 0, 0]]])


def write(folder, counts, name, **changes):
    """A run of two tiles, without parcels, that is scored from counts (2,2,3)."""
    folder.mkdir()
    np.savez(folder / TILES, tile=np.array(["t0", "t1"]), counts=counts[:, None], some=np.ones((2, 1), bool))
    protocol = {
        "dataset": "x", "simulated": False, "fingerprint": "abc", "protocol": "fixed", "fold": 1, "train": ["train"], "validation": [], "test": ["test"],
        "train_tiles": 1, "test_tiles": 2, "classes": ["a", "b"], "unscored": [], "threshold": 0.5, "seed": 0, "void_test_parcels": False, "dates": {},
        "checkpoint": 0, "pretrain_steps": 0, "pretrain_from": "", "label_share": 1.0, "modalities": ["s2"], "missing_modalities": [], "probe": "none",
        "broken": {"on_bad": "raise", "tiles": 0},
    }  # fmt: skip
    entry = {"modalities": ["s2"], "scores": {"miou": 1.0}, "confusion": counts.sum(0).tolist(), "tiles": 2, "tiles_with_all": 2}
    training = [{"pixels": [4, 0], "parcels": [0, 0]}]
    (folder / "results.json").write_text(json.dumps({"name": name, "task": "segment", "protocol": protocol | changes, "subsets": [entry], "training": training}))
    return str(folder)


def test_methods_are_compared_on_the_same_tiles(tmp_path, capsys):
    runs = [write(tmp_path / "good", GOOD, "good"), "--beside", write(tmp_path / "bad", BAD, "bad")]
    assert folds.main([*runs, "--resamples=50", "--min_training=1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "scored, but not learnable: b" in text and "on the same resampled tiles and parcels" in text
    methods = [comparison.Method(found := folds.read([run]), folds.join(found)) for run in (runs[0], runs[2])]
    first, second = comparison._rows(methods, 50)
    assert first.difference == [] and first.scores[0] == f"{100 * (18 / 20 + 10 / 12) / 2:.1f}"
    difference = methods[1].joined["subsets"][0]["scores"]["miou"] - methods[0].joined["subsets"][0]["scores"]["miou"]
    assert second.difference[0] == f"{difference:+.1f}" and second.difference[1].startswith("[-") and second.difference[2] == "-"
    assert contributions.read_tiles(tmp_path / "good", next(iter(methods[0].runs.values())), 0).names == ("t0", "t1")


@pytest.mark.parametrize("held", [1, 0])
def test_tiles_that_hold_no_modality_are_not_resampled(tmp_path, held):
    """The interval over one tile that is scored has no width, whatever other tiles there are."""
    run = write(tmp_path / "good", GOOD, "good")
    np.savez(tmp_path / "good" / TILES, tile=np.array(["t0", "t1"]), counts=np.stack([GOOD[0] * held, GOOD[1] * 0])[:, None], some=np.array([[held > 0], [False]]))
    method = comparison.Method(found := folds.read([run]), folds.join(found))
    tiles = method.tiles(0)
    if not held:
        assert tiles is None
        return
    scores = bootstrap([tiles], 50)
    assert tiles.names == ("t0",) and np.isfinite(scores).all() and np.ptp(scores) == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"void_test_parcels": True}, "void_test_parcels is True, not False"),
        ({"label_share": 0.1}, "label_share is 0.1, not 1.0"),
        ({"protocol": "leave_one_fold_out"}, "protocol is 'leave_one_fold_out', not 'fixed'"),
        ({"validation": ["val"]}, "validation is ['one of the others'], not []"),
        ({"train_tiles": 9}, "train_tiles is 9, not 1"),
        ({"test_tiles": 3}, "test_tiles is 3, not 2"),
        ({"fingerprint": "def"}, "fingerprint is 'def', not 'abc'"),
        ({"broken": {"on_bad": "skip", "tiles": 1}}, "'tiles': 1}, not {'on_bad': 'raise', 'tiles': 0}"),
        ({"missing_modalities": ["s1"]}, "missing_modalities is ['s1'], not []"),
    ],
)
def test_protocols_that_differ_in_training_are_named_in_one_line(tmp_path, capsys, changes, text):
    arguments = [write(tmp_path / "good", GOOD, "good"), "--beside", write(tmp_path / "bad", BAD, "bad", **changes), "--resamples=2"]
    assert folds.main(arguments) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"bad has another protocol than good, so they differ in more than the method: {next(iter(changes))} is" in out and text in out


@pytest.mark.parametrize(
    "changes", [{"dataset": "y"}, {"simulated": True}, {"classes": ["a", "c"]}, {"unscored": ["b"]}, {"test": ["other"]}], ids=lambda changes: next(iter(changes))
)
def test_scores_of_other_data_or_classes_are_not_compared(tmp_path, capsys, changes):
    arguments = [write(tmp_path / "good", GOOD, "good"), "--beside", write(tmp_path / "bad", BAD, "bad", **changes)]
    assert run_command(folds.main, arguments) == 1
    captured = capsys.readouterr()
    assert f"error: bad: expected the same {next(iter(changes))} as good" in captured.err and "cannot be compared" in captured.err and not captured.out


def test_equal_protocols_have_no_line_and_folds_may_come_in_any_order(tmp_path, capsys):
    good = [write(tmp_path / f"good{part}", GOOD, "pastis", test=[part]) for part in "ab"]
    bad = [write(tmp_path / f"bad{part}", BAD, "pastis", test=[part]) for part in "ba"]
    assert folds.main([*good, "--beside", *bad, "--resamples=2"]) == 0
    out = capsys.readouterr().out
    assert "another protocol" not in out
    methods = [comparison.Method(runs, folds.join(runs)) for runs in map(folds.read, (good, bad))]
    assert comparison.titles(methods) == [f"pastis ({good[0]})", f"pastis ({bad[0]})"]
    assert "[-56.7, -56.7]" in out  # they are resampled alike, or the difference would have no interval


@pytest.mark.parametrize("scored", ["as few columns as possible", "learnable classes and parcels"])
def test_every_table_fits_eighty_columns(scored, capsys, monkeypatch):
    """With names as long as those of the project's own runs, and numbers as wide as they get."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(comparison, "_rows", lambda methods, _: iter([comparison._Row(name, modalities, numbers, intervals, differences) for name in names]))
    names, modalities = ["pastis_no_pretrain", "500 extra trees on s2+s1a+s1d+spot"], "s2+s1a+s1d+spot"
    columns = tables.columns({"task": "segment", "subsets": [{"scores": {"miou_learnable": 1.0}, "parcels": {}} if "parcels" in scored else {"scores": {}}]})
    numbers, intervals, differences = ["100.0"] * len(columns), ["[100.0, 100.0]"] * 2, ["-100.0", "[-100.0, +100.0]", "[-100.0, +100.0]"]
    monkeypatch.setattr(tables, "columns", lambda results: columns)
    methods = [comparison.Method({}, {"name": name, "protocol": {}}) for name in names]
    comparison.show(terminal.console(), methods, 20)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    out = "\n".join(lines)
    wanted = {"[100.0, 100.0]": 2 * len(names), "[-100.0, +100.0]": 2 * len(names), " 100.0 ": len(names) * (len(columns) + 1), " -100.0 ": len(names)}
    assert {text: out.count(text) for text in wanted} == wanted and "…" not in out
