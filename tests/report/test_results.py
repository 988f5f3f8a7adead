"""The files of an evaluation: what each of them holds."""

import dataclasses
import json
import math
import types

import numpy as np
import pytest

from omnisat_jax.metrics.segmentation import SegmentationScores
from omnisat_jax.records.info import ModalityInfo
from omnisat_jax.records.splits import Split
from omnisat_jax.report import contributions, results
from tests.report.examples import CLASSES, NAMES, classification, segmentation

RECORDS = types.SimpleNamespace(
    modalities={"s2": ModalityInfo("series", (4, 4, 3), "int16", 2, ("B02", "B03", "B04")), "spot": ModalityInfo("image", (8, 8, 3), "uint8", 1, ("R", "G", "B"))},
    colours=(), ignore=9,
)  # fmt: skip


def test_nan_is_null_in_json():
    assert results.plain({"miou": math.nan, "oa": 1.0, "iou": {"a": None}, "classes": 3}) == {"miou": None, "oa": 1.0, "iou": {"a": None}, "classes": 3}


def test_counts_of_tiles_without_padding(tmp_path):
    collector = contributions.TileCollector(("a", "b", "c"))
    tiles = np.arange(2 * 3 * 2 * 3).reshape(2, 3, 2, 3)
    some = np.array([[True, True, True], [False, True, True]])
    weight = np.array([1.0, 1.0, 0.0])
    collector({"weight": weight, "tile_index": np.array([2, 0, 0]), "has_any": some, "tiles": tiles})
    collector({"weight": weight[1:], "tile_index": np.array([1, 0]), "has_any": some[:, 1:], "tiles": tiles[:, 1:]})
    collector.save(tmp_path / "tiles.npz")
    with np.load(tmp_path / "tiles.npz") as stored:
        assert sorted(stored) == ["counts", "some", "tile"] and stored["tile"].tolist() == ["c", "a", "b"]
        np.testing.assert_array_equal(stored["counts"], tiles.swapaxes(0, 1)[[0, 1, 1]])
        assert stored["some"].tolist() == [[True, False], [True, True], [True, True]]


def test_predictions_of_tile_labels(tmp_path):
    collector = contributions.TileCollector(("a", "b"))
    predicted, labels = np.random.default_rng(0).random((3, 2, 4)), np.eye(4)[:2]
    collector({"weight": np.array([1.0, 0.0]), "tile_index": np.array([1, 0]), "has_any": np.ones((3, 2), bool), "predicted": predicted, "labels": labels})
    collector.save(tmp_path / "tiles.npz")
    with np.load(tmp_path / "tiles.npz") as stored:
        assert sorted(stored) == ["labels", "predicted", "some", "tile"] and stored["tile"].tolist() == ["b"]
        np.testing.assert_array_equal(stored["predicted"], predicted.swapaxes(0, 1)[:1])
        np.testing.assert_array_equal(stored["labels"], labels[:1])


def collected():
    """The collector of a real tile of the host batch, of both modalities and each alone."""
    rng = np.random.default_rng(0)
    collector = results.PanelCollector(2, (NAMES, *((name,) for name in NAMES)), ("a",), [0])
    s2 = {"values": rng.integers(0, 99, (1, 2, 4, 4, 3)).astype(np.int16), "valid": np.ones((1, 2), bool), "dates": np.array([[3, 4]])}
    host = {
        "weight": np.ones(1), "tile_index": np.zeros(1, int), "labels": rng.integers(0, 3, (1, 4, 4)), "s2": s2 | {"present": np.array([True])},
        "spot": {"values": rng.integers(0, 99, (1, 8, 8, 3)).astype(np.uint8), "present": np.array([True])},
    }  # fmt: skip
    collector(host, {"predicted": rng.integers(0, 3, (3, 1, 4, 4)), "has_any": np.ones((3, 1), bool)})
    return collector


def test_every_file_of_dense_labels(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(results.panels, "save_panels", lambda path, panels, **options: drawn.update(options))
    results.write_results(tmp_path, segmentation(), collected(), RECORDS)
    assert drawn["shown"] == {"all: s2+spot": "s2+spot", "only s2": "s2"} and list(drawn["bands"]) == ["s2", "spot"]
    assert drawn["title"] == "trial (simulated data, test fold_5)" and drawn["classes"].names == list(CLASSES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "panels.npz", "results.json", "results.md"]
    assert json.loads((tmp_path / "results.json").read_text()) == segmentation()


def test_tile_labels_have_no_maps(tmp_path):
    results.write_results(tmp_path, classification(), None, RECORDS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.md"]


def test_missing_reports_are_made_again_and_others_are_left_alone(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(segmentation()))
    results.restore_reports(tmp_path, segmentation())
    assert "# trial" in (tmp_path / "results.md").read_text() and "<h1>trial</h1>" in (tmp_path / "report.html").read_text()
    for name in ("results.md", "report.html"):
        (tmp_path / name).write_text("mine")
    results.restore_reports(tmp_path, segmentation())
    assert (tmp_path / "results.md").read_text() == (tmp_path / "report.html").read_text() == "mine"


def test_the_protocol_can_be_read_by_reports(records, config, tmp_path):
    from omnisat_jax.report.run_files import REPORT_PROTOCOL, STUDY_PROTOCOL, read_results

    split = Split(("fold_1",), (), ("fold_5",), "leave_one_fold_out")
    spec = types.SimpleNamespace(
        classes=records.classes, specs=config.modalities, dropped=("s3",), evaluation=types.SimpleNamespace(modalities=[])
    )
    found = results.protocol(config, records, split, spec, {"checkpoint": 3, "checkpoint_is": "best", "checkpoint_checksum": "x"})
    assert found["train_tiles"] == len(records.tiles(["fold_1"])) and found["test"] == ("fold_5",) and found["missing_modalities"] == ["s3"]
    assert dataclasses.asdict(split).items() <= found.items() and found["checkpoint_is"] == "best" and found["simulated"] is True
    few = dataclasses.replace(config, data=dataclasses.replace(config.data, label_share=0.2))
    probed = dataclasses.replace(few, eval=dataclasses.replace(few.eval, probe="knn"))  # which is fitted to all tiles
    assert [results.protocol(each, records, split, spec, {})["label_share"] for each in (few, probed)] == [0.2, 1.0]
    (tmp_path / "results.json").write_text(json.dumps(segmentation() | {"protocol": found}))
    for needed in (REPORT_PROTOCOL, STUDY_PROTOCOL):
        assert read_results(tmp_path, needed)["protocol"] == json.loads(json.dumps(found))


@pytest.mark.parametrize("dense", [True, False])
def test_entries_keep_the_counts_of_dense_predictions(dense):
    of_subset = SegmentationScores(("a", "b"))
    of_subset.add(np.eye(2, 3, dtype=int), np.ones((15, 3)))
    scores = types.SimpleNamespace(tiles=np.array([4]), tiles_with_all=np.array([3]), scores=[of_subset if dense else object()])
    (found,) = results.entries([("s2",)], [{"miou": math.nan}], scores)
    common = {"modalities": ["s2"], "scores": {"miou": None}, "tiles": 4, "tiles_with_all": 3}
    assert found == common | ({"confusion": [[1, 0, 0], [0, 1, 0]], "calibration": [[1.0] * 3] * 15} if dense else {})
