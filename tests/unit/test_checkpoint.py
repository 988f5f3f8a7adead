"""What a checkpoint refuses, and what it falls back to; killed processes and full disks: tests/distributed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.train.checkpoint import Checkpoints, OtherRunError, abstract_like

META = {"data": {"fingerprint": "abc", "seed": 0}}


def state(value, width=3):
    return {"params": {"kernel": jnp.full((2, width), float(value))}, "step": jnp.int32(value)}


def abstract(tree):
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return abstract_like(tree, jax.tree.map(lambda _: here, tree))


@pytest.fixture
def saved(tmp_path):
    """A folder with steps 1, 2 and 3; 2 is ranked best."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3, meta=META)
    for step, value in ((1, 5.0), (2, 9.0), (3, 7.0)):
        checkpoints.save(step, state(step), value)
    checkpoints.close()
    return tmp_path / "checkpoints"


def reopen(folder, **changes):
    return Checkpoints(folder, keep=3, meta={"data": META["data"] | changes})


def test_newest_and_best(saved):
    checkpoints = reopen(saved)
    assert checkpoints.latest() == 3 and checkpoints.best() == 2
    step, found = checkpoints.restore_newest(abstract(state(0)))
    assert step == 3
    jax.tree.map(np.testing.assert_array_equal, found, state(3))
    checkpoints.close()


def test_no_checkpoint_at_all(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3, meta=META)
    assert checkpoints.restore_newest(abstract(state(0))) == (0, None)
    checkpoints.close()


def test_another_model_is_refused_and_nothing_is_moved(saved):
    checkpoints = reopen(saved)
    with pytest.raises(OtherRunError, match=r"1 arrays differ \(\['params'\]\['kernel'\]: \[2, 3\] there, \[2, 4\] here\)"):
        checkpoints.restore_newest(abstract(state(0, width=4)))
    checkpoints.close()
    assert sorted(path.name for path in saved.iterdir()) == ["1", "2", "3"] and not saved.with_name("checkpoints-broken").exists()


def test_other_data_are_refused_unless_accepted(saved):
    checkpoints = reopen(saved, fingerprint="xyz")
    with pytest.raises(OtherRunError, match="fingerprint: 'abc' then, 'xyz' now"):
        checkpoints.restore_newest(abstract(state(0)))
    checkpoints.close()
    checkpoints = Checkpoints(saved, keep=3, meta={"data": {"fingerprint": "xyz", "seed": 0}}, accept_new_data=True)
    assert checkpoints.restore_newest(abstract(state(0)))[0] == 3
    checkpoints.close()


def test_when_none_can_be_read_it_says_so(saved, caplog):
    for path in [path for path in saved.rglob("*") if path.is_file() and path.parent.name != "metrics"]:
        if path.name != "_CHECKPOINT_METADATA" or path.parent.parent != saved:
            path.write_bytes(b"")
    checkpoints = reopen(saved)
    with pytest.raises(ValueError, match="none of the checkpoints can be read"):
        checkpoints.restore_newest(abstract(state(0)))
    checkpoints.close()
    assert sorted(path.name for path in saved.with_name("checkpoints-broken").iterdir()) == ["1.0", "2.0", "3.0"]
    assert sum("this checkpoint cannot be read" in message for message in caplog.messages) == 3
