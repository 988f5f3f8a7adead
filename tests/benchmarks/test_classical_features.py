"""Features of the classical baselines, against plain NumPy and planted fields, clouds and rows."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from benchmarks.classical import series
from benchmarks.classical.features import FeatureConfig, TileFeatures, role
from benchmarks.classical.models import Filling, fit
from benchmarks.classical.texture import ORIENTATIONS, WAVELENGTHS, gabor_energies, texture_features
from omnisat_jax.errors import UserError
from omnisat_jax.missing import measured
from omnisat_jax.records.info import ModalityInfo

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_interpolation_is_that_of_numpy_for_every_pixel(seed):
    rng = np.random.default_rng(seed)
    dates, grid = np.sort(rng.choice(100, 7, replace=False)), np.arange(-10, 111, 13)
    values, known = rng.normal(size=(7, 2, 3, 2)), rng.random((7, 2, 3)) < 0.5
    found = series.interpolate(dates, np.where(known[..., None], values, 0), known, grid)
    for row, column in np.ndindex(2, 3):
        some = known[:, row, column]
        for band in range(2):
            expected = np.interp(grid, dates[some], values[some, row, column, band]) if some.any() else np.full(len(grid), np.nan)
            np.testing.assert_allclose(found[:, row, column, band], expected, rtol=1e-5, atol=1e-6)


def field(dates=20, side=12):
    """A growing field of reflectance x 10,000 with a little noise, (T,H,W,C)."""
    rng = np.random.default_rng(0)
    season = np.sin(np.linspace(0, np.pi, dates))[:, None, None, None]
    bare, green = np.array([900, 1100, 1300, 1500, 1700, 1800, 2000, 2100, 2600, 2200]), np.array([300, 600, 300, 900, 2800, 3400, 3800, 3900, 1800, 800])
    return (1 - season) * bare + season * green + rng.normal(0, 30, (dates, side, side, len(BANDS)))


@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_planted_clouds_and_shadows_are_screened_and_fields_are_not(unit):
    values, known = field(), np.ones((20, 12, 12), bool)
    assert series.clear_pixels(unit * values, known, BANDS).all()
    values[4, 2:6, 2:6] = 6000  # a cloud
    values[9, 6:10, 6:10] *= 0.2  # a shadow
    values[12] = 7000  # overcast
    clear = series.clear_pixels(unit * values, known, BANDS)
    expected = known.copy()
    expected[4, 1:7, 1:7] = expected[9, 5:11, 5:11] = expected[12] = False
    np.testing.assert_array_equal(clear, expected)


def test_a_pixel_that_is_never_clear_keeps_its_known_dates():
    values, known = field(3, 4), np.zeros((3, 4, 4), bool)
    known[1] = True
    np.testing.assert_array_equal(series.clear_pixels(values, known, BANDS), known)
    assert not series.clear_pixels(values, np.zeros_like(known), BANDS).any()
    assert series.clear_pixels(values[:0], known[:0], BANDS).shape == (0, 4, 4)


def test_means_of_windows_use_known_values_only():
    values = np.arange(9.0).reshape(1, 3, 3, 1)
    known = np.ones((1, 3, 3), bool)
    known[0, 0, 0] = known[0, 1, 1] = False
    mean, some = series.window_mean(np.where(known[..., None], values, 1e9), known, 3)
    assert some.all() and mean[0, 0, 0, 0] == pytest.approx((1 + 3) / 2) and mean[0, 1, 1, 0] == pytest.approx((36 - 4) / 7)
    nothing, some = series.window_mean(values, np.zeros_like(known), 3)
    assert not some.any() and (nothing == 0).all()


def test_statistics_of_periods_and_of_a_period_without_dates():
    dates, edges = np.array([0, 5, 25, 26]), np.array([0, 10, 20, 30])
    values = np.array([1.0, 3.0, 6.0, 100.0]).reshape(4, 1, 1, 1)
    known = np.array([True, True, True, False]).reshape(4, 1, 1)
    mean, deviation = series.period_statistics(dates, values, known, edges)
    assert mean[:, 0, 0, 0] == pytest.approx([2, 4, 6])  # the middle one lies between its neighbors
    assert deviation[:, 0, 0, 0] == pytest.approx([1, np.std([1, 3, 6]), 0])
    assert np.isnan(series.period_statistics(dates, values, known & False, edges)).all()


def test_indices_of_a_field_and_of_noise():
    pixel = np.array([300, 600, 300, 900, 2800, 3400, 3800, 3900, 1800, 800.0])
    ndvi, ndwi, ndmi, ndre = series.normalised_differences(pixel, BANDS)
    assert (ndvi, ndwi) == pytest.approx((3500 / 4100, -3200 / 4400)) and (ndmi, ndre) == pytest.approx((2100 / 5700, 3000 / 4800))
    noise = pixel.copy()
    noise[6], noise[2] = 10, -20  # no reflectance at all
    assert series.normalised_differences(noise, BANDS)[0] == 0
    assert np.isnan(series.normalised_differences(np.full(10, np.nan), BANDS)).all()


@pytest.mark.parametrize("wavelength", [0, 2])
@pytest.mark.parametrize("turn", [0, 2])
def test_rows_are_found_at_their_wavelength_and_orientation(wavelength, turn):
    angle = np.pi * turn / ORIENTATIONS
    y, x = np.mgrid[:60, :60]
    rows = 100 + 20 * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / WAVELENGTHS[wavelength])
    energies = gabor_energies(rows)[10:50, 10:50].mean((0, 1)).reshape(len(WAVELENGTHS), ORIENTATIONS)
    assert np.unravel_index(energies.argmax(), energies.shape) == (wavelength, turn)


def test_texture_separates_rows_noise_and_a_smooth_field():
    rng = np.random.default_rng(0)
    image = np.full((60, 60, 3), 100.0)
    image[:, :20] += 20 * np.sin(2 * np.pi * np.arange(20) / 4)[None, :, None]
    image[:, 20:40] += rng.normal(0, 20 / np.sqrt(2), (60, 20, 1))
    found = texture_features(image.astype(np.uint8), 6)
    rows, noise, smooth = (found[2:4, column].mean(0) for column in (0, 3, 5))
    coherence = found.shape[-1] // 2 - 1
    assert rows[coherence] > 0.9 > 0.5 > noise[coherence]
    assert rows[3:6].mean() > 10 < noise[3:6].mean() and smooth[3:6].max() < 1e-6  # standard deviations
    assert np.isfinite(found).all() and found.shape[:2] == (6, 6)


def test_what_is_unknown_is_filled_with_the_mean_and_said():
    features = {"s2": np.array([[1.0, 2], [3, 6], [np.nan, np.nan]], np.float32), "s1a": np.ones((3, 1), np.float32)}
    filling = Filling.fit(features)
    assert filling.matrix(features).tolist() == [[1, 2, 1, 1, 1], [3, 6, 1, 1, 1], [2, 4, 1, 0, 1]]
    with pytest.raises(UserError, match="expected known values of s2 in the labeled training pixels, found none"):
        Filling.fit({"s2": features["s2"][2:]})


@pytest.mark.parametrize("kind", ["extra_trees", "logistic"])
def test_both_classifiers_learn_and_refuse_a_single_class(kind):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    features = np.eye(3)[labels] + rng.normal(0, 0.1, (90, 3))
    predict = fit(kind, features, labels, seed=0, trees=5, strength=1.0)
    assert (predict(features) == labels).mean() > 0.95
    with pytest.raises(UserError, match="at least two classes, found 1"):
        fit(kind, features, labels * 0, seed=0, trees=5, strength=1.0)


def test_roles_follow_from_bands():
    def info(*bands, kind="series"):
        return ModalityInfo(kind, (4, 4, len(bands)), "float32", 1, bands)

    assert role(info(*BANDS)) == "optical" and role(info("VV", "VH", "VV/VH")) == "radar"
    assert role(info("B02", "B03")) == "series" and role(info("R", "G", "B", kind="image")) == "image"


def test_an_offset_of_stored_reflectance_changes_no_feature(records):
    """Tiles of other programs may hold the values of baseline 04.00, which are 1,000 higher, and declare it."""
    config, source = FeatureConfig(("s2",)), records.source(records.parts)
    expected, example = TileFeatures(records, config, records.parts[:3])(source[0])["s2"], source[0]

    class Raised:
        """The records as such a dataset has them."""

        def __getattr__(self, name):
            return getattr(records, name)

        modalities = records.modalities | {"s2": dataclasses.replace(records.modalities["s2"], scale=(1e-4,) * 10, offset=(-0.1,) * 10)}

    values = example["s2"]["values"][:]
    raised = example | {"s2": example["s2"] | {"values": np.where(measured(values), values + 1000, values).astype(np.int16)}}
    np.testing.assert_allclose(TileFeatures(Raised(), config, records.parts[:3])(raised)["s2"], expected, rtol=1e-4, atol=1e-4)


def test_features_of_tiles(records):
    config = FeatureConfig(("s2", "s1a", "spot"))
    make, source = TileFeatures(records, config, records.parts[:3]), records.source(records.parts)
    found = [make(source[position]) for position in (0, 7)]
    pixels = records.label_side**2
    assert {name: columns.shape for name, columns in found[0].items()} == {name: columns.shape for name, columns in found[1].items()}
    assert all(len(columns) == pixels and np.isfinite(columns).all() for columns in found[0].values())
    lacking = source[0] | {"spot": {"values": source[0]["spot"]["values"][:0]}}
    lacking["s1a"] = {"values": source[0]["s1a"]["values"][:0], "dates": np.zeros(0, int), "valid": np.zeros(0, bool)}
    without = make(lacking)
    assert np.isnan(without["s1a"]).all() and np.isnan(without["spot"]).all() and without["s1a"].shape == found[0]["s1a"].shape
    np.testing.assert_array_equal(without["s2"], found[0]["s2"])
    for names, message in ((("s3",), "expected some of s2, .*, found|expected some of"), (("location",), "expected some of")):
        with pytest.raises(UserError, match=message):
            TileFeatures(records, FeatureConfig(names), records.parts[:3])
    with pytest.raises(UserError, match="expected linear power in s1a, found a mean of -.* in band VV of the training parts; set --radar_unit=db"):
        TileFeatures(records, FeatureConfig(("s1a",), radar_unit="linear"), records.parts[:3])
