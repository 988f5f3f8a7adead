"""Scores against scikit-learn, adversarial cases included."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from omnisat_jax.metrics.calibration import calibration_counts, expected_calibration_error
from omnisat_jax.metrics.classification import MultiLabelScores
from omnisat_jax.metrics.representation import COLLAPSED, position_r2, representation_scores
from omnisat_jax.metrics.segmentation import SegmentationScores, confusion_counts

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
    assert found["f1_every_label"] == found["map_every_label"] == 100


def test_multilabel_with_nothing_there():
    """Predicted labels that never occur count as wrong; neither there nor predicted is no score."""
    for probability, score in ((0.9, 0.0), (0.1, np.nan)):
        scores = MultiLabelScores(NAMES, 0.5)
        scores.add(np.full((2, 4), probability), np.zeros((2, 4)), np.ones(2))
        found = scores.compute()
        np.testing.assert_equal(found["f1_macro"], score)
        assert found["f1_weighted"] == 0 and np.isnan(found["map"]) and found["classes"] == 0


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


def test_a_class_outside_the_mean_still_counts_against_the_others():
    scores = SegmentationScores(("a", "b", "other"), unscored=("other",))
    scores.add(np.array([[5, 0, 0, 0], [0, 5, 0, 0], [5, 0, 5, 0]]))
    found = scores.compute()
    assert found["iou"] == {"a": 50.0, "b": 100.0, "other": 50.0}
    assert found["miou"] == 75.0 and found["classes"] == 2


def views(shape, seed=0):
    z = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(z / np.linalg.norm(z, axis=-1, keepdims=True), jnp.float32)


def test_monitors_of_known_embeddings():
    here = jnp.ones((2, 6), bool)
    one = views((1, 6, 40, 8))
    same = representation_scores(jnp.concatenate([one, one]), here)
    assert same["alignment"] == pytest.approx(0, abs=1e-5) and same["retrieval"] == 1
    assert 7 < same["effective_rank"] <= 8  # all directions alike
    other = representation_scores(jnp.concatenate([one, -one]), here)
    assert other["alignment"] == pytest.approx(4, abs=1e-4) and other["retrieval"] < 0.5
    collapsed = representation_scores(jnp.broadcast_to(one[:, :1, :1], (2, 6, 40, 8)), here)
    assert collapsed["uniformity"] == pytest.approx(0, abs=1e-4) and collapsed["effective_rank"] < COLLAPSED
    two = jnp.asarray([[1.0, 0], [-1, 0]])[jnp.arange(2 * 6 * 40) % 2].reshape(2, 6, 40, 2)
    assert representation_scores(two, here)["effective_rank"] == pytest.approx(1, abs=1e-3)


def test_monitors_do_not_see_absent_views():
    z, here = views((3, 4, 5, 6)), np.ones((3, 4), bool)
    here[1, 2] = here[0, 0] = False
    found = representation_scores(z, jnp.asarray(here))
    garbage = representation_scores(jnp.where(here[..., None, None], z, 7.0), jnp.asarray(here))
    for name in found:
        np.testing.assert_allclose(found[name], garbage[name], rtol=1e-4, err_msg=name)


def test_place_is_read_from_what_tells_it_and_from_nothing_else():
    rng = np.random.default_rng(0)
    here = np.ones((2, 6), bool)
    here[1, 3:] = False
    blind = rng.normal(size=(2, 6, 36, 8)).astype(np.float32)
    assert abs(position_r2(jnp.asarray(blind), jnp.asarray(here))) < 0.1
    rows, columns = np.mgrid[:6, :6].reshape(2, 36)
    knowing = blind.copy()
    knowing[..., 0], knowing[..., 1] = rows + knowing[..., 2], columns - 3 * knowing[..., 3]
    assert position_r2(jnp.asarray(knowing), jnp.asarray(here)) == pytest.approx(1, abs=1e-3)
    one = np.stack([knowing[0], blind[1]])
    assert position_r2(jnp.asarray(one), jnp.asarray(here)) == pytest.approx(0.5, abs=0.1)
    # What stands under an absent view counts for nothing; a view of no tile is no view.
    assert position_r2(jnp.asarray(np.where(here[..., None, None], knowing, np.nan)), jnp.asarray(here)) > 0.99
    assert position_r2(jnp.asarray(one), jnp.asarray(here & [[True], [False]])) == pytest.approx(1, abs=1e-3)
    assert position_r2(jnp.asarray(knowing[:, :, :1]), jnp.asarray(here)) == 0
