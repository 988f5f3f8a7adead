"""Pictures of data: colors, stretching, missing pixels, clear dates, the confusion matrix."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from omnisat_jax.missing import NO_DATA_INT16
from omnisat_jax.report import pictures
from tests.report.hostile import HOSTILE


def test_colours_of_classes():
    default = pictures.class_colours(3)
    assert default.shape == (4, 3) and (default[0] == 0).all() and (default[-1] == 1).all()
    np.testing.assert_allclose(pictures.class_colours(2, ["#ff0000", "#00ff00"]), [[1, 0, 0], [0, 1, 0], [1, 1, 1]])


def test_true_colour_is_found_by_the_names_of_bands():
    assert pictures.true_colour(("B02", "B03", "B04", "B08")) == [2, 1, 0]
    assert pictures.true_colour(("NIR", "R", "G", "B")) == [1, 2, 3]
    assert pictures.true_colour(("VV", "VH")) is None and pictures.true_colour(()) is None


def test_a_lake_leaves_the_fields_their_contrast():
    fields = np.random.default_rng(0).uniform(10, 11, (20, 20, 1))
    fields[0, :4] = -50
    shown = pictures.stretch(fields)
    assert shown.min() == 0 and shown.max() == 1 and shown[1:].std() > 0.1


def test_grey_ground_stays_grey():
    ground = np.random.default_rng(0).uniform(0.1, 0.2, (20, 20, 1)) * np.ones(3)
    ground[0, 0] = (0.02, 0.06, 0.03)  # one green pixel
    shown = pictures.stretch(ground)
    np.testing.assert_allclose(shown[1:, :, :2], shown[1:, :, 1:], atol=1e-12)
    apart = pictures.stretch(ground * [1.0, 1.0, 50.0], each_band=True)  # quantities that cannot be compared
    np.testing.assert_allclose(apart[1:, :, 0], apart[1:, :, 2], atol=1e-2)


def test_missing_pixels_are_grey_and_do_not_change_the_others():
    values = np.random.default_rng(0).integers(0, 100, (6, 6, 3)).astype(np.int16)
    known = np.ones(values.shape, bool)
    known[0, 0, 1] = False
    values[0, 0, 1] = NO_DATA_INT16
    shown = pictures.picture(values, known, [0, 1, 2])
    assert (shown[0, 0] == pictures.MISSING).all() and (pictures.picture(values, ~known | (values < 0), [0])[1:] == pictures.MISSING).all()
    rest = values[known.all(-1)].astype(float)[:, None]
    np.testing.assert_array_equal(shown[known.all(-1)], pictures.stretch(rest)[:, 0])


def series():
    """Three dates: a cloudy one, a clear one, and one that is not valid."""
    values = np.full((1, 3, 4, 4, 3), 50, np.int16)
    values[0, 0] = 3000
    values[0, 1, :, :2] = 100
    dates = np.array([[3, 9, 12]])
    return {"values": values, "present": np.array([True]), "valid": np.array([[True, True, False]]), "dates": dates}


def test_a_series_is_shown_at_a_clear_date():
    image, text = pictures.render(series(), 0, ("B04", "B03", "B02"))
    assert text == "day 9" and image.shape == (4, 4, 3) and image.max() == 1


def test_a_series_without_colours_is_shown_as_the_mean_of_its_first_band():
    entry = series()
    entry["values"][0, 0, 0, 0, 0] = NO_DATA_INT16
    image, text = pictures.render(entry, 0, ("VV", "VH", "ratio"))
    assert text == "mean VV of 2 dates" and image.shape == (4, 4, 3)
    assert image[0, 0, 0] == 0  # the mean of the only known value there, 100, is below that of its neighbors
    entry["values"][0, :, 1, 1, 0] = NO_DATA_INT16
    assert (pictures.render(entry, 0, ())[0][1, 1] == pictures.MISSING).all()


@pytest.mark.parametrize(("bands", "text"), [(("R", "G", "B"), "true color"), (("height", "a", "b"), "height"), ((), "first band")])
def test_an_image(bands, text):
    entry = {"values": np.random.default_rng(0).random((2, 4, 4, 3), np.float32), "present": np.array([True, False])}
    image, shown = pictures.render(entry, 0, bands)
    assert shown == text and image.shape == (4, 4, 3)
    assert pictures.render(entry, 1, bands) is None
    entry["values"][0, 2, 2] = np.nan
    assert np.isfinite(pictures.render(entry, 0, bands)[0]).all()


def test_the_confusion_matrix_shows_the_classes_that_occur():
    figure = pictures.confusion_figure([[3, 1, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0]], ["a", "b", "c"], "title")
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert {text.get_text() for text in figure.axes[0].texts} == {"75", "25"}
    plt.close(figure)
    empty = pictures.confusion_figure(np.zeros((2, 3)), ["a", "b"], "")
    assert len(empty.axes[0].get_yticklabels()) == 2
    plt.close(empty)


def test_names_are_never_formulas(tmp_path):
    names = [name for name in HOSTILE if "\ud800" not in name]
    figure = pictures.confusion_figure([[1] * (len(names) + 1)] * len(names), names, "$\\frac{")
    figure.savefig(tmp_path / "confusion.png", dpi=20)
    plt.close(figure)
    assert (tmp_path / "confusion.png").stat().st_size
