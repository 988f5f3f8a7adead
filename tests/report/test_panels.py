"""Panels of test tiles, and the choice of the modality that is shown alone."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.records.info import ModalityInfo
from omnisat_jax.report import panels

S2 = ModalityInfo("series", (4, 4, 3), "int16", 9, ("B02", "B03", "B04"))
S1 = ModalityInfo("series", (4, 4, 2), "float32", 9, ("VV", "VH"))
AERIAL = ModalityInfo("image", (8, 8, 3), "uint8", 1, ("R", "G", "B"))
HEIGHT = ModalityInfo("image", (8, 8, 1), "float32", 1, ("height",))
LOCATION = ModalityInfo("location", (2,), "float32", 1)


@pytest.mark.parametrize(
    ("modalities", "name"),
    [
        ({"aerial": AERIAL, "radar": S1, "optical": S2, "location": LOCATION}, "optical"),
        ({"aerial": AERIAL, "radar": S1}, "radar"),
        ({"height": HEIGHT, "aerial": AERIAL, "location": LOCATION}, "aerial"),
    ],
)
def test_the_typical_modality_is_an_optical_series_else_any_series_else_an_image(modalities, name):
    assert panels.typical_modality(modalities) == name
    whole = "+".join(modalities)
    assert panels.shown_subsets(all_subsets(tuple(modalities)), modalities) == {f"all: {whole}": whole, f"only {name}": name}


def test_one_modality_has_one_prediction():
    assert panels.shown_subsets([("s2",)], {"s2": S2, "unused": S1}) == {"all: s2": "s2"}


def host(dense=True):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (3, 4, 4)) if dense else np.eye(3)
    labels[0, 0] = 9 if dense else labels[0, 0]
    return {
        "weight": np.array([1.0, 1.0, 0.0]), "tile_index": np.array([1, 0, 0]), "labels": labels,
        "aerial": {"values": rng.integers(0, 255, (3, 8, 8, 3), np.uint8), "present": np.array([True, False, False])},
        "location": {"values": np.array([[7.5, -48.25]] * 3), "present": np.array([True] * 3)},
    }  # fmt: skip


def result(dense=True):
    """Predictions of both modalities and of the aerial image alone, which the second tile lacks."""
    rng = np.random.default_rng(1)
    predicted = rng.integers(0, 3, (2, 5, 4, 4)) if dense else rng.random((2, 5, 3))
    return {"predicted": predicted, "has_any": np.array([[True] * 5, [True] * 3 + [False, True]])}


BANDS = {"aerial": AERIAL.bands, "location": ()}
SHOWN = {"all": "aerial+location", "only aerial": "aerial"}


def collected(dense=True, limit=5):
    """The host batch holds rows 2, 3 and 4 of the global one."""
    collector = panels.PanelCollector(limit, (("aerial", "location"), ("aerial",)), ("a", "b"), [2, 3, 4])
    collector(host(dense), result(dense))
    return collector


def test_real_tiles_are_kept_with_their_own_predictions():
    first, second = collected().panels
    assert (first.tile, second.tile) == ("b", "a")
    np.testing.assert_array_equal(first.predictions["aerial"], result()["predicted"][1, 2])
    np.testing.assert_array_equal(second.predictions["aerial+location"], result()["predicted"][0, 3])
    assert (second.predictions["aerial"] == panels.VOID).all()
    assert len(collected(limit=1).panels) == 1
    assert not collected(dense=False).panels[1].predictions["aerial"].size


def test_arrays_for_the_report(tmp_path):
    collected().save(tmp_path / "panels.npz", BANDS)
    with np.load(tmp_path / "panels.npz") as stored:
        assert stored["tile"].tolist() == ["b", "a"] and stored["subsets"].tolist() == ["aerial+location", "aerial"]
        assert stored["labels"].shape == (2, 4, 4) and stored["predictions"].shape == (2, 2, 4, 4)
        assert [key for key in stored if key.startswith("input")] == ["input/0/aerial"] and stored["input/0/aerial"].shape == (8, 8, 3)


@pytest.mark.parametrize("dense", [True, False])
def test_panels_are_drawn(tmp_path, dense, monkeypatch):
    figures = []
    monkeypatch.setattr(panels.plt, "close", figures.append)
    legend = panels.ClassLegend(("Background", "Meadow", "Corn"), (), 9)
    panels.save_panels(tmp_path / "panels.png", collected(dense).panels, bands=BANDS, shown=SHOWN, classes=legend, title="a run")
    (figure,) = figures
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    titles = [axes.get_title() for axes in figure.axes]
    assert "absent" in texts and "48.250° S\n7.500° E" in texts and "aerial: true color" in titles
    if dense:
        assert titles[2:5] == ["label", "all", "only aerial"]
        assert [text.get_text() for text in figure.legends[0].texts] == ["Background", "Meadow", "Corn", "void"]
    else:
        assert any(text.startswith("label: Background") and "only aerial:" in text for text in texts)
        assert any(text.startswith("label: Meadow") and "only aerial:" not in text for text in texts)
    assert plt.imread(tmp_path / "panels.png").std() > 0
