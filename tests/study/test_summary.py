"""What the finished runs of a study show together."""

import json
import shlex
import sys
from html import unescape

import numpy as np
import pytest
from scipy import stats

from omnisat_jax.metrics.intervals import Tiles
from omnisat_jax.report import contributions, html
from omnisat_jax.study import runner, summary
from omnisat_jax.train.workdir import cores
from tests.study.player import make


def test_a_run_has_the_cores_of_its_slot_which_a_note_counts(launcher, tmp_path, console):
    study, folder = make(label_shares=(1.0,)), tmp_path / "study"
    runner.run_study(study, folder, launcher, processes=len(cores()), console=console)
    assert summary.summarise(study, folder).cores == [1]
    assert "CPU cores per run: 1; another number changes the rounding." in (folder / "table.md").read_text()
    info = next((folder / "runs").glob("*/run.json"))
    info.write_text(json.dumps({"device": {"platform": "cpu"}, "cores": 4}))
    summary.summarise(study, folder)
    assert "CPU cores per run: 1 and 4; runs with different numbers of cores" in (folder / "table.md").read_text()
    for info in (folder / "runs").glob("*/run.json"):
        info.write_text(json.dumps({"device": {"platform": "gpu"}, "cores": 4}))
    summary.summarise(study, folder)
    assert "CPU cores" not in (folder / "table.md").read_text()


def test_scores_intervals_and_differences(launcher, tmp_path, console):
    study, folder = make(), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    found = summary.summarise(study, folder)
    entries = {(entry.row, entry.label_share): entry for entry in found.entries}
    plain, better, single = (entries[name, 1.0] for name in ("plain", "pretrained", "only_s2"))
    results = [json.loads((folder / "runs" / f"plain-seed{seed}-fold1" / "results.json").read_text()) for seed in (0, 1)]
    scores = [r["subsets"][0]["scores"]["miou"] for r in results]
    assert plain.mean == pytest.approx(np.mean(scores)) and plain.spread == pytest.approx(np.std(scores, ddof=1))
    assert plain.interval[0] <= plain.mean <= plain.interval[1]
    assert plain.difference is None
    assert better.difference.mean == pytest.approx(better.mean - plain.mean)
    paired = np.subtract(better.scores, plain.scores)
    for values, found_interval in ((scores, plain.seed_interval), (paired, better.difference.seed_interval)):
        half = stats.t.ppf(0.975, 1) * stats.sem(values)
        assert found_interval == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert plain.parcel_interval is None
    assert single.modalities == ["s2"] and single.mean < better.mean
    text = (folder / "table.md").read_text()
    assert "SIMULATED" in text and "60.0, not comparable" in text and "somewhere, mIoU" in text
    assert (folder / "table.csv").read_text().count("\n") == 7
    assert "\\bottomrule" in (folder / "table.tex").read_text() and "only\\_s2" in (folder / "table.tex").read_text()
    assert json.loads((folder / "study.json").read_text())["entries"][0]["row"] == "plain"
    page = unescape(html.write(folder).read_text())
    assert shlex.join(sys.argv) in page and "With 50 % of the labels" in page and "lies above zero over tiles for" in page


def test_a_study_of_tile_labels_shows_the_score_of_every_label(launcher, tmp_path, console):
    study, folder = make(label_shares=(1.0,)), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    summary.summarise(study, folder)
    assert "every label" not in (folder / "table.md").read_text()
    for place in (folder / "runs").glob("*/results.json"):
        results = json.loads(place.read_text()) | {"task": "classify"}
        for entry in results["subsets"]:
            entry["scores"] = {"f1_macro": 50.0, "f1_every_label": 66.66}
        place.write_text(json.dumps(results))
        names, labels = np.array([f"t{i}" for i in range(6)]), np.tile([[1, 0]], (6, 1))
        np.savez(place.with_name("tiles.npz"), tile=names, predicted=np.full((6, 2, 2), 0.7), labels=labels)
    summary.summarise(study, folder)
    text = (folder / "table.md").read_text()
    assert "A prediction of every label for every tile scores 66.7 % macro F1." in text and "mIoU in %" not in text


def test_tiles_without_the_subset_do_not_count_when_resampled(tmp_path):
    """A tile that holds no modality of the subset has neither label nor prediction."""
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 2, (6, 3)).astype(np.float32), rng.random((6, 2, 3))
    some = np.ones((6, 2), bool)
    some[:3, 1] = False
    np.savez(tmp_path / "tiles.npz", tile=np.array(list("abcdef")), some=some, predicted=predicted, labels=labels)
    protocol = {"classes": ["x", "y", "z"], "unscored": [], "threshold": 0.5}
    found = contributions.read_tiles(tmp_path, {"task": "classify", "protocol": protocol, "subsets": [{}, {}]}, 1)
    alone = Tiles(("d", "e", "f"), None, predicted[3:, 1], labels[3:], found.classes, (), 0.5)
    assert found.names == alone.names
    np.testing.assert_allclose(found.scores(np.ones((1, 3))), alone.scores(np.ones((1, 3))))


