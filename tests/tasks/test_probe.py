"""Frozen probes on tokens whose answer is known."""

import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.report import results
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.probe import Collector, ProbeScores, class_shares, fit

LABELS = LabelInfo(("a", "b", "c"), ignore=9)


def test_class_shares_count_what_is_not_void():
    labels = np.array([[0, 0, 9, 9], [0, 1, 9, 9], [2, 2, 1, 9], [2, 2, 9, 9]], np.uint8)
    np.testing.assert_allclose(class_shares(labels, 4, 3), [[0.75, 0.25, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]])


def separable(tiles=6, seed=0):
    """Results of a reader whose tokens (S=1,B,4,3) encode the class that fills their patch; labels (B,4,4)."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, (tiles, 2, 2))
    classes[0] = [[0, 1], [2, 0]]
    tokens = np.eye(3)[classes.reshape(tiles, 4)] + 0.05 * rng.normal(size=(tiles, 4, 3))
    labels = classes.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)
    return {"tokens": tokens[None], "labels": labels, "weight": np.ones(tiles)} | whole(tiles)


def whole(tiles):
    """Every tile has every modality."""
    return {name: np.ones((1, tiles), bool) for name in ("has_any", "has_all", "finite")} | {"tile_index": np.arange(tiles)}


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_separable_patches_are_separated(kind):
    train, test = separable(), separable(seed=1)
    collector = Collector(3, limit=100, tiles=6, seed=0)
    collector.add(train)
    predict = fit(kind, *collector.compute(), dense=True, neighbours=3)
    scores = ProbeScores(predict, LABELS, threshold=0.5)
    scores.add(test)
    assert scores.compute()[0]["miou"] == 100
    # Void pixels and padding tiles do not count.
    test["labels"][0, 0, 0] = 9
    test["weight"][1:] = 0
    scores = ProbeScores(predict, LABELS, threshold=0.5)
    scores.add(test)
    assert scores.compute()[0]["pixels"] == 15


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_labels_of_tiles(kind):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (40, 3)).astype(np.float32)
    labels[:, 2] = 1  # a label that every training tile has
    tokens = labels[:, None] + 0.05 * rng.normal(size=(40, 4, 3))
    collector = Collector(3, limit=100, tiles=40, seed=0)
    result = {"tokens": tokens[None], "labels": labels, "weight": np.ones(40)} | whole(40)
    collector.add(result)
    found, targets = collector.compute()
    assert found.shape == (40, 3) and (targets == labels).all()
    scores = ProbeScores(fit(kind, found, targets, dense=False, neighbours=3), LABELS, threshold=0.5)
    scores.add(result)
    assert scores.compute()[0]["f1_macro"] == 100


def test_tiles_give_equal_shares_of_the_limit():
    collector = Collector(3, limit=12, tiles=6, seed=0)
    collector.add(separable())
    assert len(collector.compute()[0]) == 12


def test_one_class_is_too_few():
    with pytest.raises(ValueError, match="at least two classes"):
        fit("linear", np.ones((4, 3)), np.eye(3)[[1, 1, 1, 1]], dense=True, neighbours=1)


def probed(tokens, some):
    count = len(tokens[0])
    labels = np.zeros((count, 4, 4), np.uint8)
    labels[:, :2] = 1
    covered = {"has_any": np.array(some), "has_all": np.array(some), "finite": np.isfinite(tokens).all((2, 3))}
    return {"tokens": tokens, "labels": labels, "weight": np.ones(count), "tile_index": np.arange(count)} | covered


def test_probes_neither_learn_nor_are_scored_from_nothing():
    tokens = np.tile(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), (2, 3, 1, 1))
    tokens[:, 1] = 7  # of a tile that holds nothing
    some = [[True, False, True], [False, False, False]]
    collector = Collector(2, limit=100, tiles=3, seed=0)
    collector.add(probed(tokens, some))
    found, targets = collector.compute()
    assert len(found) == 8 and not (found == 7).any()
    scores = ProbeScores(fit("knn", found, targets, dense=True, neighbours=1), LabelInfo(("a", "b"), 9), threshold=0.5)
    scores.add(probed(tokens, some))
    first, none = results.entries((("radar",), ("aerial",)), scores.compute(), scores)
    assert first["scores"]["miou"] == 100 and first["tiles"] == 2 and none["scores"]["miou"] is None and none["tiles"] == 0
    tokens[0, 2, 1, 1] = np.nan
    for adding in (Collector(2, limit=100, tiles=3, seed=0, tile_names="abc"), scores):
        with pytest.raises(UserError, match="expected finite predictions, found others in 1 of"):
            adding.add(probed(tokens, some))
            adding.compute()
    empty = Collector(2, limit=100, tiles=3, seed=0)
    empty.add(probed(np.ones((1, 3, 4, 2)), [[False] * 3]))
    with pytest.raises(UserError, match="found none in 3 training tiles"):
        empty.compute()
