"""Votes of parcels, counted by hand."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn import metrics

from omnisat_jax.metrics.parcels import ParcelCounts, UnitCounts, parcel_confusion, parcel_scores

VOID, K = 9, 3


def counted(*tiles):
    counts = ParcelCounts(K, VOID)
    for index, (parcels, labels, predicted) in enumerate(tiles):
        counts.add(np.array(parcels), np.array(labels), np.array(predicted), index)
    return counts.compute()


def test_the_pixels_of_a_parcel_vote():
    parcels = [[5, 5, 5], [7, 7, 8]]
    labels = [[1, 1, 0], [2, 2, 0]]
    predicted = [[0, 1, 1], [2, 0, 0]]
    # 5 is 1 and predicted as 1; 7 is 2 and tied between 2 and 0, of which 0 comes first; 8 is 0 and predicted as 0.
    confusion = parcel_confusion(counted((parcels, labels, predicted)), K)
    assert confusion.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    scores = parcel_scores(confusion, "abc")
    assert scores["oa"] == pytest.approx(200 / 3) and scores["parcels"] == 3
    assert scores["f1"] == pytest.approx({"a": 200 / 3, "b": 100.0, "c": 0.0}) and scores["f1_macro"] == pytest.approx(500 / 9)
    assert parcel_scores(confusion, "abc", ["c"])["f1_macro"] == pytest.approx(250 / 3)


def test_void_pixels_do_not_vote_and_the_rest_of_a_parcel_does():
    confusion = parcel_confusion(counted(([[5, 5, 5, 6]], [[VOID, VOID, 1, VOID]], [[0, 0, 1, 0]])), K)
    assert confusion.sum() == confusion[1, 1] == 1  # 6 has no label at all, so it is no parcel of the test


def test_a_parcel_of_several_tiles_votes_once():
    first, second = ([[5, 5]], [[1, 1]], [[0, 0]]), ([[5, 5, 5]], [[1, 1, 1]], [[1, 1, 1]])
    assert parcel_confusion(counted(first), K)[1].tolist() == [1, 0, 0, 0]
    assert parcel_confusion(counted(first, second), K)[1].tolist() == [0, 1, 0, 0]


def test_what_lies_outside_parcels_is_a_unit_per_tile_and_no_parcel():
    counts = counted(([[0, 0, 5]], [[0, 1, 2]], [[0, 0, 77]]), ([[0, 0]], [[0, 0]], [[1, 1]]))
    assert counts.unit.tolist() == [-2, -1, -1, 5] and counts.pixels.tolist() == [2, 1, 1, 1]
    assert counts.predicted[-1] == K  # no class: an error
    assert parcel_confusion(counts, K).tolist() == [[0] * 4, [0] * 4, [0, 0, 0, 1]]


def test_no_parcel_has_no_score():
    scores = parcel_scores(parcel_confusion(counted(), K), "abc")
    assert np.isnan(scores["oa"]) and np.isnan(scores["f1_macro"]) and scores["f1"] == dict.fromkeys("abc") and scores["parcels"] == 0


@given(st.integers(0, 2**32 - 1))
def test_counts_are_those_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    tiles = [(rng.integers(0, 4, (3, 4)), rng.choice([0, 1, 2, VOID], (3, 4)), rng.integers(0, K + 1, (3, 4))) for _ in range(3)]
    expected = {}
    for index, tile in enumerate(tiles):
        for parcel, label, predicted in zip(*(array.reshape(-1).tolist() for array in tile)):
            if label != VOID:
                key = parcel or -1 - index, label, predicted
                expected[key] = expected.get(key, 0) + 1
    found = counted(*tiles)
    assert {(u, a, b): n for u, a, b, n in zip(found.unit, found.label, found.predicted, found.pixels)} == expected
    again = UnitCounts.joined([found, found])
    assert again.unit.tolist() == found.unit.tolist() and again.pixels.tolist() == (2 * found.pixels).tolist()


@given(st.lists(st.tuples(st.integers(0, K - 1), st.integers(0, K)), min_size=1, max_size=30))
def test_macro_f1_is_that_of_scikit_learn(pairs):
    """Over the classes of labels and predictions: one that is only predicted counts with 0. K is a prediction outside the classes."""
    confusion = np.zeros((K, K + 1), np.int64)
    for pair in pairs:
        confusion[pair] += 1
    labels, predicted = zip(*pairs)
    seen = sorted({*labels, *predicted} - {K})
    found = parcel_scores(confusion, "abc")
    expected = metrics.f1_score(labels, predicted, labels=seen, average="macro", zero_division=0)
    assert found["f1_macro"] == pytest.approx(100 * expected) and found["classes"] == len(seen)


def test_a_class_that_is_only_predicted_counts_with_0_and_one_that_is_absent_does_not_count():
    scores = parcel_scores(np.array([[3, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]), "abc")
    assert scores["f1"] == {"a": pytest.approx(600 / 7), "b": 0.0, "c": None} and scores["f1_macro"] == pytest.approx(300 / 7) and scores["classes"] == 2
