"""What a finished stage hands on: the step that its mark names, from this run or another; whole runs: tests/experiment/test_lost_checkpoints.py."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.train.stage_store import LostStepError, StageStore
from tests.train.toy import toy_trainer

META = {"data": {"fingerprint": "abc"}, "modalities": ["s2"], "bands": {"s2": ["B02"]}}


@pytest.fixture(scope="module")
def trainer():
    return toy_trainer(keep=4)


@pytest.fixture(scope="module")
def finished(trainer, tmp_path_factory):
    """A run with steps 2 and 4, of which 2 is ranked best."""
    folder = tmp_path_factory.mktemp("run")
    store = make_store(folder, trainer)
    checkpoints = store.open()
    state = trainer.init(trainer.root_key(0, 2))
    for step, value in ((2, 9.0), (4, 5.0)):
        checkpoints.save(step, dataclasses.replace(state, params=jax.tree.map(lambda x, step=step: x * 0 + step, state.params)), value)
    checkpoints.wait()
    store.finish(checkpoints)
    checkpoints.close()
    return folder


def make_store(folder, trainer, **changes):
    how = {"folder": folder, "stage": "finetune", "config": trainer.config, "meta": META, "by_validation": True, "own": True, "accept_new_data": False}
    return StageStore(**(how | changes))


@pytest.fixture
def store(finished, trainer, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return make_store(tmp_path / "run", trainer)


def mark(store):
    return json.loads((store.folder / "finetune" / "done.json").read_text())


def damage(path):
    for file in path.rglob("*"):
        if file.is_file() and "ocdbt" in str(file):
            file.write_bytes(b"")


def test_validation_chooses_the_step(store, trainer):
    assert store.is_finished() and {key: mark(store)[key] for key in ("steps", "step", "best", "last")} == {"steps": 4, "step": 2, "best": 2, "last": 4}
    trained = store.load(trainer.abstract_state)
    assert (trained.step, trained.best, trained.checksum) == (2, True, mark(store)["checksum"])
    np.testing.assert_array_equal(trained.params["kernel"], np.full((4, 2), 2.0))


def test_without_validation_the_last_step_counts(store, trainer):
    last = dataclasses.replace(store, by_validation=False)
    checkpoints = last.open()
    last.finish(checkpoints)
    checkpoints.close()
    trained = last.load(trainer.abstract_state)
    assert (trained.step, trained.best) == (4, False) and float(trained.params["bias"][0]) == 4


def test_the_average_of_the_parameters_is_handed_on(tmp_path):
    averaging = toy_trainer(keep=4, ema_decay=0.5)
    store = make_store(tmp_path, averaging)
    checkpoints = store.open()
    state = averaging.init(averaging.root_key(0, 2))
    opt_state = tuple(part._replace(average=jax.tree.map(lambda x: x * 0 + 3, part.average)) if hasattr(part, "average") else part for part in state.opt_state)
    checkpoints.save(4, dataclasses.replace(state, opt_state=opt_state), 1.0)
    checkpoints.wait()
    store.finish(checkpoints)
    checkpoints.close()
    trained = store.load(averaging.abstract_state)
    np.testing.assert_array_equal(trained.params["kernel"], np.full((4, 2), 3.0))


def test_a_mark_of_an_earlier_version_names_no_step(store, trainer):
    (store.folder / "finetune" / "done.json").write_text('{"last": 4, "best": 2}')
    assert store.load(trainer.abstract_state).step == 2
    assert dataclasses.replace(store, by_validation=False).load(trainer.abstract_state).step == 4


def test_a_stage_that_has_not_finished_hands_on_nothing(store, trainer):
    store.reopen()
    assert not store.is_finished()
    with pytest.raises(UserError, match="finetune has not finished; run --stage=finetune there first"):
        store.load(trainer.abstract_state)


def test_a_lost_last_step_is_recoverable_from_an_older_one(store, trainer):
    last = dataclasses.replace(store, by_validation=False)
    checkpoints = last.open()
    last.finish(checkpoints)
    checkpoints.close()
    damage(store.directory / "4")
    with pytest.raises(LostStepError, match="trained again from an older checkpoint") as lost:
        last.load(trainer.abstract_state)
    assert lost.value.recoverable and (store.folder / "finetune" / "checkpoints-broken" / "4.0").is_dir()


def test_a_lost_best_step_is_not_recoverable(store, trainer):
    damage(store.directory / "2")
    with pytest.raises(LostStepError, match="Restore it, or move .*finetune away: the same command then trains finetune again") as lost:
        store.load(trainer.abstract_state)
    assert not lost.value.recoverable


def test_the_files_of_another_run_are_never_changed(store, trainer):
    other = dataclasses.replace(store, own=False, meta={"data": {"fingerprint": "other"}, "bands": {}})
    assert other.load(trainer.abstract_state).step == 2  # whoever takes it accepts its data
    damage(store.directory / "2")
    with pytest.raises(LostStepError, match="Restore it, or train finetune there again"):
        other.load(trainer.abstract_state)
    assert (store.directory / "2").is_dir()


def test_checkpoints_of_other_data_are_refused(store, trainer):
    with pytest.raises(UserError, match="made from other data"):
        dataclasses.replace(store, meta={"data": {"fingerprint": "other"}}).load(trainer.abstract_state)
    accepting = dataclasses.replace(store, meta={"data": {"fingerprint": "other"}}, accept_new_data=True)
    assert accepting.load(trainer.abstract_state).step == 2
