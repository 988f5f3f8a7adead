"""The pure steps: one compilation, the same numbers on eight devices, bad steps skipped, one batch overfitted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax import schema
from omnisat_jax.batch import check_batch
from omnisat_jax.input import pipeline
from omnisat_jax.input.device import put
from omnisat_jax.input.layouts import agree
from omnisat_jax.input.transforms import Assemble
from omnisat_jax.models.omnisat import OmniSat
from omnisat_jax.optim.optimizer import decayed, make_optimizer, schedule
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.parallel import rules
from omnisat_jax.tasks.finetune import Segment
from omnisat_jax.tasks.pretrain import Pretrain
from omnisat_jax.train.loop import Collaborators, NonFiniteError, run_loop
from omnisat_jax.train.step import create_state, make_step
from tests.conftest import tiny

PARTS = ("fold_1", "fold_2", "fold_3", "fold_4")


@pytest.fixture(scope="module")
def bench(records):
    """(settings, task by name, a host batch of 8)."""
    settings = schema.parse(tiny())
    a = agree(settings, records)
    model = OmniSat(a.specs, settings.model, settings.contrast, "segment", 19, a.label_patch)
    statistics = records.statistics(PARTS)
    tasks = {
        "pretrain": Pretrain(model, statistics, 0.3),
        "finetune": Segment(model, statistics, records.classes, 0.3, ignore=19),
    }
    transform = Assemble(a.train, a.grid, a.crop, settings.data.origin, True, True, 19)
    batch = next(iter(pipeline.training(records.source(PARTS), transform, seed=0, batch_size=8)))
    check_batch(batch, a.train, 8)
    return settings, tasks, batch


def start(settings, task, batch, devices, fsdp=1, min_size=2**20):
    mesh = meshes.make_mesh(schema.Mesh(-1, fsdp, min_size), jax.devices()[:devices])
    optimizer = make_optimizer(dataclasses.replace(settings.finetune, steps=50, warmup=0.1))
    root = jax.random.key(0)
    shapes = jax.eval_shape(lambda: create_state(task, optimizer, root, batch))
    places = rules.shardings(shapes, mesh, min_size)
    state = jax.jit(lambda: create_state(task, optimizer, root, batch), out_shardings=places)()
    step = jax.jit(make_step(task, optimizer, root), donate_argnums=0, out_shardings=(places, None))
    return state, step, put(batch, meshes.batch_sharding(mesh))


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_same_numbers_on_eight_devices(bench, name):
    settings, tasks, batch = bench
    losses = {}
    for devices, fsdp in ((1, 1), (8, 1), (8, 2)):
        state, step, placed = start(settings, tasks[name], batch, devices, fsdp, min_size=64)
        found = []
        for _ in range(2):
            state, metrics = step(state, placed)
            found.append(float(metrics["loss"]))
        assert step._cache_size() == 1
        losses[devices, fsdp] = found
        if fsdp == 2:
            assert any("fsdp" in str(x.sharding.spec) for x in jax.tree.leaves(state.params))
    np.testing.assert_allclose(losses[8, 1], losses[1, 1], rtol=2e-5)
    np.testing.assert_allclose(losses[8, 2], losses[1, 1], rtol=2e-5)


def test_overfits_one_batch(bench):
    settings, tasks, batch = bench
    task = dataclasses.replace(tasks["finetune"], modality_dropout=0.0)
    settings = dataclasses.replace(settings, finetune=dataclasses.replace(settings.finetune, learning_rate=1e-2))
    small = jax.tree.map(lambda x: x[:2], batch)
    state, step, placed = start(settings, task, small, 1)
    first = None
    for _ in range(50):
        state, metrics = step(state, placed)
        first = float(metrics["loss"]) if first is None else first
    assert float(metrics["loss"]) < 0.6 * first


def test_a_step_that_is_not_finite_changes_nothing_but_the_counters(bench):
    settings, tasks, batch = bench
    task = tasks["finetune"]
    small = jax.tree.map(lambda x: x[:2], batch)
    state, step, placed = start(settings, task, small, 1)
    before = jax.device_get(state.params)
    placed["weight"] = placed["weight"] * jnp.nan
    state, metrics = step(state, placed)
    assert metrics["finite"] == 0 and state.skipped == 1 and state.step == 1
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.params))


def test_budget_of_bad_steps_ends_the_run_and_names_the_tiles(bench):
    settings, _, _ = bench
    host = {"tile_index": np.array([0, 1]), "weight": np.ones(2)}

    def step(state, batch):
        return state, {"loss": jnp.nan, "finite": jnp.float32(0)}

    use = Collaborators(
        step=step, batches=iter([(host, None)] * 9), validate=None, rank=None, save=lambda *a: None, write=lambda *a: None,
        show=lambda *a: None, tile_names=("tile_a", "tile_b"),
    )  # fmt: skip
    stage = dataclasses.replace(settings.finetune, steps=9)

    @dataclasses.dataclass
    class State:
        params: dict
        skipped: jax.Array

    with pytest.raises(NonFiniteError, match="nonfinite_budget = 2(.|\n)*step 3: tiles tile_a, tile_b"):
        run_loop(State({}, jnp.zeros((), jnp.int32)), 0, stage, 2, use)


def test_weight_decay_is_for_matrices_and_the_schedule_has_its_form(bench):
    settings, tasks, batch = bench
    shapes = jax.eval_shape(lambda: tasks["finetune"].init(jax.random.key(0), batch))
    flags = jax.tree_util.tree_leaves_with_path(decayed(shapes))
    assert {str(path[-1].key) for path, flag in flags if flag} == {"kernel"}
    stage = dataclasses.replace(settings.finetune, steps=100, warmup=0.1, learning_rate=2.0)
    rate = schedule(stage)
    assert rate(0) == 0 and rate(10) == 2.0 and rate(55) < 2.0 and rate(100) == pytest.approx(0, abs=1e-6)


def test_mesh_must_fit_the_devices():
    with pytest.raises(ValueError, match="number of devices, 8; found 3 x 1"):
        meshes.make_mesh(schema.Mesh(3, 1, 0))
    with pytest.raises(ValueError, match="eval.batch_size 6 must be a multiple"):
        meshes.check_batch_size("eval.batch_size", 6, meshes.make_mesh(schema.Mesh(-1, 1, 0)))
