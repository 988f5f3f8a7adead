"""What a checkpoint refuses, and what it falls back to; killed processes and full disks: tests/distributed."""

import json
import random
import resource
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.optim.optimizer import keep_average
from omnisat_jax.parallel.rules import abstract_like
from omnisat_jax.train import checkpoint_reading, checkpoints as saving, checksums
from omnisat_jax.train.checkpoint_folders import BrokenStepError, steps_in
from omnisat_jax.train.checkpoint_reading import OtherRunError, read_parameters, read_step
from omnisat_jax.train.checkpoints import Checkpoints, SaveError
from omnisat_jax.train.step import TrainState
from tests.conftest import ROOT

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


# Flipped bits.


def test_a_flipped_bit_never_gives_another_state(saved, tmp_path):
    """Anywhere in the newest checkpoint: it is set aside, or the flip was in what is not used and the state is the one that was saved."""
    rng = random.Random(0)
    files = sorted(path for path in (saved / "3").rglob("*") if path.is_file() and path.name != "commit_success.txt")
    assert any("ocdbt" in str(path) for path in files)
    outcomes = []
    for path in files:
        whole = path.read_bytes()
        for offset in rng.sample(range(len(whole)), min(4, len(whole))):
            broken = bytearray(whole)
            broken[offset] ^= 1 << rng.randrange(8)
            path.write_bytes(broken)
            try:
                found, _ = read_step(saved / "3", abstract(state(0)), data=META["data"])
                jax.tree.map(np.testing.assert_array_equal, found, state(3))
                outcomes.append("same")
            except BrokenStepError:
                outcomes.append("broken")
        path.write_bytes(whole)
    assert outcomes.count("broken") > 10 and read_step(saved / "3", abstract(state(0)), data=META["data"])[1]


def flip_array(folder, value):
    """Changes a stored array under all of Orbax' own checks; what a flip in its bytes comes to."""
    about = json.loads((folder / "meta" / "metadata").read_text())
    sums = next(iter(about["checksums"].values()))
    sums[next(iter(sums))] = value
    del about["checksum"]
    about["checksum"] = checksums.of_text(about)
    (folder / "meta" / "metadata").write_text(json.dumps(about))


def test_an_array_that_is_not_what_was_saved_is_set_aside(saved, caplog):
    flip_array(saved / "3", "0" * 16)
    checkpoints = reopen(saved)
    step, found = checkpoints.restore_newest(abstract(state(0)))
    checkpoints.close()
    assert step == 2 and "1 of its arrays are not what was saved: ['params']['kernel']" in caplog.text
    jax.tree.map(np.testing.assert_array_equal, found, state(2))
    assert (saved.with_name("checkpoints-broken") / "3.0").is_dir()


