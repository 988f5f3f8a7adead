"""Folds are joined by adding counts, and only folds of one study."""

import copy
import json

import numpy as np
import pytest

from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.report import folds, tables
from tests.buckets import memory  # noqa: F401 - a fixture
from tests.report.examples import scaling

CLASSES = ["background", "meadow", "corn"]


def results(part, counts, **changes):
    protocol = {
        "dataset": "pastis", "simulated": True, "fingerprint": "abc", "protocol": "leave_one_fold_out", "void_test_parcels": False,
        "classes": CLASSES, "seed": 0, "pretrain_steps": 0, "fold": 1, "train": [], "train_tiles": 1, "test": [part],
        "test_tiles": 1, "checkpoint": 3, "validation": [], "dates": {"s2": 4}, "modalities": ["s2"], "missing_modalities": [], "probe": "none",
        "unscored": [], "label_share": 1.0, "pretrain_from": "", "broken": {"on_bad": "raise", "tiles": 0},
    }  # fmt: skip
    return {
        "name": "x",
        "task": "segment",
        "protocol": protocol | changes,
        "subsets": [{"modalities": ["s2"], "scores": {}, "confusion": counts}],
    }


A = [[8, 2, 0, 0], [0, 10, 0, 0], [0, 0, 0, 0]]
B = [[5, 5, 0, 0], [5, 5, 0, 0], [1, 0, 1, 0]]


def test_scores_come_from_the_sum_of_counts():
    joined = folds.join({"a": results("fold_1", A), "b": results("fold_2", B)})
    scores = joined["subsets"][0]["scores"]
    total = np.array(A) + B
    np.testing.assert_array_equal(joined["subsets"][0]["confusion"], total)
    assert scores["iou"]["background"] == pytest.approx(100 * 13 / (13 + 7 + 6))
    assert scores["iou"]["corn"] == pytest.approx(50)
    assert scores["oa"] == pytest.approx(100 * 29 / 42)
    assert joined["protocol"]["test"] == ["fold_1", "fold_2"] and joined["protocol"]["test_tiles"] == 2


def test_folds_of_different_sizes_are_counted_from_the_smallest_to_the_largest():
    sizes = [{"train_tiles": 1200, "unlabelled_train_tiles": 0}, {"train_tiles": 60, "unlabelled_train_tiles": 7}]
    runs = {part: results(part, A, label_share=0.5, pretrain_steps=9, **size) for part, size in zip(("fold_1", "fold_2"), sizes)}
    text = tables.protocol_lines(folds.join(runs))
    assert "train the others (60 to 1,200 tiles)" in text[1]
    assert "Labels: 50 % of the training tiles (30 to 600 tiles)." in text
    assert "Pre-trained also on 0 to 7 training tiles without labels." in text
    alike = {part: results(part, A, train_tiles=6) for part in ("fold_1", "fold_2")}
    assert "train the others (6 tiles)" in tables.protocol_lines(folds.join(alike))[1]


def test_rare_classes_may_be_left_out_of_the_mean():
    runs = {"a": results("fold_1", A), "b": results("fold_2", B)}
    scores = folds.join(runs, folds.Minima(min_pixels=3))["subsets"][0]["scores"]
    assert scores["iou"]["corn"] is None and scores["classes"] == 2
    assert scores["miou"] == pytest.approx((scores["iou"]["background"] + scores["iou"]["meadow"]) / 2)
    assert scores["pixels"] == 42


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "b: seed is 1, but 0 in a"),
        ({"fingerprint": "def"}, "fingerprint"),
        ({"test": ["fold_1"]}, "would count twice"),
    ],
)
def test_runs_of_different_studies_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        folds.join({"a": results("fold_1", A), "b": results("fold_2", B, **change)})


def test_results_without_counts_are_refused():
    with pytest.raises(UserError, match="b: expected the task 'segment', whose results have counts to add, found 'classify'"):
        folds.join({"a": results("fold_1", A), "b": results("fold_2", B) | {"task": "classify"}})
    other = results("fold_2", B)
    other["subsets"][0]["modalities"] = ["s1"]
    with pytest.raises(UserError, match="b: expected scores of the same subsets of modalities as in a"):
        folds.join({"a": results("fold_1", A), "b": other})
    with pytest.raises(UserError, match="expected 3 by 4 confusion counts, found"):
        folds.join({"a": results("fold_1", [[1, 2], [3, 4]])})


