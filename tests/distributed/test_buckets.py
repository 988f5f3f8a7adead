"""Runs whose folder and data are in a bucket: killed, ended and continued by processes that share no disk, also on a service that fails now and then."""

import re
import signal

import pytest

from omnisat_jax.files.buckets import Bucket
from tests.buckets import bucket, download, needs_bucket, store, upload  # noqa: F401 - fixtures
from tests.conftest import prepare_pastis
from tests.distributed.processes import Launcher, assert_same, finish, rows, state

pytestmark = needs_bucket
PREEMPTED = 75


@pytest.fixture(scope="module")
def launcher(simulated, tmp_path_factory):
    return Launcher(simulated, tmp_path_factory.mktemp("records"), tmp_path_factory.mktemp("programs"), stage="all")


@pytest.fixture(scope="module")
def records(simulated, bucket, tmp_path_factory):  # noqa: F811
    """Flags of a run whose records are in the bucket."""
    folder = tmp_path_factory.mktemp("prepared")
    assert prepare_pastis(simulated, folder / "out") == 0
    upload(folder / "out", f"{bucket}/records")
    return ["--config.data.raw_dir=", f"--config.data.prepared_dir={bucket}/records", f"--config.data.mirror_dir={folder / 'mirrors'}", "--config.data.mirror_gb=1"]


def test_a_killed_run_goes_on_bit_for_bit(launcher, records, bucket, tmp_path):  # noqa: F811
    launcher.run(tmp_path / "reference")
    finish(launcher.start(f"{bucket}/run", extra=records, signals={0: (signal.SIGKILL, 5)}), -signal.SIGKILL)
    output = launcher.run(f"{bucket}/run", extra=records)[0]
    # A save that had not ended does not count; it was begun two steps earlier, and ends beside the training.
    assert re.search("finetune: goes on after step [24]", output) and f"written to {bucket}/run: " in output, output
    found = download(f"{bucket}/run", tmp_path / "found")
    assert rows(found) == rows(tmp_path / "reference")
    assert_same(state(found), state(tmp_path / "reference"))
    for name in ("results.json", "model/model.safetensors", "statistics.json"):
        assert (found / name).read_bytes() == (tmp_path / "reference" / name).read_bytes(), name
    assert {path.name for path in (tmp_path / "reference").iterdir()} - {path.name for path in found.iterdir()} == {".lock"}
    assert "evaluate: finished before" in launcher.run(f"{bucket}/run", extra=records)[0]
    # A start that is refused takes nothing over.
    owner = Bucket(f"{bucket}/run").read(".writer.json")
    refused = launcher.run(f"{bucket}/run", code=1, extra=[*records, "--config.seed=1"])[0]
    assert f"error: {bucket}/run holds a run with another configuration" in refused and Bucket(f"{bucket}/run").read(".writer.json") == owner


@pytest.mark.exhaustive
def test_two_processes_on_a_service_that_fails_now_and_then(launcher, records, bucket, store, tmp_path):  # noqa: F811
    launcher.run(tmp_path / "reference", processes=2, stage="finetune")
    store.fault = lambda number, method, path: 503 if number % 13 == 0 else -1 if number % 29 == 0 else 0
    try:
        ended = launcher.run(f"{bucket}/two", code=PREEMPTED, processes=2, stage="finetune", extra=records, signals={1: (signal.SIGTERM, 2)})
        outputs = launcher.run(f"{bucket}/two", processes=2, stage="finetune", extra=records)
    finally:
        store.fault = lambda number, method, path: 0
    assert "the object storage gave no answer" in outputs[0] and "asking again" in outputs[0]
    assert all("is saved; the same command goes on from there" in output for output in ended) and "finetune: goes on after step" in outputs[0]
    found = download(f"{bucket}/two", tmp_path / "found")
    assert rows(found) == rows(tmp_path / "reference")
    assert_same(state(found), state(tmp_path / "reference"))


@pytest.mark.exhaustive
def test_the_pretraining_of_a_run_in_a_bucket_is_taken(launcher, bucket, tmp_path):  # noqa: F811
    launcher.run(f"{bucket}/pre", pretrain=True, stage="pretrain")
    here = download(f"{bucket}/pre", tmp_path / "pre")
    for name, source in (("a", f"{bucket}/pre"), ("b", here)):
        launcher.run(tmp_path / name, pretrain=True, stage="finetune", extra=[f"--config.pretrain_from={source}"])
    assert_same(state(tmp_path / "a"), state(tmp_path / "b"))


@pytest.mark.exhaustive
def test_other_folders_of_a_bucket_are_left_alone(launcher, records, bucket):  # noqa: F811
    output = launcher.run(f"{bucket}/records", code=1)[0]
    assert f"error: {bucket}/records is not empty and holds no run" in output