def test_folds_are_resampled_independently(launcher, tmp_path, console):
    """The folds of the player hold equal numbers: drawn alike, their mean would be as uncertain as one of them."""
    width = {}
    for folds in ((1,), (1, 2)):
        study, folder = make(label_shares=(1.0,), seeds=(0,), folds=folds), tmp_path / f"{len(folds)}"
        runner.run_study(study, folder, launcher, console=console)
        low, high = summary.summarise(study, folder).entries[0].interval
        width[len(folds)] = high - low
    assert width[2] == pytest.approx(width[1] / np.sqrt(2), rel=0.2)


def test_runs_that_were_tested_on_other_tiles_are_not_paired(launcher, tmp_path, console):
    study, folder = make(label_shares=(1.0,), seeds=(0,)), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    assert summary.summarise(study, folder).entries[1].difference is not None
    for place in (folder / "runs").glob("pretrained*/tiles.npz"):
        arrays = dict(np.load(place))
        np.savez(place, **arrays | {"tile": np.array([f"{name}x" for name in arrays["tile"]])})
    assert summary.summarise(study, folder).entries[1].difference is None


def test_subsets_that_are_scored_on_other_tiles_are_not_paired(launcher, tmp_path, console):
    """Half of the tiles lack the modality that the last row is scored on, and are the hardest ones."""
    study, folder = make(label_shares=(1.0,), seeds=(0,)), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    assert summary.summarise(study, folder).entries[2].difference is not None
    for place in (folder / "runs").glob("*/tiles.npz"):
        arrays, some = dict(np.load(place)), np.ones((6, 2), bool)
        some[:3, 1], arrays["counts"][:3, 0, 0, 1] = False, 30
        np.savez(place, **arrays | {"some": some})
    entries = summary.summarise(study, folder).entries
    assert [entry.difference is None for entry in entries] == [True, False, True] and [entry.tiles for entry in entries] == [6, 6, 6]


def run_of(folder, row, seed, fold=1):
    return folder / "runs" / f"{row}-seed{seed}-fold{fold}"


def with_errors(place, count):
    """Adds errors to every tile of a finished run; returns its score with all modalities."""
    results, tiles = json.loads((place / "results.json").read_text()), dict(np.load(place / "tiles.npz"))
    tiles["counts"][:, :, 0, 1] = count
    np.savez(place / "tiles.npz", **tiles)
    for index, entry in enumerate(results["subsets"]):
        total = tiles["counts"][:, index].sum(0)
        entry["scores"]["miou"] = float(np.mean([100 * total[k, k] / (total[k].sum() + total[:, k].sum() - total[k, k]) for k in range(2)]))
    (place / "results.json").write_text(json.dumps(results))
    return results["subsets"][0]["scores"]["miou"]


def test_a_difference_is_of_the_seeds_that_both_rows_have(launcher, tmp_path, console):
    study, folder = make(label_shares=(1.0,), seeds=(0, 1, 2)), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    plain, better = (
        [with_errors(run_of(folder, row, seed), count) for seed, count in enumerate(counts)] for row, counts in (("plain", (8, 9, 2)), ("pretrained", (6, 6, 1)))
    )

    def difference():
        (found,) = (entry for entry in summary.summarise(study, folder).entries if entry.row == "pretrained")
        assert found.mean == pytest.approx(np.mean(better))
        return found.difference

    assert difference().mean == pytest.approx(np.mean(better) - np.mean(plain))
    (run_of(folder, "plain", 2) / "evaluate" / "done.json").unlink()  # the seed with the best scores is not finished
    found = difference()
    assert found.mean == pytest.approx(np.subtract(better, plain)[:2].mean()) == pytest.approx(np.mean(found.seed_interval))
    assert found.interval[0] < found.mean < found.interval[1] and found.mean < np.mean(better) - np.mean(plain[:2]) - 1


def test_rows_without_a_common_seed_have_no_difference(launcher, tmp_path, console):
    study, folder = make(label_shares=(1.0,)), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    for row, seed in (("plain", 0), ("pretrained", 1)):
        (run_of(folder, row, seed) / "evaluate" / "done.json").unlink()
    entries = {entry.row: entry for entry in summary.summarise(study, folder).entries}
    assert entries["plain"].seeds == [1] and entries["pretrained"].seeds == [0] and entries["pretrained"].difference is None


def test_a_missing_run_gives_no_fold_more_weight(launcher, tmp_path, console):
    """Of two seeds and two folds, the second fold the harder one."""
    study, folder = make(label_shares=(1.0,), folds=(1, 2)), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    scores = {(seed, fold): with_errors(run_of(folder, "plain", seed, fold), 5 + seed + 30 * (fold - 1)) for seed in (0, 1) for fold in (1, 2)}
    assert summary.summarise(study, folder).entries[0].mean == pytest.approx(np.mean(list(scores.values())))
    (run_of(folder, "plain", 1, 2) / "evaluate" / "done.json").unlink()
    found = summary.summarise(study, folder).entries[0]
    assert found.mean == pytest.approx(np.mean([(scores[0, 1] + scores[1, 1]) / 2, scores[0, 2]]))
    assert found.interval[0] < found.mean < found.interval[1] and found.seed_interval is None
