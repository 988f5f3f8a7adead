"""Scores of segmentation against scikit-learn, adversarial cases included."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from omnisat_jax.metrics.segmentation import SegmentationScores, confusion_counts, learnable_classes, learnable_scores

NAMES = ("a", "b", "c", "d")


def score(predicted, labels, weight=None):
    weight = np.ones(len(labels)) if weight is None else weight
    scores = SegmentationScores(NAMES)
    scores.add(confusion_counts(jnp.asarray(predicted), jnp.asarray(labels), jnp.asarray(weight), classes=4, ignore=9))
    return scores.compute()


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.int32, (2, 3, 3), elements=st.sampled_from([0, 1, 2, 3, 9])),
    hnp.arrays(np.int32, (2, 3, 3), elements=st.sampled_from([0, 1, 2, 3, 9])),
)
def test_equals_scikit_learn(labels, predicted):
    """Whatever is absent, void or predicted as void: void labels do not count, void predictions are errors."""
    found = score(predicted, labels)
    y, p = labels[labels != 9], predicted[labels != 9]
    if not len(y):
        assert np.isnan(found["miou"]) and np.isnan(found["oa"])
        return
    seen = np.setdiff1d(np.union1d(y, p), [9])
    np.testing.assert_allclose(found["miou"], 100 * metrics.jaccard_score(y, p, labels=seen, average="macro"), rtol=1e-6)
    np.testing.assert_allclose(found["oa"], 100 * metrics.accuracy_score(y, p), rtol=1e-6)
    most = np.full_like(y, np.bincount(y).argmax())
    np.testing.assert_allclose(found["miou_most_frequent"], 100 * metrics.jaccard_score(y, most, average="macro", zero_division=0), rtol=1e-6)


def test_the_most_frequent_class_of_the_mean_counts_pixels_outside_it_as_errors():
    scores = SegmentationScores(("a", "b", "other"), unscored=("other",))
    assert np.isnan(scores.compute()["miou_most_frequent"])
    scores.add(np.array([[3, 0, 0, 0], [0, 1, 0, 0], [0, 0, 6, 0]]))
    assert scores.compute()["miou_most_frequent"] == 100 * 3 / 10 / 2
    assert scores.compute(min_pixels=2)["miou_most_frequent"] == 100 * 3 / 10


def test_prediction_of_void_is_an_error():
    found = score(np.array([[[9, 0]]]), np.array([[[0, 0]]]))
    assert found["oa"] == 50 and found["iou"]["a"] == 50


def test_one_pixel_and_padding():
    assert score(np.array([[[2]]]), np.array([[[2]]]))["miou"] == 100
    found = score(np.array([[[2]], [[1]]]), np.array([[[2]], [[0]]]), np.array([1.0, 0.0]))
    assert found["pixels"] == 1 and found["miou"] == 100


def test_sum_over_any_batches_is_the_same():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, (7, 5, 5)), rng.integers(0, 4, (7, 5, 5))
    parts = SegmentationScores(NAMES)
    for piece in (slice(0, 3), slice(3, 4), slice(4, 7)):
        parts.add(confusion_counts(predicted[piece], labels[piece], np.ones(len(labels[piece])), classes=4, ignore=9))
    assert parts.compute() == score(predicted, labels)


def test_a_class_outside_the_mean_still_counts_against_the_others():
    scores = SegmentationScores(("a", "b", "other"), unscored=("other",))
    scores.add(np.array([[5, 0, 0, 0], [0, 5, 0, 0], [5, 0, 5, 0]]))
    found = scores.compute()
    assert found["iou"] == {"a": 50.0, "b": 100.0, "other": 50.0}
    assert found["miou"] == 75.0 and found["classes"] == 2


def test_rare_classes_can_be_left_out_of_the_mean():
    scores = SegmentationScores(("a", "b"))
    scores.add(np.array([[10, 0, 0], [1, 0, 0]]))
    assert scores.compute()["classes"] == 2
    found = scores.compute(min_pixels=5)
    assert found["classes"] == 1 and found["iou"]["b"] is None and found["miou"] == found["iou"]["a"]


def test_learnable_classes_and_their_mean():
    tested = [np.array([[5, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 0]]), np.array([[5, 0, 0, 0], [3, 2, 0, 0], [0, 0, 0, 0]])]
    training = [{"pixels": [9, 9, 1]}, {"pixels": [9, 0, 0]}]
    # The second fold tests b and has no pixel of it; no fold tests c, and one trains it.
    assert learnable_classes(tested, training, "abc") == ["a", "c"]
    assert learnable_classes(tested[:1], training[:1], "abc") == ["a", "b", "c"]
    assert learnable_classes(tested, training, "abc", minimum=2) == ["a"]
    found = learnable_scores({"a": 50.0, "b": 100.0, "c": None}, ["a", "c"])
    assert found == {"miou_learnable": 50.0, "learnable_classes": 1}
    assert np.isnan(learnable_scores({"a": 50.0}, [])["miou_learnable"]) and learnable_scores({"a": 50.0}, ["a"], ["a"])["learnable_classes"] == 0
