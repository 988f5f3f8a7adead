"""Maps by processes of Ray: the files of the plain loop, whatever happens to a process."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.predict import command
from omnisat_jax.predict.folder import BLOCKS
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.ray_engine import Job, make_map_with_ray
from omnisat_jax.predict.run import make_map
from tests.conftest import ROOT
from tests.predict.fragile import Load
from tests.predict.models import BANDS, save_random_model
from tests.predict.region import put, scene
from tests.predict.test_run import region

missing = importlib.util.find_spec("ray") is None
needs_ray = pytest.mark.skipif(missing, reason='needs Ray, about 330 MB: pip install "omnisat-jax[ray]"')
OPTIONS = PredictOptions(block=8, batch=2, probabilities=True)


@pytest.fixture(scope="module")
def started():
    """Ray with two processes on this machine, for all tests of the file."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield ray
    ray.shutdown()


@pytest.fixture
def there(tmp_path):
    put(tmp_path / "s" / "x_20210105.tif", scene().astype(np.float32))
    return region(f"s={tmp_path / 's'}")


def files(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / BLOCKS).iterdir())}


@needs_ray
@pytest.mark.parametrize("how", ["", "killed"])
def test_the_files_are_those_of_the_loop(started, tmp_path, there, how):
    """Two processes, one of which may be killed in its second batch."""
    plain = make_map(Load(tmp_path)(), there, tmp_path / "plain", OPTIONS)
    made = make_map_with_ray(Job(Load(tmp_path, how), there, tmp_path / "out", OPTIONS, workers=2))
    assert files(made.path) == files(plain.path) and len(files(made.path)) == 15
    assert made.info.fingerprint == plain.info.fingerprint
    assert (tmp_path / "killed").exists() == bool(how)
    others = set((tmp_path / "loads").read_text().split()) - {str(os.getpid())}
    assert len(others) >= 1 + bool(how)


@needs_ray
def test_only_missing_blocks_are_computed(started, tmp_path, there):
    job = Job(Load(tmp_path), there, tmp_path / "out", OPTIONS, workers=1)
    folder = make_map_with_ray(job)
    before = {path: path.stat().st_mtime_ns for path in (folder.path / BLOCKS).iterdir()}
    gone = sorted(before)[:2]
    for path in gone:
        path.unlink()
    make_map_with_ray(job)
    assert {path for path, time in before.items() if path.stat().st_mtime_ns != time} == set(gone)
    assert make_map_with_ray(job).missing() == []


@needs_ray
def test_an_error_of_a_process_is_one_sentence(started, tmp_path, there):
    with pytest.raises(UserError, match="^this model: expected good weights, found others$"):
        make_map_with_ray(Job(Load(tmp_path, "refused"), there, tmp_path / "out", OPTIONS, workers=2))


@needs_ray
def test_the_command(tmp_path):
    save_random_model(tmp_path / "model")
    values = np.random.default_rng(0).normal(size=(3, 40, 40)).astype(np.float32)
    put(tmp_path / "s1a" / "x_20210311.tif", values, descriptions=BANDS["s1a"])
    start = [sys.executable, "-m", "omnisat_jax.predict", "--model", tmp_path / "model", "--series", f"s1a={tmp_path / 's1a'}", "--block", "16"]
    for out, more in (("plain", []), ("ray", ["--engine", "ray", "--workers", "2"])):
        options = [str(part) for part in (*start, "--out", tmp_path / out, *more)]
        done = subprocess.run(options, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert files(tmp_path / "ray") == files(tmp_path / "plain")
    assert (tmp_path / "ray" / "class.tif").read_bytes() == (tmp_path / "plain" / "class.tif").read_bytes()


def test_without_ray_one_sentence_names_the_extra(tmp_path, there, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'--engine ray needs ray; install it with pip install "omnisat-jax\[ray\]"'):
        make_map_with_ray(Job(Load(tmp_path), there, tmp_path / "out", OPTIONS))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [(["--workers", "2"], "--engine ray"), (["--engine", "ray", "--workers", "-1"], "--workers"), (["--engine", "ray", "--shard", "0/2"], "--shard")],
)
def test_options_that_do_not_fit(tmp_path, capsys, options, message):
    put(tmp_path / "s" / "x_20210105.tif", scene().astype(np.float32))
    arguments = ["--model", "none", "--series", f"s={tmp_path / 's'}", "--out", str(tmp_path / "out"), *options]
    assert run_command(command.main, arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "bug" not in error
