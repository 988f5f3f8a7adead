"""Intervals and paired differences over resampled test tiles and parcels, and over seeds."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from omnisat_jax.metrics import intervals
from omnisat_jax.metrics.parcels import UnitCounts
from omnisat_jax.metrics.segmentation import SegmentationScores


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
    # A label that a resample does not hold is not scored, whether it is predicted or not.
    kept = [labels[i].any(0) | ~labels.any(0) for i in repeated]
    assert not all(scored.all() for scored in kept)
    each = [f1_score(labels[i][:, k], predicted[i][:, k], average="macro", zero_division=np.nan) for i, k in zip(repeated, kept)]
    np.testing.assert_allclose(intervals.bootstrap([run], 20), 100 * np.array(each), rtol=1e-12)


def test_the_interval_over_seeds_is_students():
    scores = [61.2, 63.9, 60.1, 62.2, 61.0]
    expected = stats.t.interval(0.95, 4, np.mean(scores), stats.sem(scores))
    assert intervals.seed_interval(scores) == pytest.approx(expected)
    assert intervals.seed_interval([3.3, 3.5, 0.4]) == pytest.approx((-1.9, 6.7), abs=0.05)
    assert intervals.seed_interval([61.2]) is None and intervals.seed_interval([1.0, np.nan]) is None
    assert intervals.seed_interval([5.0, 5.0]) == (5.0, 5.0)


def test_many_means_are_those_of_the_scores():
    confusion = np.random.default_rng(0).integers(0, 4, (20, 3, 4)) * np.array([[[1], [1], [0]]])
    for unscored in ((), ("b",)):
        expected = []
        for counts in confusion:
            scores = SegmentationScores(("a", "b", "c"), unscored)
            scores.add(counts)
            expected.append(scores.compute()["miou"])
        np.testing.assert_allclose(intervals.mean_iou(confusion, ("a", "b", "c"), unscored), expected)


def test_parcels_are_resampled_as_their_repeated_pixels_score():
    counts = UnitCounts(*np.array([[-1, 4, 4, 9, 9], [0, 1, 1, 1, 0], [0, 1, 0, 0, 0], [7, 5, 2, 3, 1]]))
    run = intervals.Parcels.of(counts, ("a", "b"), ())
    assert run.names == (-1, 4, 9)
    weights = np.array([[1, 1, 1], [0, 3, 0], [2, 0, 1]])
    by_hand = [[[8, 0, 0], [5, 5, 0]], [[0, 0, 0], [6, 15, 0]], [[15, 0, 0], [3, 0, 0]]]
    expected = intervals.mean_iou(np.array(by_hand), ("a", "b"))
    expected[1] = 100 * 15 / 21  # without labels of a, whose predictions are only errors of b
    np.testing.assert_allclose(run.scores(weights), expected)


def test_draws_do_not_depend_on_how_many_are_held(monkeypatch):
    run = tiles(np.random.default_rng(0).integers(0, 9, (6, 2, 3)))
    whole = intervals.bootstrap([run], 50)
    monkeypatch.setattr(intervals, "_DRAWN", 6 * 7)
    np.testing.assert_array_equal(intervals.bootstrap([run], 50), whole)


def test_streams_draw_independently():
    run = tiles(np.random.default_rng(0).integers(0, 9, (30, 2, 3)))
    first, again, other = (intervals.bootstrap([run], 400, stream) for stream in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.2
