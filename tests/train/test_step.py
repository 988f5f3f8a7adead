"""The pure steps on one device: one compilation, bad steps skipped, one batch overfitted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from omnisat_jax.batch import normalise, presence
from omnisat_jax.losses.segmentation import segmentation_loss
from omnisat_jax.ops.random import Streams, drop_modalities
from omnisat_jax.optim.optimizer import decayed, schedule
from omnisat_jax.train.loop import LoopHooks, NonFiniteError, run_loop
from omnisat_jax.train.step import create_state, make_step
from omnisat_jax.train.timing import Ledger, Profile
from tests import steps
from tests.train.toy import toy_trainer


@pytest.fixture(scope="module")
def bench(records):
    return steps.bench(records, batch_size=2, preset="demo,no_s1", **{"finetune.learning_rate": 1e-2, "finetune.modality_dropout": 0.0})


@pytest.fixture(scope="module")
def started(bench):
    settings, tasks, batch = bench
    return steps.start(settings, dataclasses.replace(tasks["finetune"], modality_dropout=0.0), batch)


def test_overfits_one_batch_in_one_compilation(started):
    state, step, batch, root = started
    state = jax.tree.map(jnp.copy, state)
    losses = []
    for _ in range(50):
        state, metrics = step(state, batch, root)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.6 * losses[0]
    assert step.func._cache_size() == 1


def test_one_program_serves_every_seed_and_step():
    class Noise:
        step_name = "noise_step"

        def init(self, key, batch):
            return {"weight": jnp.ones(3)}

        def loss(self, params, batch, streams):
            return (params["weight"] * jax.random.normal(streams("noise"), (3,))).sum(), {}

    optimizer = optax.sgd(0.0)
    state, step = create_state(Noise(), optimizer, jax.random.key(0), {}), jax.jit(make_step(Noise(), optimizer))

    def losses(seed, state=state):
        for _ in range(2):
            state, metrics = step(state, {}, jax.random.key(seed))
            yield float(metrics["loss"])

    first, again, other = (tuple(losses(seed)) for seed in (0, 0, 1))
    assert first == again and len({*first, *other}) == 4
    assert step._cache_size() == 1


def test_modality_dropout_adds_a_view_to_the_whole(bench, started):
    """The loss is the mean of that of everything and that of the drawn subset, which the labels are asked of as well."""
    _, tasks, batch = bench
    task = dataclasses.replace(tasks["finetune"], modality_dropout=0.5)
    alone, names = dataclasses.replace(task, modality_dropout=0.0), task.model.names
    streams, params = Streams(jax.random.key(0), jnp.int32(1)), started[0].params
    kept = drop_modalities(streams("modality_dropout"), presence(batch, names), 0.5)
    assert not kept.all()
    hidden = batch | {name: batch[name] | {"present": np.asarray(kept[:, index])} for index, name in enumerate(names)}
    loss_of_both, loss_of_one = (jax.jit(lambda batch, t=t: t.loss(params, batch, streams)[0]) for t in (task, alone))
    loss, whole, subset = loss_of_both(batch), loss_of_one(batch), loss_of_one(hidden)
    assert abs(whole - subset) > 1e-3
    np.testing.assert_allclose(loss, (whole + subset) / 2, rtol=1e-5)


def test_what_modalities_predict_by_themselves_is_one_more_loss(bench, started):
    """It is the mean over the modalities with a dense map, without the tiles that lack them."""
    _, tasks, batch = bench
    plain = dataclasses.replace(tasks["finetune"], modality_dropout=0.0)
    task, names = dataclasses.replace(plain, unimodal_weight=0.5), plain.model.names
    streams, params = Streams(jax.random.key(0), jnp.int32(1)), started[0].params
    batch = batch | {"s2": batch["s2"] | {"present": np.array([True, False])}}
    loss, metrics = jax.jit(lambda batch: task.loss(params, batch, streams))(batch)
    without, _ = jax.jit(lambda batch: plain.loss(params, batch, streams))(batch)
    inputs = normalise(batch, plain.statistics, names)
    alone = jax.jit(
        lambda: plain.model.apply({"params": params}, plain.model.apply({"params": params}, inputs, train=False, method="encode"), method="unimodal")
    )()
    assert alone["s2"][1].tolist() == [True, False]
    each = []
    for name, (logits, there) in alone.items():
        assert there.tolist() == presence(batch, names)[:, names.index(name)].tolist()
        weight = batch["weight"] * there
        each.append(segmentation_loss(logits, batch["labels"], weight, ignore=plain.labels.ignore, dice_weight=plain.dice_weight)[0])
    np.testing.assert_allclose(metrics["unimodal"], np.mean(each), rtol=1e-4)
    np.testing.assert_allclose(loss, without + 0.5 * np.mean(each), rtol=1e-4)


def test_the_average_is_evaluated_and_a_bad_step_leaves_it_alone():
    plain, trainer = toy_trainer(), toy_trainer(ema_decay=0.9)
    root, batch = trainer.root_key(seed=0, stage_number=1), {"x": np.ones((3, 4), np.float32), "weight": np.ones(3, np.float32)}
    state = plain.init(root)
    assert state.evaluated is state.params
    state = trainer.init(root)
    for _ in range(3):
        state, _ = trainer.train_step(state, batch, root, trainer.statistics)
    before = jax.tree.map(np.array, state.evaluated)  # copies, as the step takes the state over
    differs = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.evaluated, state.params)
    assert max(jax.tree.leaves(differs)) > 0
    state, metrics = trainer.train_step(state, batch | {"x": batch["x"] * np.nan}, root, trainer.statistics)
    assert metrics["finite"] == 0
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.evaluated))


def test_a_step_that_is_not_finite_changes_nothing_but_the_counters(started):
    state, step, batch, root = started
    before = jax.device_get((state.params, state.opt_state))
    state = jax.tree.map(jnp.copy, state)
    state, metrics = step(state, batch | {"weight": batch["weight"] * jnp.nan}, root)
    assert metrics["finite"] == 0 and state.skipped == 1 and state.step == 1
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get((state.params, state.opt_state)))


def test_budget_of_bad_steps_ends_the_run_and_names_the_tiles(bench):
    settings, _, _ = bench
    host = {"tile_index": np.array([0, 1]), "weight": np.ones(2)}

    def step(state, batch):
        return state, {"loss": np.float32(np.nan), "finite": np.float32(0)}

    use = LoopHooks(
        step=step, batches=iter([(host, None)] * 9), validate=None, rank=None, save=lambda *a: None, write=lambda *a: None,
        show=lambda *a: None, stop=lambda step: False,
            ledger=Ledger(), profile=Profile("", None), flops=0.0, peak=0.0, tile_names=lambda host: ["tile_a", "tile_b"],
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
