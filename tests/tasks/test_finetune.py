"""Fine-tuning tasks: what counts in their scores. Their losses are tested in tests/train/test_step.py."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.report import results
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.finetune import Classify, Segment

NAMES = ("aerial", "radar")
SUBSETS = all_subsets(NAMES)  # both, aerial, radar
MASKS = np.array([[name in subset for name in NAMES] for subset in SUBSETS])
LABELS = LabelInfo(("a", "b"), ignore=9)
STATISTICS = {name: {"mean": [0.0], "std": [1.0]} for name in NAMES}
AERIAL, RADAR = [False, True, False, False, True], [True, True, True, False, True]  # nothing in the fourth, the fifth is padding


class Model:
    """Predicts the first class, with a probability that grows with the measurements, and the second one without any modality."""

    names = NAMES

    def apply(self, variables, *arguments, method, **options):
        if method == "encode":
            return arguments[0]
        inputs, present = arguments
        seen = sum(jnp.where(present[:, i], inputs[name]["values"].mean((1, 2, 3)), 0) for i, name in enumerate(NAMES))
        first = jnp.where(present.any(1), 1 + seen**2, -1.0)
        logits = jnp.stack([first, -first], -1)
        return logits if self.flat else jnp.broadcast_to(logits[:, None, None], (len(first), 4, 4, 2))


def batch(aerial, radar, labels, scale=1.0):
    """Tiles whose labels are `labels`; the last one is padding."""
    count = len(aerial)
    out = {"labels": labels, "weight": jnp.ones(count).at[-1].set(0), "tile_index": jnp.arange(count)}
    for name, present in (("aerial", aerial), ("radar", radar)):
        out[name] = {"values": jnp.full((count, 4, 4, 1), scale, jnp.float32), "present": jnp.array(present)}
    return out


def segment(model):
    model.flat = False
    return Segment(model=model, statistics=STATISTICS, labels=LABELS, modality_dropout=0.0)


def classify(model):
    model.flat = True
    return Classify(model=model, statistics=STATISTICS, labels=LABELS, modality_dropout=0.0)


@pytest.mark.parametrize(("make", "labels"), [(segment, jnp.zeros((5, 4, 4), jnp.uint8)), (classify, jnp.tile(jnp.array([[1.0, 0.0]]), (5, 1)))])
def test_tiles_without_any_modality_of_a_subset_do_not_count(make, labels):
    task = make(Model())
    scores = task.scores(("t0", "t1", "t2", "t3", "t4"))
    result = task.evaluate({}, batch(AERIAL, RADAR, labels), MASKS)
    scores.add({key: np.asarray(value) for key, value in result.items()})
    values = scores.compute()
    assert scores.tiles.tolist() == [3, 1, 3] and scores.tiles_with_all.tolist() == [1, 1, 3]
    # The tile without anything would be wrong everywhere.
    for value, tiles in zip(values, (3, 1, 3), strict=True):
        if "pixels" in value:
            assert value["pixels"] == 16 * tiles and value["oa"] == 100 and value["miou"] == 100
        else:
            assert value["tiles"] == tiles and value["f1_macro"] == 100


@pytest.mark.parametrize(("make", "labels"), [(segment, jnp.zeros((5, 4, 4), jnp.uint8)), (classify, jnp.tile(jnp.array([[1.0, 0.0]]), (5, 1)))])
def test_a_subset_that_no_tile_has_has_no_score(make, labels):
    task = make(Model())
    scores = task.scores()
    result = task.evaluate({}, batch([False] * 4 + [True], RADAR, labels), MASKS)
    scores.add({key: np.asarray(value) for key, value in result.items()})
    both, aerial, radar = results.entries(SUBSETS, scores.compute(), scores)
    assert (both["tiles"], both["tiles_with_all"]) == (3, 0) and (aerial["tiles"], radar["tiles"]) == (0, 3)
    names = [name for name, value in radar["scores"].items() if isinstance(value, float)]
    assert names and all(aerial["scores"][name] is None for name in names)
    assert both["scores"] == radar["scores"]
    json.dumps([both, aerial, radar], allow_nan=False)


@pytest.mark.parametrize(("make", "labels"), [(segment, jnp.zeros((5, 4, 4), jnp.uint8)), (classify, jnp.zeros((5, 2)))])
def test_predictions_that_are_not_finite_are_refused_by_name(make, labels):
    task, names = make(Model()), ("t0", "t1", "t2", "t3", "t4")
    tiles = batch(AERIAL, RADAR, labels)
    tiles["radar"]["values"] = tiles["radar"]["values"].at[2].set(1e25).at[4].set(1e25)  # t4 is padding
    scores = task.scores(names)
    scores.add({key: np.asarray(value) for key, value in task.evaluate({}, tiles, MASKS).items()})
    with pytest.raises(UserError, match=r"found others in 1 of 4 tiles: t2\. Measurements may be far out of range"):
        scores.compute()
    scores = task.scores(names)
    scores.add({key: np.asarray(value) for key, value in task.evaluate({}, batch([True] * 5, [True] * 5, labels, 1e25), MASKS).items()})
    with pytest.raises(UserError, match="in 4 of 4 tiles: t0, t1, t2, t3. The weights have diverged"):
        scores.compute()
