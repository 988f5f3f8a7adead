"""Charts are images in the page, whatever numbers they are given."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest

from omnisat_jax.report import charts


def svg(uri):
    return base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")).decode()


def png(uri):
    return plt.imread(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def test_images_keep_their_pixels(tmp_path):
    image = np.array([[[1, 0, 0], [0, 1, 0]]], float)
    np.testing.assert_allclose(png(charts.as_png(image))[..., :3], image)
    (tmp_path / "a.png").write_bytes(b"content")
    assert base64.b64decode(charts.as_file(tmp_path / "a.png").partition(",")[2]) == b"content"
    shown = png(charts.class_map(np.array([[0, 1, 255]]), 2, ["#ff0000", "#0000ff"]))
    np.testing.assert_allclose(shown[0, :, :3], [[1, 0, 0], [0, 0, 1], [1, 1, 1]])


@pytest.mark.parametrize(
    ("score", "label"),
    [
        ("validation_miou", "validation miou"),
        ("validation_contrastive_accuracy", "validation contrastive accuracy"),
        ("validation_contrast_accuracy", "validation contrastive accuracy"),  # of earlier versions
    ],
)
def test_curves_show_the_loss_and_one_validation_score(score, label):
    rows = [{"stage": "pretrain", "step": 1, "loss": 2.0}, {"stage": "pretrain", "step": 2, "loss": None, score: 0.5}, {"stage": "finetune", "step": 1}]
    shown = svg(charts.curves(rows, "pretrain"))
    assert "loss" in shown and label in shown
    assert charts.curves(rows, "finetune") is None


def test_names_of_metrics_of_earlier_versions():
    row = {"stage": "pretrain", "step": 1, "loss": 2.0}
    assert charts.current_names(row | {"validation_contrast_accuracy": 3.0}) == row | {"validation_contrastive_accuracy": 3.0}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [None, float("nan")])
def test_bars_without_a_value_say_so(value):
    shown = svg(charts.bars({"first": value, "second": 12.34}, "IoU in %", intervals={"first": (np.nan, np.nan), "second": (10.0, 15.0)}, missing="none"))
    assert ">none<" in shown and ">12.3<" in shown and "IoU in %" in shown
    assert svg(charts.bars({"first": value}, "%"))


def test_names_are_never_formulas():
    assert "$x_" in svg(charts.bars({"$x_{": 1.0}, "%"))


def test_calibration_and_time():
    counts = np.stack([np.full(15, 2.0), np.linspace(0, 2, 15), np.linspace(0, 2, 15)], 1)
    counts[3] = 0
    assert "share of correct pixels" in svg(charts.reliability(counts))
    assert svg(charts.reliability(np.zeros((15, 3)))) and "with temperature" not in svg(charts.reliability(counts))
    shown = svg(charts.reliability(counts, counts, dense=False))
    assert all(text in shown for text in ("as trained", "with temperature", "probability of a label", "share of tiles that have it"))
    shown = svg(charts.time_spent({"pretrain": {"compile": 3.0}, "finetune": {"steps": 2.0}}))
    assert "compile" in shown and "steps" in shown and "restore" not in shown
