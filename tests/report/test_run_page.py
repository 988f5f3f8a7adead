"""The page of a run."""

import json

import numpy as np
import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.report import run_page
from tests.report.examples import classification, of_subsets, scaling, segmentation, write_run


def test_a_whole_page(tmp_path):
    page = run_page.read_page(write_run(tmp_path))
    titles = [chart.title for chart in page.charts]
    assert titles == [
        "finetune: training loss and validation score", "Scores by subset of modalities", "Scores by class", "Confusion matrix", "Calibration",
        "Time per stage",
    ]  # fmt: skip
    assert page.tables[0].head == ["modalities", "mIoU", "OA", "ECE", "tiles"] and [row[0] for row in page.tables[0].rows] == ["s2+spot", "s2", "spot"]
    assert page.panels.choices == ["label", "s2+spot", "s2", "spot"] and page.panels.start == "s2+spot"
    assert list(page.panels.tiles[0].inputs) == ["spot"] and not page.panels.tiles[1].inputs
    assert page.panels.legend[0] == ("Background", "#000000")
    assert page.environment["CPU cores"] == 3 and page.environment["code revision"] == "unknown"
    assert page.command == "python launch.py --config=configs/pastis.py" and page.configuration == {"seed": 0}


def test_a_page_of_results_alone(tmp_path):
    for results in (segmentation(), classification()):
        (tmp_path / "results.json").write_text(json.dumps(results))
        page = run_page.read_page(tmp_path)
        assert page.panels is None and page.command == "" and not page.environment
        assert "Time per stage" not in [chart.title for chart in page.charts]


def test_what_pretraining_learned_is_shown(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(segmentation()))
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "embedding.png").write_bytes(b"content")
    assert run_page.read_page(tmp_path).charts[0].title == "What pre-training learned"


def test_unreadable_lines_of_metrics_are_counted(tmp_path):
    (write_run(tmp_path) / "metrics.jsonl").write_text('{"stage": "finetune", "step": 1, "loss": 1.0}\nbroken\n')
    assert run_page.read_page(tmp_path).protocol[-1] == "Lines of metrics.jsonl that cannot be read: 1."


def test_panels_of_another_shape_are_named(tmp_path):
    write_run(tmp_path)
    np.savez(tmp_path / "panels.npz", tile=np.array(["a"]), subsets=np.array(["s2"]), labels=np.zeros((1, 2, 2)))
    with pytest.raises(DataError, match="panels.npz: expected the pictures of test tiles, found no array 'predictions'"):
        run_page.read_page(tmp_path)


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        ({"a_b": 60.0, "a": 50.0, "b": 20.0}, "The score drops most without a: by 40.0 points."),
        ({"a_b": 60.0, "a": 70.0, "b": 60.0}, "The score does not drop without any one of the modalities."),
    ],
)
def test_the_modality_that_is_needed_most(values, remark, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(of_subsets(**values)))
    assert run_page.read_page(tmp_path).summary[-1] == remark


def test_scores_of_other_tiles_are_not_subtracted(tmp_path):
    """Of four tiles, one has a only: without a it is not scored."""
    results = of_subsets(**{"a_b": 60.0, "a": 58.0, "b": 20.0})
    for entry, tiles in zip(results["subsets"], (4, 4, 3), strict=True):
        entry["tiles"] = tiles
    (tmp_path / "results.json").write_text(json.dumps(results))
    unknown = "Without a, 3 of the 4 tiles can be scored, so what it adds is not known."
    assert run_page.read_page(tmp_path).summary[-2:] == ["The score drops most without b: by 2.0 points.", unknown]
    results["subsets"][1]["scores"]["miou"], results["subsets"][2]["scores"]["miou"] = 60.0, 70.0
    (tmp_path / "results.json").write_text(json.dumps(results))
    page = run_page.read_page(tmp_path)
    assert page.summary[-2:] == ["The score does not drop without any one of the other modalities.", unknown]
    assert page.facts[1].note == "on 3 of the 4 tiles" and page.facts[0].note == ""
    assert page.summary[1] == "With all sensors it reaches 60.0 % mIoU; with b alone, the best single sensor, 70.0 % on 3 of the 4 tiles."


@pytest.mark.parametrize("make", [segmentation, classification])
def test_a_temperature_has_one_diagram(make, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(make() | {"temperature_scaling": scaling()}))
    (chart,) = [chart for chart in run_page.read_page(tmp_path).charts if chart.title == "Calibration"]
    assert chart.note.startswith("Temperature: 1.500, fitted to fold_4") and "3.00 % instead of 12.00 %" in chart.note


@pytest.mark.parametrize("wrong", [{"temperature": None}, {"before": {}}, {"remark": 1}, {"after": {"nll": "x", "ece": 1.0, "counts": []}}])
def test_damaged_facts_about_a_temperature_are_named(wrong, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(segmentation() | {"temperature_scaling": scaling(**wrong)}))
    with pytest.raises(DataError, match="temperature_scaling"):
        run_page.read_page(tmp_path)


@pytest.mark.parametrize(
    ("scores", "said"),
    [({"contrastive_accuracy": 0.0512}, "Validation contrastive accuracy: 0.0512."), ({"knn_miou": 23.456, "contrastive_accuracy": 0.05}, "Validation knn miou: 23.5.")],
)
def test_the_course_of_a_stage_shows_shares_as_well_as_per_cent(scores, said):
    rows = [{"stage": "pretrain", "step": 1, "loss": 2.0}, {"stage": "pretrain", "step": 2} | {f"validation_{name}": value for name, value in scores.items()}]
    assert run_page._course(rows, "pretrain").endswith(said)
