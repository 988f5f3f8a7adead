"""Intervals and paired differences over resampled test tiles."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from omnisat_jax.metrics import intervals


def tiles(counts, names=None):
    names = names or tuple(f"t{i}" for i in range(len(counts)))
    return intervals.Tiles(names, np.asarray(counts, float), None, None, ("a", "b"), (), 0.5)


def test_bootstrap_covers_the_sampling_spread():
    """The interval of a mean of independent tiles is that of statistics: here each tile is all right or all wrong."""
    rng = np.random.default_rng(0)
    right = rng.random(200) < 0.6
    counts = np.zeros((200, 2, 3))
    counts[:, 0, 0], counts[right, 1, 1], counts[~right, 1, 2] = 1, 1, 1
    draws = intervals.bootstrap([tiles(counts)], 2000)
    share = right.mean()
    # IoU of b is its recall here; the other class is always right: mIoU = 50 + 50 * recall.
    expected = 50 * np.sqrt(share * (1 - share) / 200)
    low, high = intervals.interval(draws)
    assert low < 50 + 50 * share < high
    assert (high - low) / (2 * 1.96) == pytest.approx(expected, rel=0.1)


def test_runs_on_other_tiles_are_not_resampled_together():
    counts = np.ones((3, 2, 3))
    with pytest.raises(ValueError, match="different tiles"):
        intervals.bootstrap([tiles(counts), tiles(counts, ("x", "y", "z"))], 5)


def test_tile_labels_are_resampled_as_scikit_learn_scores_the_repeated_tiles():
    rng = np.random.default_rng(0)
    labels, predicted = (rng.random((12, 4)) < (0.5, 0.5, 0.1, 0.0) for _ in range(2))  # the last one never occurs
    run = intervals.Tiles(tuple(map(str, range(12))), None, predicted * 0.9, labels, ("a", "b", "c", "d"), (), 0.5)
    repeated = [np.repeat(np.arange(12), weights) for weights in intervals.resamples(12, 20)]
    each = [f1_score(labels[i], predicted[i], average="macro", zero_division=np.nan) for i in repeated]
    np.testing.assert_allclose(intervals.bootstrap([run], 20), 100 * np.array(each), rtol=1e-12)