@pytest.mark.parametrize("name", ["meta/metadata", "metrics/metrics", "_CHECKPOINT_METADATA"])
def test_a_description_that_is_damaged_is_set_aside(saved, caplog, name):
    path = saved / "2" / name
    text = path.read_text()
    path.write_text(text[: len(text) // 2] if name.startswith("_") else text.replace("9.0", "8.0").replace("abc", "abd"))
    checkpoints = reopen(saved)
    assert checkpoints.best() == 3 and checkpoints.restore_newest(abstract(state(0)))[0] == 3
    checkpoints.close()
    assert (saved.with_name("checkpoints-broken") / "2.0").is_dir() and "2: this checkpoint cannot be read" in caplog.text


def test_another_checkpoint_in_the_place_of_one_is_not_taken(saved):
    _, known = read_step(saved / "2", abstract(state(0)), data=META["data"], checksum=None)
    (saved / "2").rename(saved / "old")
    (saved / "3").rename(saved / "2")
    with pytest.raises(BrokenStepError, match="it is another one than was recorded"):
        read_step(saved / "2", abstract(state(0)), data=META["data"], checksum=known)


def test_checkpoints_of_earlier_versions_load(saved):
    for step in "123":
        path = saved / step / "meta" / "metadata"
        about = json.loads(path.read_text())
        path.write_text(json.dumps({key: about[key] for key in ("data", "step", "form")}))
    checkpoints = reopen(saved)
    assert checkpoints.best() == 2 and checkpoints.checksum(3) is None
    step, found = checkpoints.restore_newest(abstract(state(0)))
    checkpoints.close()
    assert step == 3
    jax.tree.map(np.testing.assert_array_equal, found, state(3))


def test_a_state_without_room_is_not_a_broken_checkpoint(saved, monkeypatch):
    class Handler:
        def restore(self, *_, **__):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory while trying to allocate 17 bytes")

    monkeypatch.setattr(checkpoint_reading.ocp, "StandardCheckpointHandler", Handler)
    checkpoints = reopen(saved)
    with pytest.raises(UserError, match="cannot be read now .*it is left unchanged"):
        checkpoints.restore_newest(abstract(state(0)))
    checkpoints.close()
    assert (saved / "3").is_dir() and not saved.with_name("checkpoints-broken").exists()


# Saving.


def test_the_first_checkpoint_is_read_back(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3, meta=META)
    read = []

    def unreadable(path, host, **_):
        read.append(path.name)
        raise BrokenStepError(path, "NOT_FOUND")

    monkeypatch.setattr(saving, "read_step", unreadable)
    with pytest.raises(SaveError, match="was written, but cannot be read back .NOT_FOUND.. Check the disk, or choose another --workdir"):
        checkpoints.save(1, state(1))
    checkpoints.close()
    monkeypatch.undo()
    checkpoints = Checkpoints(tmp_path / "good", keep=3, meta=META)
    monkeypatch.setattr(saving, "read_step", lambda path, host, **_: read.append(path.name))
    for step in (1, 2):
        checkpoints.save(step, state(step))
    checkpoints.close()
    assert read == ["1", "1"]


@pytest.mark.parametrize("limit", [2_048, 5_000, 60_000])
def test_a_full_disk_is_one_sentence(tmp_path, limit):
    """No file may grow beyond some bytes: what a full disk looks like to each of the writers."""
    code = f"""
import resource, signal
import jax
from omnisat_jax.train.checkpoints import Checkpoints, SaveError
from omnisat_jax.train.step import TrainState
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def state(value):
    return {{f"array{{i}}": jax.random.normal(jax.random.key(i + value), (32, 33)) for i in range(60)}}
checkpoints = Checkpoints({str(tmp_path / "checkpoints")!r}, keep=2, meta={META!r})
checkpoints.save(1, state(1))
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {resource.RLIM_INFINITY}))
try:
    checkpoints.save(2, state(2))
    checkpoints.close()
except SaveError as error:
    print("error:", error)
finally:
    checkpoints.close()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.count("\n") == 1 and done.returncode == 0, done
    assert "could not be written" in done.stdout and "File too large" in done.stdout and "Older checkpoints are untouched" in done.stdout
    assert signal.SIGXFSZ and [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()] == ["1"]


def test_names_that_are_no_steps_are_passed_over(tmp_path):
    for name in ("2", "10", "²", "٣", "1a", "-1", "1.5"):
        (tmp_path / name).mkdir()
    assert steps_in(tmp_path) == [2, 10]


def trained(with_average, width=3):
    """A state as training leaves it, with parameters of two encoders."""
    params = {"encoder_a": {"kernel": jnp.arange(2.0 * width).reshape(2, width)}, "encoder_b": {"bias": jnp.ones(4)}}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3), *([keep_average(0.5)] if with_average else []))
    zero, opt_state = jnp.zeros((), jnp.int32), optimizer.init(params)
    updates, opt_state = optimizer.update(jax.tree.map(jnp.ones_like, params), opt_state, params)
    return TrainState(step=zero, skipped=zero, params=optax.apply_updates(params, updates), opt_state=opt_state)


@pytest.fixture(params=[False, True], ids=["parameters", "average"])
def other_run(request, tmp_path):
    """(state, folder of its checkpoint)"""
    made = trained(request.param)
    checkpoints = Checkpoints(tmp_path / "other", keep=1, meta=META | {"bands": {"a": ["VV", "VH"], "b": ["B02"]}, "statistics": {"a": {"std": [3.0, 4.0]}}})
    checkpoints.save(7, made)
    checkpoints.close()
    return made, tmp_path / "other" / "7"


def test_parameters_that_both_models_have_are_read(other_run):
    made, folder = other_run
    wanted = abstract({"encoder_a": {"kernel": jnp.zeros((2, 3))}, "encoder_c": {"kernel": jnp.zeros(9)}})
    found, checksum = read_parameters(folder, wanted, about={"bands": {"a": ["VV", "VH"], "c": ["HH"]}})
    assert found.keys() == {"encoder_a"} and checksum
    np.testing.assert_array_equal(found["encoder_a"]["kernel"], made.evaluated["encoder_a"]["kernel"])
    assert read_parameters(folder, abstract({"encoder_c": {"kernel": jnp.zeros(9)}}), about={"bands": {}})[0] == {}


def test_parameters_of_other_shapes_or_bands_are_not(other_run):
    _, folder = other_run
    with pytest.raises(OtherRunError, match=r"\['encoder_a'\]\['kernel'\]: \[2, 3\] there, \[2, 4\] here"):
        read_parameters(folder, abstract({"encoder_a": {"kernel": jnp.zeros((2, 4))}}), about={"bands": {}})
    about = {"bands": {"a": ["VV", "VH"]}, "statistics": {"a": {"std": [3.5, 0.01]}}}
    with pytest.raises(OtherRunError, match="a: expected values of band VH in the unit of this run, whose standard deviation is 0.01, found 4 in pre-training"):
        read_parameters(folder, abstract({"encoder_a": {"kernel": jnp.zeros((2, 3))}}), about=about)
    with pytest.raises(OtherRunError, match="a: VV, VH there, VH, VV here"):
        read_parameters(folder, abstract({"encoder_a": {"kernel": jnp.zeros((2, 3))}}), about={"bands": {"a": ["VH", "VV"]}})


def test_parameters_that_are_not_what_was_saved_are_not_taken(other_run):
    made, folder = other_run
    about = json.loads((folder / "meta" / "metadata").read_text())
    about.pop("checksum")
    start = ".opt_state[2].average" if len(made.opt_state) > 2 else ".params"
    about["checksums"][f"{start}['encoder_a']['kernel']"] = {"0:2,0:3": "0" * 16}
    (folder / "meta" / "metadata").write_text(json.dumps(about | {"checksum": checksums.of_text(about)}))
    with pytest.raises(BrokenStepError, match="1 of its arrays are not what was saved"):
        read_parameters(folder, abstract({"encoder_a": {"kernel": jnp.zeros((2, 3))}}), about={"bands": {}})
    read_parameters(folder, abstract({"encoder_b": {"bias": jnp.zeros(4)}}), about={"bands": {}})
