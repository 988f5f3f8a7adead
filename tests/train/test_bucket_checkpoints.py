"""Checkpoints in a bucket: what `tests/train/test_checkpoints.py` says of folders, and what only buckets have."""

import logging

import jax
import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.files import buckets
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.train.checkpoint_folders import COMMITTED, steps_in
from omnisat_jax.train.checkpoints import Checkpoints
from tests.buckets import bucket, names, needs_bucket, store  # noqa: F401 - fixtures
from tests.train.test_checkpoints import META, abstract, reopen, state

pytestmark = needs_bucket


@pytest.fixture
def folder(bucket, request):  # noqa: F811
    return f"{bucket}/{request.node.name.replace('[', '_').strip(']')}/checkpoints"


@pytest.fixture
def saved(folder):
    """Steps 1, 2 and 3; 2 is ranked best."""
    checkpoints = Checkpoints(folder, keep=3, meta=META)
    for step, value in ((1, 5.0), (2, 9.0), (3, 7.0)):
        checkpoints.save(step, state(step), value)
    checkpoints.close()
    return folder


def restored(folder):
    checkpoints = reopen(folder)
    try:
        return *checkpoints.restore_newest(abstract(state(0))), checkpoints.best()
    finally:
        checkpoints.close()


def test_newest_and_best(saved):
    step, found, best = restored(saved)
    assert (step, best) == (3, 2)
    jax.tree.map(np.testing.assert_array_equal, found, state(3))


def test_a_save_that_was_killed_does_not_count(saved):
    target = Bucket(saved)
    for name in [name for name in target.objects() if name.startswith("3/")]:
        target.write("4" + name[1:], target.read(name))
    target.delete([f"4/{COMMITTED}"])
    assert steps_in(saved) == [1, 2, 3] and restored(saved)[0] == 3
    assert not [name for name in names(saved) if name.startswith("4/")]  # Orbax has removed it


@pytest.mark.parametrize("what", ["meta", "state"])
def test_a_damaged_checkpoint_is_set_aside_in_the_bucket(saved, caplog, what):
    target = Bucket(saved)
    sizes = {name: size for name, (size, _) in target.objects().items() if name.startswith(f"3/{what}/")}
    name = max(sizes, key=lambda name: ("/d/" in name, sizes[name]))
    content = bytearray(target.read(name))
    content[len(content) // 2] ^= 1
    target.write(name, bytes(content))
    before = {name for name in names(saved) if name.startswith("3/")}
    with caplog.at_level(logging.WARNING):
        step, found, _ = restored(saved)
    assert step == 2 and f"{saved}/3: this checkpoint cannot be read" in caplog.text
    jax.tree.map(np.testing.assert_array_equal, found, state(2))
    assert {f"3.0/{name[2:]}" for name in before} <= names(f"{saved}-broken") and not [name for name in names(saved) if name.startswith("3/")]


def test_a_busy_service_loses_nothing(folder, store, caplog):  # noqa: F811
    """Every seventh request is answered 503, every eleventh not at all."""
    store.fault = lambda number, method, path: 503 if number % 7 == 0 else -1 if number % 11 == 0 else 0
    try:
        with caplog.at_level(logging.WARNING):
            checkpoints = Checkpoints(folder, keep=3, meta=META)
            for step in (1, 2):
                checkpoints.save(step, state(step), float(step))
            checkpoints.close()
            step, found, best = restored(folder)
    finally:
        store.fault = lambda number, method, path: 0
    assert (step, best) == (2, 2) and "asking again" in caplog.text
    jax.tree.map(np.testing.assert_array_equal, found, state(2))


def test_a_wait_is_said(caplog):
    with caplog.at_level(logging.WARNING), buckets.told_while_waiting("gs://x: a checkpoint", every=0.001):
        while "gs://x: a checkpoint: the object storage has not answered for" not in caplog.text:
            pass


def test_a_service_that_is_away_is_one_sentence(folder, store, monkeypatch):  # noqa: F811
    store.fault = lambda number, method, path: 403
    try:
        with pytest.raises(UserError, match=f"{folder}: its checkpoints cannot be listed "):
            Checkpoints(folder, keep=3, meta=META)
    finally:
        store.fault = lambda number, method, path: 0
