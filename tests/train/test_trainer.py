"""The state of a stage: one derivation of its shapes, the same draws at every start, one compiled step."""

import dataclasses

import jax
import numpy as np
import pytest

from omnisat_jax.train.step import TrainState, create_state, make_step
from tests.train.toy import SAMPLE, toy_trainer


def forms(tree):
    return jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree)


@pytest.fixture(scope="module")
def trainer():
    return toy_trainer()


def batch(rows=3):
    return {"x": np.ones((rows, 4), np.float32), "weight": np.ones(rows, np.float32)}


def test_the_abstract_state_is_that_of_the_first_one(trainer):
    abstract = trainer.abstract_state
    state = trainer.init(trainer.root_key(seed=0, stage_number=1))
    assert isinstance(abstract, TrainState) and forms(abstract) == forms(state)
    assert jax.tree.map(lambda x: x.sharding, abstract) == jax.tree.map(lambda x: x.sharding, state)
    assert trainer.abstract_state is abstract  # traced once


def test_the_initial_state_is_traced_once(trainer):
    task, traced = trainer.task, []

    class Counted(type(task)):
        def init(self, key, batch):
            traced.append(key)
            return super().init(key, batch)

    counted = dataclasses.replace(trainer, task=Counted(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task)}))
    assert forms(counted.abstract_state) == forms(counted.init(counted.root_key(seed=0, stage_number=1))) and len(traced) == 1


def test_neither_the_values_nor_the_number_of_sampled_tiles_matter(trainer):
    other = dataclasses.replace(trainer, sample=jax.tree.map(lambda x: np.repeat(x, 5, 0) + 9, SAMPLE))
    assert forms(other.abstract_state) == forms(trainer.abstract_state)
    assert forms(other.abstract_batch) == forms(trainer.abstract_batch) == forms(batch())
    root = trainer.root_key(0, 1)
    jax.tree.map(np.testing.assert_array_equal, other.init(root), trainer.init(root))


def test_draws_depend_on_the_seed_and_the_stage(trainer):
    kernels = {
        key: np.asarray(trainer.init(trainer.root_key(*key)).params["kernel"]).tobytes() for key in ((0, 1), (0, 2), (1, 1))
    }
    assert len(set(kernels.values())) == 3
    assert kernels[0, 1] == np.asarray(trainer.init(trainer.root_key(0, 1)).params["kernel"]).tobytes()
    # The numbers of a run that goes on: fold_in(key(seed), number of the stage).
    root = jax.random.fold_in(jax.random.key(0), 1)
    expected = create_state(trainer.task, trainer.optimizer, root, SAMPLE)
    np.testing.assert_array_equal(expected.params["kernel"], trainer.init(root).params["kernel"])


def test_the_compiled_step_is_the_pure_one(trainer):
    root = trainer.root_key(0, 1)
    compiled, state = trainer.compile_step(), trainer.init(root)
    expected, metrics = make_step(trainer.task, trainer.optimizer)(trainer.init(root), batch(), root)
    found, same = compiled.program(state, jax.device_put(batch(), jax.tree.map(lambda x: x.sharding, trainer.abstract_batch)), root, trainer.statistics)
    np.testing.assert_allclose(found.params["kernel"], expected.params["kernel"], rtol=1e-5)
    assert int(found.step) == 1 and float(same["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-5)
    assert compiled.flops == 2 * (3 * 4 * 2) * 2  # forward, and back to the kernel


def test_a_batch_of_another_size_is_refused_not_compiled(trainer):
    compiled, root = trainer.compile_step(), trainer.root_key(0, 1)
    with pytest.raises(TypeError):
        compiled.program(trainer.init(root), batch(rows=5), root, trainer.statistics)
