"""Scores of subsets of modalities: over the tiles that hold some of them, never from nothing, and never of numbers that are none."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from omnisat_jax.errors import UserError
from omnisat_jax.metrics.classification import MultiLabelScores
from omnisat_jax.metrics.segmentation import SegmentationScores
from omnisat_jax.metrics.subsets import Each, held
from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.report import charts, folds, html, results, tables
from omnisat_jax.study import summary
from omnisat_jax.study.statistics import Tiles
from omnisat_jax.tasks.finetune import Classify, Segment
from omnisat_jax.tasks.probe import Collector, ProbeScores, fit
from tests.report.examples import PROTOCOL

NAMES = ("aerial", "radar")
SUBSETS = all_subsets(NAMES)  # both, aerial, radar
MASKS = np.array([[name in subset for name in NAMES] for subset in SUBSETS])
CLASSES = ("a", "b")


class Model:
    """Predicts the first class with certainty that grows with the measurements; of nothing it predicts the second."""

    names = NAMES

    def apply(self, variables, *arguments, method, **options):
        if method == "encode":
            return arguments[0]
        inputs, present = arguments
        seen = sum(jnp.where(present[:, i], inputs[name]["values"].mean((1, 2, 3)), 0) for i, name in enumerate(NAMES))
        first = jnp.where(present.any(1), 1 + seen**2, -1.0)
        logits = jnp.stack([first, -first], -1)
        return logits if self.flat else jnp.broadcast_to(logits[:, None, None], (len(first), 4, 4, 2))


def batch(aerial, radar, labels, scale=1.0):
    """Tiles whose labels are `labels`; the last one is padding."""
    count = len(aerial)
    out = {"labels": labels, "weight": jnp.ones(count).at[-1].set(0), "tile_index": jnp.arange(count)}
    for name, present in (("aerial", aerial), ("radar", radar)):
        out[name] = {"values": jnp.full((count, 4, 4, 1), scale, jnp.float32), "present": jnp.array(present)}
    return out


STATISTICS = {name: {"mean": [0.0], "std": [1.0]} for name in NAMES}


def segment(model):
    model.flat = False
    return Segment(model=model, statistics=STATISTICS, classes=CLASSES, modality_dropout=0.0, ignore=9)


def classify(model):
    model.flat = True
    return Classify(model=model, statistics=STATISTICS, classes=CLASSES, modality_dropout=0.0)


AERIAL, RADAR = [False, True, False, False, True], [True, True, True, False, True]  # nothing in the fourth, the fifth is padding


@pytest.mark.parametrize(("make", "labels"), [(segment, jnp.zeros((5, 4, 4), jnp.uint8)), (classify, jnp.tile(jnp.array([[1.0, 0.0]]), (5, 1)))])
def test_tiles_that_hold_nothing_of_a_subset_do_not_count(make, labels):
    task = make(Model())
    scores = task.scores(("t0", "t1", "t2", "t3", "t4"))
    result = task.evaluate({}, batch(AERIAL, RADAR, labels), MASKS)
    scores.add({key: np.asarray(value) for key, value in result.items()})
    values = scores.compute()
    assert scores.tiles.tolist() == [3, 1, 3] and scores.whole.tolist() == [1, 1, 3]
    # The tile without anything would be wrong everywhere.
    for value, tiles in zip(values, (3, 1, 3), strict=True):
        if "pixels" in value:
            assert value["pixels"] == 16 * tiles and value["oa"] == 100 and value["miou"] == 100
        else:
            assert value["tiles"] == tiles and value["f1_macro"] == 100


@pytest.mark.parametrize(("make", "labels"), [(segment, jnp.zeros((5, 4, 4), jnp.uint8)), (classify, jnp.tile(jnp.array([[1.0, 0.0]]), (5, 1)))])
def test_a_subset_that_no_tile_holds_has_no_score(make, labels):
    task = make(Model())
    scores = task.scores()
    result = task.evaluate({}, batch([False] * 4 + [True], RADAR, labels), MASKS)
    scores.add({key: np.asarray(value) for key, value in result.items()})
    both, aerial, radar = results.entries(SUBSETS, scores.compute(), scores)
    assert (both["tiles"], both["tiles_with_all"]) == (3, 0) and (aerial["tiles"], radar["tiles"]) == (0, 3)
    names = [name for name, value in radar["scores"].items() if isinstance(value, float)]
    assert names and all(aerial["scores"][name] is None for name in names)
    assert both["scores"] == radar["scores"]
    json.dumps([both, aerial, radar], allow_nan=False)


@pytest.mark.parametrize(("make", "labels"), [(segment, jnp.zeros((5, 4, 4), jnp.uint8)), (classify, jnp.zeros((5, 2)))])
def test_predictions_that_are_not_finite_are_refused_by_name(make, labels):
    task, names = make(Model()), ("t0", "t1", "t2", "t3", "t4")
    tiles = batch(AERIAL, RADAR, labels)
    tiles["radar"]["values"] = tiles["radar"]["values"].at[2].set(1e25).at[4].set(1e25)  # t4 is padding
    scores = task.scores(names)
    scores.add({key: np.asarray(value) for key, value in task.evaluate({}, tiles, MASKS).items()})
    with pytest.raises(UserError, match=r"found others in 1 of 4 tiles: t2\. Measurements may be far out of range"):
        scores.compute()
    scores = task.scores(names)
    scores.add({key: np.asarray(value) for key, value in task.evaluate({}, batch([True] * 5, [True] * 5, labels, 1e25), MASKS).items()})
    with pytest.raises(UserError, match="in 4 of 4 tiles: t0, t1, t2, t3. The weights have diverged"):
        scores.compute()


def test_what_is_held():
    found = held(jnp.array([[True, False], [False, False], [True, True]]), jnp.asarray(MASKS), jnp.zeros((3, 3, 2)).at[1, 0, 1].set(jnp.nan))
    assert found["some"].tolist() == [[True, False, True], [True, False, True], [False, False, True]]
    assert found["whole"].tolist() == [[False, False, True], [True, False, True], [False, False, True]]
    assert found["usable"].tolist() == [[True] * 3, [False, True, True], [True] * 3]


def probed(tokens, some):
    count = len(tokens[0])
    labels = np.zeros((count, 4, 4), np.uint8)
    labels[:, :2] = 1
    about = {"some": np.array(some), "whole": np.array(some), "usable": np.isfinite(tokens).all((2, 3))}
    return {"tokens": tokens, "labels": labels, "weight": np.ones(count), "tile_index": np.arange(count)} | about


def test_probes_neither_learn_nor_are_scored_from_nothing():
    tokens = np.tile(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), (2, 3, 1, 1))
    tokens[:, 1] = 7  # of a tile that holds nothing
    some = [[True, False, True], [False, False, False]]
    collector = Collector(2, limit=100, tiles=3, seed=0)
    collector.add(probed(tokens, some))
    found, targets = collector.compute()
    assert len(found) == 8 and not (found == 7).any()
    scores = ProbeScores(fit("knn", found, targets, dense=True, neighbours=1), CLASSES, ignore=9, threshold=0.5)
    scores.add(probed(tokens, some))
    first, none = results.entries((("radar",), ("aerial",)), scores.compute(), scores)
    assert first["scores"]["miou"] == 100 and first["tiles"] == 2 and none["scores"]["miou"] is None and none["tiles"] == 0
    tokens[0, 2, 1, 1] = np.nan
    for adding in (Collector(2, limit=100, tiles=3, seed=0, tile_names="abc"), scores):
        with pytest.raises(UserError, match="expected finite predictions, found others in 1 of"):
            adding.add(probed(tokens, some))
            adding.compute()
    empty = Collector(2, limit=100, tiles=3, seed=0)
    empty.add(probed(np.ones((1, 3, 4, 2)), [[False] * 3]))
    with pytest.raises(UserError, match="found none in 3 training tiles"):
        empty.compute()


def entry(names, counts, tiles, whole):
    scores = SegmentationScores(("Background", "Meadow", "Corn"))
    scores.add(np.array(counts), np.zeros((15, 3)))
    return {
        "modalities": list(names), "scores": results.plain(scores.compute()), "confusion": scores.confusion.tolist(),
        "calibration": scores.calibration.tolist(), "tiles": tiles, "tiles_with_all": whole,
    }  # fmt: skip


SOME, NONE = [[5, 1, 0, 0], [0, 5, 0, 0], [0, 0, 5, 0]], np.zeros((3, 4), int)


def told(**changes):
    rows = [entry(NAMES, SOME, 2, 0), entry(NAMES[:1], NONE, 0, 0), entry(NAMES[1:], SOME, 2, 2)]
    protocol = PROTOCOL | {"classes": ["Background", "Meadow", "Corn"]} | changes
    return {"name": "trial", "task": "segment", "protocol": protocol, "subsets": rows}


def test_every_table_says_so(tmp_path):
    found = told()
    assert dict(tables.rows(found))["aerial"] == ["-", "-", "0"]
    assert dict(tables.rows(found))["aerial+radar"][-1] == "2 (0 with all)"
    text = tables.markdown(found)
    assert "| aerial | - | - | 0 |" in text and "over the test tiles that hold at least one of its modalities" in text
    console = Console(record=True, width=200)
    tables.show(console, found)
    assert "nan" not in console.export_text().lower()
    (tmp_path / "results.json").write_text(json.dumps(found, allow_nan=False))
    page = html.write(tmp_path).read_text()
    assert "<td>-</td>" in page.replace('<td class="number">', "<td>") and ">nan<" not in page.lower()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_report_of_no_score_at_all_is_made(tmp_path, value):
    """As of a run whose test tiles have no label."""
    found = told()
    for row in found["subsets"]:
        row |= entry(row["modalities"], NONE, row["tiles"], row["tiles_with_all"])
        row["scores"] |= {"miou": value, "oa": value, "ece": value}
    (tmp_path / "results.json").write_text(json.dumps(found))
    assert "there is no mIoU" in html.write(tmp_path).read_text()
    assert charts.bars({"a": value, "b": value}, "%", intervals={"a": (np.nan, np.nan)}, missing="-")


def test_joined_folds_add_tiles():
    joined = folds.join({"a": told(test=["fold_1"]), "b": told(test=["fold_2"])})
    both, aerial, radar = joined["subsets"]
    assert (both["tiles"], both["tiles_with_all"], radar["tiles"]) == (4, 0, 4)
    assert aerial["tiles"] == 0 and aerial["scores"]["miou"] is None


def test_study_tables_say_so():
    common = {
        "label_share": 1.0, "modalities": ["aerial"], "metric": "mIoU", "seeds": [0], "folds": [1], "ece": None, "every_label": None,
        "published": None, "source": "", "difference": None,
    }  # fmt: skip
    none = common | {"row": "aerial", "mean": None, "spread": None, "interval": None, "scored": 0, "scored_with_all": 0}
    some = common | {"row": "radar", "mean": 50.0, "spread": None, "interval": [40.0, 60.0], "scored": 3, "scored_with_all": 1}
    study = {"name": "trial", "folds": [1], "resamples": 10, "baseline": "radar", "label_shares": [1.0]}
    about = {"entries": [none, some], "simulated": False, "study": study, "protocols": [], "cores": [], "failed": {}, "waiting": []}
    assert "| aerial | 100 % | aerial | 1 | 0 | - | - | - |" in summary.markdown(about)
    assert "| 3 (1 with all) | 50.0 |" in summary.markdown(about)
    assert ",0,0,-,-,-,-," in summary.as_csv(about)
    assert "aerial & 1 & 0 & - & - & - &" in summary.latex(about)


def test_resampled_tiles_do_not_count_either(tmp_path):
    """Labels of tiles: what holds nothing of a subset has neither label nor prediction there."""
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 2, (6, 3)).astype(np.float32), rng.random((6, 2, 3))
    some = np.ones((6, 2), bool)
    some[:3, 1] = False
    np.savez(tmp_path / "tiles.npz", tile=np.array(list("abcdef")), some=some, predicted=predicted, labels=labels)
    about = {"classes": ["x", "y", "z"], "unscored": [], "threshold": 0.5}
    found = summary._tiles(tmp_path, {"task": "classify", "protocol": about, "subsets": [{}, {}]}, 1)
    alone = Tiles(found.names[3:], None, predicted[3:, 1], labels[3:], found.classes, (), 0.5)
    np.testing.assert_allclose(found.scores(np.ones((1, 6))), alone.scores(np.ones((1, 3))))


def test_no_tile_is_no_score():
    scores = MultiLabelScores(CLASSES, 0.5)
    scores.add(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(2))
    found = scores.compute()
    assert np.isnan(found["f1_macro"]) and np.isnan(found["f1_weighted"]) and found["tiles"] == 0
    each = Each(lambda: scores, lambda result: [])
    assert each.tiles == 0