def test_checkpoints_and_numbers_of_tiles_of_every_fold_are_kept():
    runs = {name: results(part, A, fold=i, checkpoint=10 * i, checkpoint_is="best") for i, (name, part) in enumerate({"a": "fold_1", "b": "fold_2"}.items(), 1)}
    for found in runs.values():
        found["subsets"][0] |= {"tiles": 3, "tiles_with_all": 1, "calibration": [[1.0, 1.0, 1.0]] * 15}
    joined = folds.join(runs)
    protocol, (subset,) = joined["protocol"], joined["subsets"]
    assert (protocol["fold"], protocol["checkpoint"], protocol["checkpoint_is"]) == ("1+2", "10/20", "best/best")
    assert (subset["tiles"], subset["tiles_with_all"]) == (6, 2) and subset["calibration"] == [[2.0, 2.0, 2.0]] * 15


def test_temperatures_of_every_fold_are_kept_and_what_they_change_is_added():
    runs = {"a": results("fold_1", A), "b": results("fold_2", B)}
    runs["a"]["temperature_scaling"] = scaling(predictions=10)
    assert "temperature_scaling" not in folds.join(runs)
    side = {"nll": 0.25, "ece": 0.0, "counts": [[0.0, 0.0, 0.0]] * 14 + [[30.0, 30.0, 15.0]]}
    runs["b"]["temperature_scaling"] = scaling(temperature=2, predictions=30, after=side, remark="It lies at the end")
    joined = folds.join(runs)["temperature_scaling"]
    assert (joined["temperature"], joined["remark"], joined["predictions"]) == ("1.500/2.000", "It lies at the end", 40)
    assert joined["before"]["nll"] == 0.75 and joined["after"]["nll"] == pytest.approx((10 * 0.5 + 30 * 0.25) / 40)
    assert joined["after"]["counts"][14] == [32.0, 32.0, 17.0] and joined["after"]["ece"] == pytest.approx(100 * 15 / 60)
    assert json.loads(json.dumps(joined)) == joined and tables.calibration_lines({"temperature_scaling": joined})[0].startswith("Temperature: 1.500/2.000")
    runs["b"]["temperature_scaling"] = scaling(predictions=0, before={"nll": None, "ece": None, "counts": np.zeros((15, 3)).tolist()})
    assert folds.join(runs)["temperature_scaling"]["before"]["nll"] == 0.75


def test_command(tmp_path, capsys):
    for name, part, counts in (("a", "fold_1", A), ("b", "fold_2", B)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(copy.deepcopy(results(part, counts))))
    assert folds.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert "mIoU" in out and "fold_1 fold_2" in out
    assert run_command(folds.main, [str(tmp_path / "a"), f"{tmp_path}/a/"]) == 1
    assert "expected each run once" in capsys.readouterr().err
    assert run_command(folds.main, [str(tmp_path / "c")]) == 1
    assert "results.json: expected the results of a finished run" in capsys.readouterr().err


def test_folds_are_read_from_a_bucket(memory, capsys):  # noqa: F811
    from omnisat_jax.files.buckets import Bucket

    for name, counts in (("fold_1", A), ("fold_2", B)):
        Bucket(f"{memory}/run/{name}").write("results.json", json.dumps(results(name, counts)).encode())
        Bucket(f"{memory}/run/{name}").write("model/model.safetensors", b"not read")
    shown = []
    for runs in ([f"{memory}/run"], [f"{memory}/run/fold_1", f"{memory}/run/fold_2/"]):
        assert folds.main(runs) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and "mIoU" in shown[0]
    assert run_command(folds.main, [f"{memory}/nothing"]) == 1
    assert f"error: {memory}/nothing/results.json: expected the results of a finished run" in capsys.readouterr().err
    assert run_command(folds.main, ["https://host/run"]) == 1
    assert "runs: expected a folder of this machine or gs://BUCKET/FOLDER or s3://BUCKET/FOLDER" in capsys.readouterr().err
