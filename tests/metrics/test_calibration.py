"""Calibration error, likelihood and temperature against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from omnisat_jax.metrics import calibration
from omnisat_jax.metrics.calibration import BINS, TEMPERATURES, calibration_counts, expected_calibration_error, fit_temperature
from omnisat_jax.metrics.segmentation import SegmentationScores

NAMES = ("a", "b", "c", "d")
VOID = 4


def pixels(seed=0):
    """Logits (2,5,6,4), labels with void (4) and impossible (5) ones, and weights that leave out the second sample."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 5, 6, 4)).astype(np.float32) * 3, rng.integers(0, 6, (2, 5, 6)), np.array([1.0, 0.0])


def softmax(logits):
    exponential = np.exp(logits - logits.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def calibration_error(probability, right):
    """In %, by the definition."""
    error = 0.0
    for low in range(15):
        inside = (probability * 15).astype(int).clip(max=14) == low
        if inside.any():
            error += inside.mean() * abs(probability[inside].mean() - right[inside].mean())
    return 100 * error


def ladder(logits, labels):
    """Sums at every temperature of one long row of pixels."""
    shaped = jnp.asarray(logits, jnp.float32)[None, None], jnp.asarray(labels)[None, None], jnp.ones(1)
    return np.asarray(calibration.negative_log_likelihood(*shaped, TEMPERATURES, ignore=255))[0]


def drawn(seed, count=20_000, classes=5):
    """Logits (N,K), and labels drawn with the probabilities that they state."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)) * 2
    return logits, (softmax(logits).cumsum(1) < rng.random((count, 1))).sum(1).clip(max=classes - 1)


def test_sums_of_large_images_are_not_rounded():
    """As many pixels as four tiles of FLAIR, nearly all in one bin."""
    margin = np.random.default_rng(0).uniform(3.5, 8, (4, 512, 512, 1)).astype(np.float32)
    logits = np.concatenate([margin, np.zeros_like(margin)], -1)
    counts = np.asarray(jax.jit(lambda x: calibration_counts(x, jnp.zeros(x.shape[:3], int), jnp.ones(4), ignore=VOID))(logits), np.float64)
    assert counts[:, 0].sum() == counts[:, 2].sum() == 4 * 512**2
    np.testing.assert_allclose(counts[:, 1].sum(), sigmoid(margin).sum(), rtol=1e-5)


def test_calibration_error_is_that_of_the_definition():
    logits, labels, weight = pixels()
    counts = np.asarray(calibration_counts(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weight), ignore=VOID))
    keep = labels[0] < VOID
    error = calibration_error(softmax(logits[0]).max(-1)[keep], (logits[0].argmax(-1) == labels[0])[keep])
    assert counts[:, 0].sum() == keep.sum()
    np.testing.assert_allclose(expected_calibration_error(counts), error, rtol=1e-5)
    scores = SegmentationScores(NAMES)
    scores.add(np.zeros((4, 5)), counts)
    scores.add(np.zeros((4, 5)), counts)
    np.testing.assert_allclose(scores.compute()["ece"], error, rtol=1e-5)


def test_calibration_error_of_tile_labels_is_that_of_the_definition():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(8, 4)).astype(np.float32) * 3, rng.integers(0, 2, (8, 4)).astype(np.float32)
    weight = np.array([1.0] * 6 + [0.0] * 2)
    counts = np.asarray(calibration.multilabel_calibration_counts(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weight)))
    assert counts[:, 0].sum() == 24 and counts[:, 2].sum() == labels[:6].sum()
    error = calibration_error(sigmoid(logits[:6]).reshape(-1), labels[:6].reshape(-1))
    np.testing.assert_allclose(expected_calibration_error(counts), error, rtol=1e-5)


def test_no_pixel_has_no_error():
    assert np.isnan(expected_calibration_error(np.zeros((BINS, 3))))


def test_likelihood_is_the_cross_entropy_of_scaled_logits():
    logits, labels, weight = pixels()
    temperatures = (0.25, 1.0, 3.0)
    found = calibration.negative_log_likelihood(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weight), temperatures, ignore=VOID)
    keep = labels[0] < VOID
    expected = [-np.log(softmax(logits[0].astype(np.float64) / t)[keep, labels[0][keep]]).sum() for t in temperatures]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert found.shape == (2, 3) and not np.asarray(found[1]).any()


def test_likelihood_of_tile_labels_is_the_binary_cross_entropy_of_scaled_logits():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(3, 4)).astype(np.float32) * 3, rng.integers(0, 2, (3, 4))
    temperatures = (0.5, 1.0, 2.0)
    found = calibration.multilabel_negative_log_likelihood(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray([1.0, 1.0, 0.0]), temperatures)
    probability = np.stack([sigmoid(logits / t) for t in temperatures], 1)
    expected = -np.where(labels[:, None] > 0, np.log(probability), np.log(1 - probability)).sum(-1)
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-5)
    assert not np.asarray(found[2]).any()


def test_what_does_not_count_may_be_anything():
    """Void pixels and padding with logits that are not finite leave sums finite."""
    logits, labels, weight = pixels()
    expected = calibration.negative_log_likelihood(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weight), TEMPERATURES, ignore=VOID)
    logits[1], logits[0][labels[0] >= VOID] = np.nan, np.inf
    found = calibration.negative_log_likelihood(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weight), TEMPERATURES, ignore=VOID)
    np.testing.assert_array_equal(found, expected)
    found = calibration.multilabel_negative_log_likelihood(jnp.full((1, 2), np.nan), jnp.ones((1, 2)), jnp.zeros(1), TEMPERATURES)
    assert not np.asarray(found).any()


def test_temperatures_are_equally_spaced_and_one_is_among_them():
    assert len(TEMPERATURES) == 33 and (TEMPERATURES[0], TEMPERATURES[16], TEMPERATURES[-1]) == (0.25, 1.0, 4.0)
    np.testing.assert_allclose(np.diff(np.log(TEMPERATURES)), np.log(16) / 32)


@pytest.mark.parametrize("vertex", [0.3, 0.55, 1.0, 1.7, 3.6])
def test_the_minimum_of_a_parabola_is_found_between_the_temperatures(vertex):
    sums = 100 + 7 * (np.log(TEMPERATURES) - np.log(vertex)) ** 2
    found = fit_temperature(sums)
    assert found.value == pytest.approx(vertex, rel=1e-9) and found.remark == ""


@pytest.mark.parametrize(("vertex", "end"), [(0.1, 0.25), (0.25, 0.25), (4.0, 4.0), (9.0, 4.0)])
def test_nothing_is_extrapolated(vertex, end):
    found = fit_temperature((np.log(TEMPERATURES) - np.log(vertex)) ** 2)
    assert found.value == end and found.remark.startswith("It lies at the end of the temperatures that are tried, 0.25 to 4")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_sums_that_determine_nothing_leave_probabilities_as_they_are(wrong):
    flat = np.full(33, 5.0)
    assert fit_temperature(flat) == calibration.Temperature(1.0, "All temperatures explain the validation labels equally well, so none is fitted")
    flat[3] = wrong
    assert fit_temperature(flat) == calibration.Temperature(
        1.0, "The likelihood of the validation labels is not finite, so no temperature is fitted"
    )


def test_of_equally_good_temperatures_the_one_that_changes_least_is_taken():
    sums = np.maximum(np.arange(33) - 10.0, 0)  # 0.25 to TEMPERATURES[10] are equally good
    assert TEMPERATURES[9] < fit_temperature(sums).value < TEMPERATURES[10]
    sums = np.maximum(np.abs(np.arange(33) - 16.0) - 3, 0)
    assert fit_temperature(sums).value == 1.0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.4, 2.5))
def test_scaled_logits_need_a_scaled_temperature(seed, scale):
    """Labels drawn from the stated probabilities need no temperature; the same logits times c need c."""
    logits, labels = drawn(seed, 80_000)  # enough for any seed: one standard error of the temperature is half a percent
    plain, scaled = fit_temperature(ladder(logits, labels)), fit_temperature(ladder(scale * logits, labels))
    assert plain.value == pytest.approx(1, abs=0.03) and plain.remark == scaled.remark == ""
    assert scaled.value == pytest.approx(scale * plain.value, rel=2e-3)


def test_the_fit_is_the_minimum_of_the_likelihood():
    logits, labels = drawn(3)
    found = fit_temperature(ladder(1.8 * logits, labels)).value
    fine = found * np.linspace(0.97, 1.03, 121)
    shaped = jnp.asarray(1.8 * logits, jnp.float32)[None, None], jnp.asarray(labels)[None, None], jnp.ones(1)
    sums = np.asarray(calibration.negative_log_likelihood(*shaped, fine, ignore=255))[0]
    assert fine[sums.argmin()] == pytest.approx(found, rel=3e-3)


def test_tile_labels_that_are_drawn_from_their_probabilities_need_no_temperature():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 8)) * 2
    labels = (rng.random(logits.shape) < sigmoid(logits)).astype(np.float32)
    for scale in (1.0, 1.7):
        sums = calibration.multilabel_negative_log_likelihood(jnp.asarray(scale * logits), jnp.asarray(labels), jnp.ones(4000), TEMPERATURES)
        assert fit_temperature(np.asarray(sums).sum(0)).value == pytest.approx(scale, rel=0.03)


def test_sums_of_batches_are_added():
    logits, labels, _ = pixels()
    weight = jnp.ones(2)
    measure = jax.jit(lambda *batch: calibration.negative_log_likelihood(*batch, TEMPERATURES, ignore=VOID))
    whole, parts = calibration.LikelihoodSums(), calibration.LikelihoodSums()
    whole.add(measure(logits, labels, weight))
    for i in range(2):
        parts.add(measure(logits[i : i + 1], labels[i : i + 1], weight[i : i + 1]))
    np.testing.assert_allclose(whole.compute(), parts.compute(), rtol=1e-6)
    assert whole.compute().dtype == np.float64


def test_before_and_after():
    counts = np.zeros((2, BINS, 3))
    counts[0, 14], counts[1, 9] = [4, 3.9, 2], [4, 2.5, 2]
    scores = calibration.ScalingScores()
    for _ in range(2):
        scores.add({"likelihood": np.array([[3.0, 2.0], [1.0, 0.0]]), "counts": counts})
    found = scores.compute()
    assert found["predictions"] == 8 and found["before"]["nll"] == 1.0 and found["after"]["nll"] == 0.5
    assert found["before"]["ece"] == pytest.approx(100 * 1.9 / 4) and found["after"]["ece"] == pytest.approx(100 * 0.5 / 4)
    assert found["after"]["counts"][9] == [8, 5.0, 4]


def test_before_and_after_of_nothing():
    found = calibration.ScalingScores().compute()
    assert found["predictions"] == 0 and found["before"] == found["after"]
    assert found["before"]["nll"] is None and found["before"]["ece"] is None
