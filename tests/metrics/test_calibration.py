"""The expected calibration error against its definition."""

import jax.numpy as jnp
import numpy as np

from omnisat_jax.metrics.calibration import BINS, calibration_counts, expected_calibration_error
from omnisat_jax.metrics.segmentation import SegmentationScores

NAMES = ("a", "b", "c", "d")


def test_calibration_error_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 5, 6, 4)) * 3, rng.integers(0, 6, (2, 5, 6))  # 4 is void, 5 no class
    weight = np.array([1.0, 0.0])
    counts = np.asarray(calibration_counts(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weight), ignore=4))
    keep = labels[0] < 4
    probability = np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)
    sure, right = probability.max(-1)[keep], (logits[0].argmax(-1) == labels[0])[keep]
    error = 0.0
    for low in range(15):
        inside = (sure * 15).astype(int).clip(max=14) == low
        if inside.any():
            error += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    assert counts[:, 0].sum() == keep.sum()
    np.testing.assert_allclose(expected_calibration_error(counts), 100 * error, rtol=1e-5)
    scores = SegmentationScores(NAMES)
    scores.add(np.zeros((4, 5)), counts)
    scores.add(np.zeros((4, 5)), counts)
    np.testing.assert_allclose(scores.compute()["ece"], 100 * error, rtol=1e-5)


def test_no_pixel_has_no_error():
    assert np.isnan(expected_calibration_error(np.zeros((BINS, 3))))
