"""Which keys of a configuration may change between two starts of a run."""

import pytest

from omnisat_jax.config import schema
from omnisat_jax.train import identity
from omnisat_jax.train.identity import ABSENT, ANY_TIME, STAGES, changes
from tests.conftest import tiny


def one(before, now, begun=(), done=()):
    (change,) = changes({"key": 0} | before, {"key": 0} | now, begun=begun, done=done)
    return change


@pytest.mark.parametrize(("key", "stage"), identity.UNTIL.items())
def test_keys_of_a_stage_may_change_until_it_has_run(key, stage):
    def allowed(**how):
        (change,) = identity.changes({key: 1}, {key: 2}, **({"begun": (), "done": ()} | how))
        return change.allowed

    assert allowed() and not allowed(begun=[stage], done=[stage])
    assert allowed(begun=[stage]) == (stage == "evaluate")


def test_every_key_named_here_is_one_of_the_configuration():
    flat = schema.flatten(schema.parse(tiny()))
    assert not [key for key in (*ANY_TIME, *identity.UNTIL, *identity.PATHS) if key not in flat]


def test_a_key_that_is_not_named_may_never_change():
    change = one({"seed": 0}, {"seed": 1})
    assert not change.allowed and str(change) == "seed: 0 before, 1 now"
    assert one({}, {"new": 1}).before == ABSENT and not one({}, {"new": 1}).allowed


@pytest.mark.parametrize("stage", STAGES)
def test_steps_may_grow_until_the_stage_has_finished(stage):
    key = f"{stage}.steps"
    assert one({key: 4}, {key: 8}).allowed and not one({key: 4}, {key: 8}).note
    assert "goes on with the learning rate of 8 steps" in one({key: 4}, {key: 8}, begun=[stage]).note
    assert not one({key: 8}, {key: 4}).allowed and not one({key: 0}, {key: 4}).allowed
    assert not one({key: 4}, {key: 8}, begun=[stage], done=[stage]).allowed


def test_the_same_path_in_another_spelling_is_not_a_change():
    paths = {"pretrain_from": "runs/a"}, {"pretrain_from": "runs/b/../a/"}
    assert changes(*paths, begun=(), done=()) == []
    assert one({"pretrain_from": ""}, {"pretrain_from": "runs/a"}).now == "runs/a"
