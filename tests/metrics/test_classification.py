"""Scores of multi-label classification against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from omnisat_jax.metrics.classification import MultiLabelScores, label_f1, mean_known

NAMES = ("a", "b", "c", "d")


def test_multilabel_equals_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.random((20, 4)), rng.integers(0, 2, (20, 4))
    scores = MultiLabelScores(NAMES, 0.5)
    scores.add(probabilities[:12], labels[:12], np.ones(12))
    scores.add(
        np.concatenate([probabilities[12:], rng.random((2, 4))]),
        np.concatenate([labels[12:], np.ones((2, 4))]),
        np.r_[np.ones(8), 0, 0],
    )
    found = scores.compute()
    assert found["f1_macro"] == pytest.approx(100 * metrics.f1_score(labels, probabilities > 0.5, average="macro"))
    assert found["f1_weighted"] == pytest.approx(100 * metrics.f1_score(labels, probabilities > 0.5, average="weighted"))
    assert found["map"] == pytest.approx(100 * metrics.average_precision_score(labels, probabilities, average="macro"))
    assert found["tiles"] == 20
    every = np.ones(labels.shape)
    assert found["f1_every_label"] == pytest.approx(100 * metrics.f1_score(labels, every, average="macro"))
    assert found["map_every_label"] == pytest.approx(100 * metrics.average_precision_score(labels, every, average="macro"))


def test_multilabel_class_that_never_occurs():
    scores = MultiLabelScores(NAMES, 0.5)
    scores.add(np.array([[0.9, 0.1, 0.1, 0.1]]), np.array([[1, 0, 0, 0]]), np.ones(1))
    found = scores.compute()
    assert found["f1_macro"] == 100 and found["f1"]["b"] is None and found["classes"] == 1
    every = np.ones((1, 4))
    assert found["f1_every_label"] == pytest.approx(100 * metrics.f1_score([[1, 0, 0, 0]], every, average="macro", zero_division=0)) == 25
    assert found["map_every_label"] == 100


def test_predicting_every_label_scores_what_such_a_prediction_scores():
    """By the rule of every other prediction: a label that is predicted and never occurs counts with 0."""
    labels = np.random.default_rng(0).random((9, 4)) < (0.5, 0.2, 0.9, 0.0)
    trivial, scores = MultiLabelScores(NAMES, 0.5), MultiLabelScores(NAMES, 0.5)
    trivial.add(np.ones(labels.shape), labels, np.ones(9))
    scores.add(np.random.default_rng(1).random(labels.shape), labels, np.ones(9))
    reached = trivial.compute()
    assert scores.compute()["f1_every_label"] == pytest.approx(reached["f1_macro"])
    assert scores.compute()["map_every_label"] == pytest.approx(reached["map"])


def test_multilabel_with_nothing_there():
    """Predicted labels that never occur count as wrong; neither there nor predicted is no score."""
    for probability, score in ((0.9, 0.0), (0.1, np.nan)):
        scores = MultiLabelScores(NAMES, 0.5)
        scores.add(np.full((2, 4), probability), np.zeros((2, 4)), np.ones(2))
        found = scores.compute()
        np.testing.assert_equal(found["f1_macro"], score)
        assert found["f1_weighted"] == 0 and np.isnan(found["map"]) and found["classes"] == 0 and found["f1_every_label"] == 0


def test_no_tile_is_no_score():
    scores = MultiLabelScores(NAMES, 0.5)
    scores.add(np.zeros((2, 4)), np.zeros((2, 4)), np.zeros(2))
    found = scores.compute()
    assert np.isnan(found["f1_macro"]) and np.isnan(found["f1_weighted"]) and found["tiles"] == 0


def test_tiles_count_as_often_as_their_weight():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 2, (2, 6, 3)).astype(bool)
    weights = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 0, 3, 0]])
    found = label_f1(labels, predicted, weights)
    repeated = np.repeat(np.arange(6), weights[1])
    for column in range(3):
        expected = 100 * metrics.f1_score(labels[repeated, column], predicted[repeated, column], zero_division=np.nan)
        np.testing.assert_allclose(found[1, column], expected)


def test_mean_of_known_values():
    np.testing.assert_equal(mean_known(np.array([[1.0, np.nan, 3.0], [np.nan] * 3])), [2.0, np.nan])
