"""Where time goes: causes do not overlap, and waiting for data counts only while the device is idle."""

import jax.numpy as jnp
import pytest

from omnisat_jax.train import timing
from omnisat_jax.train.timing import Ledger, Profile, parse_profile


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_causes_add_up_to_the_total(clock):
    ledger = Ledger()
    with ledger.during("compile"):
        clock.now += 5
    with pytest.raises(RuntimeError), ledger.during("save"):
        clock.now += 2
        raise RuntimeError
    clock.now += 3
    assert ledger.summary() == {"compile": 5, "save": 2, "steps": 3, "total": 10}


@pytest.mark.parametrize(("ready", "waited"), [(True, 4), (False, 0)])
def test_waiting_counts_while_the_device_is_idle(clock, ready, waited):
    class Metric:
        def is_ready(self):
            return ready

    def batches():
        clock.now += 4
        yield "batch"

    ledger = Ledger()
    clock.now += 4
    assert ledger.next_batch(batches(), {"loss": Metric()}) == "batch"
    assert ledger.seconds["data wait"] == waited
    assert ledger.waiting() == (0.5 if ready else 0)


def test_profile_traces_the_steps_it_was_asked_for(tmp_path):
    profile = Profile(tmp_path / "trace", (2, 3))
    for step in range(1, 5):
        profile.at(step)
        (jnp.ones(4) * step).block_until_ready()
    profile.close()
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))


def test_profile_flag():
    assert parse_profile("") is None and parse_profile("10:20") == (10, 20)
    for wrong in ("10", "20:10", "a:b", "0:5"):
        with pytest.raises(ValueError, match="expected START:STOP"):
            parse_profile(wrong)
