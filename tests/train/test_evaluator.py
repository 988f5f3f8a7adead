"""Compiled evaluations score every tile once; validation adds what the monitor measures and warns of what goes wrong."""

import types

import jax
import numpy as np
import pytest

from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.train.evaluator import CompiledEvaluation, Evaluator, Validation, warnings
from tests.train.toy import one_device


class Reader:
    """Counts the pixels that each subset sees."""

    statistics = {}

    def with_statistics(self, statistics):
        return self

    def evaluate(self, params, batch, subsets):
        return {"seen": (subsets @ batch["present"].T.astype(float)) * params["scale"] * batch["weight"]}


class Sum:
    """Adds up what each subset saw."""

    def __init__(self):
        self.seen = 0

    def add(self, result):
        self.seen = self.seen + result["seen"].sum(1)

    def compute(self):
        return [{"seen": float(value), "per_class": {}} for value in self.seen]


def host(present, weight):
    return {"present": np.array(present), "weight": np.array(weight, np.float32)}


@pytest.fixture
def batches():
    mesh = one_device()
    form = host([[True, True]] * 2, [1, 1])
    sharding = meshes.batch_sharding(mesh)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), form)
    tiles = [host([[True, True], [True, False]], [1, 1]), host([[False, True], [True, True]], [1, 0])]
    return types.SimpleNamespace(
        mesh=mesh,
        abstract_evaluation=lambda: abstract,
        evaluation=lambda parts: iter(tiles),
        split=types.SimpleNamespace(validation=("fold_4",)),
        records=types.SimpleNamespace(tile_ids=("a", "b", "c")),
    )


@pytest.fixture
def evaluator(batches):
    return Evaluator(batches, ("s2", "spot"))


@pytest.fixture
def compiled(evaluator):
    scale = jax.ShapeDtypeStruct((), np.float32, sharding=meshes.replicated(evaluator.batches.mesh))
    return evaluator.compile(Reader(), {"scale": scale}, [("s2", "spot"), ("s2",), ("spot",)])


def params(batches):
    return jax.device_put({"scale": np.float32(2)}, meshes.replicated(batches.mesh))


def test_masks_are_in_the_order_of_the_model(evaluator):
    assert evaluator.masks([("spot",), ("spot", "s2"), ()]).tolist() == [[False, True], [True, True], [False, False]]


def test_every_subset_scores_every_tile_once(compiled, batches):
    assert isinstance(compiled, CompiledEvaluation)
    seen = []
    values = compiled(params(batches), batches.evaluation(()), Sum(), lambda host, result: seen.append((host, result)))
    assert [value["seen"] for value in values] == [8, 4, 4]  # the last tile only fills up its batch
    assert len(seen) == 2 and seen[0][1]["seen"].shape == (3, 2) and isinstance(seen[0][1]["seen"], np.ndarray)


def test_validation_gives_numbers_of_the_monitor_as_well(evaluator, batches):
    scale = jax.ShapeDtypeStruct((), np.float32, sharding=meshes.replicated(batches.mesh))
    compiled = evaluator.compile(Reader(), {"scale": scale}, [evaluator.names])
    given = []
    validation = Validation(
        compiled, batches, make_scores=lambda names: given.append(names) or Sum(),
        monitor=lambda params, step: {"knn_miou": float(step), "effective_rank": 1.2}, warn=given.append,
    )  # fmt: skip
    assert validation(params(batches), 7) == {"seen": 8.0, "knn_miou": 7.0, "effective_rank": 1.2}
    assert given[0] == ("a", "b", "c") and "collapsed to about 1.2 directions" in given[1] and len(given) == 2
    alone = Validation(compiled, batches, lambda names: Sum(), None, given.append)
    assert alone(params(batches), 7) == {"seen": 8.0} and len(given) == 2


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({}, []),
        ({"effective_rank": 9.0, "position_r2": 0.1}, []),
        ({"effective_rank": 1.1}, ["collapsed to about 1.1"]),
        ({"position_r2": 0.8}, ["position of a patch in its tile (R² 0.80)"]),
        ({"effective_rank": 1.1, "position_r2": 0.8}, ["collapsed", "contrastive.roll=True"]),
    ],
)
def test_warnings_name_what_goes_wrong_and_what_to_do(scores, words):
    found = list(warnings(scores))
    assert len(found) == len(words) and all(word in text for word, text in zip(words, found, strict=True))
