"""Scores per subset of modalities: over the tiles that have some of it, and never of numbers that are not finite."""

import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.metrics.subsets import NAMED, PerSubset, coverage, not_finite_error

SUBSETS = np.array([[True, True], [True, False], [False, True]])  # both of two modalities, or one of them


def test_coverage():
    present = jnp.array([[True, False], [False, False], [True, True]])
    found = coverage(present, jnp.asarray(SUBSETS), jnp.zeros((3, 3, 2)).at[1, 0, 1].set(jnp.nan))
    assert found["has_any"].tolist() == [[True, False, True], [True, False, True], [False, False, True]]
    assert found["has_all"].tolist() == [[False, False, True], [True, False, True], [False, False, True]]
    assert found["finite"].tolist() == [[True] * 3, [False, True, True], [True] * 3]


class Total:
    """Adds up numbers."""

    def __init__(self):
        self.value = 0

    def add(self, value):
        self.value += value

    def compute(self):
        return {"total": self.value}


def result(finite=True):
    """Four tiles, the last one padding; the third has nothing."""
    present = np.array([[True, False], [True, True], [False, False], [True, True]])
    predicted = np.ones((3, 4, 2))
    if not finite:
        predicted[0, [1, 3]] = np.nan
    return {key: np.asarray(value) for key, value in coverage(present, SUBSETS, predicted).items()} | {
        "tile_index": np.arange(4),
        "weight": np.array([1, 1, 1, 0]),
        "values": [10, 20, 30],
    }


def test_each_subset_has_its_scores_and_counts_its_tiles():
    scores = PerSubset(Total, lambda result: [(value,) for value in result["values"]])
    assert scores.scores == [] and scores.tiles == 0
    scores.add(result())
    scores.add(result())
    assert scores.compute() == [{"total": 20}, {"total": 40}, {"total": 60}]
    assert scores.tiles.tolist() == [4, 4, 2] and scores.tiles_with_all.tolist() == [2, 4, 2]


def test_tiles_with_predictions_that_are_not_finite_are_named():
    """Padding does not count, nor do tiles that have nothing of the subset."""
    scores = PerSubset(Total, lambda result: [(value,) for value in result["values"]], ("a", "b", "c", "d"))
    scores.add(result(finite=False))
    with pytest.raises(UserError, match=r"found others in 1 of 3 tiles: b\. Measurements may be far out of range"):
        scores.compute()


def test_messages_name_a_few_tiles():
    text = str(not_finite_error(range(NAMED + 1), 20, [f"t{i}" for i in range(NAMED)]))
    assert f"{NAMED + 1} of 20 tiles: t0, t1, t2, t3, t4, ..." in text
    assert "number 7" in str(not_finite_error([7], 20, ()))
    assert "weights have diverged" in str(not_finite_error([0, 1], 2, ()))
