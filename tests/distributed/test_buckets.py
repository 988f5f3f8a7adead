"""Runs whose folder is in a bucket: killed, taken over and continued by processes that share no disk."""

import re
import signal

import pytest

from tests.buckets import bucket, download, needs_bucket, store  # noqa: F401 - fixtures
from tests.distributed.processes import Launcher, assert_same, finish, rows, state

pytestmark = needs_bucket


@pytest.fixture(scope="module")
def launcher(simulated, tmp_path_factory):
    return Launcher(simulated, tmp_path_factory.mktemp("records"), tmp_path_factory.mktemp("programs"), stage="all")


def test_a_killed_run_goes_on_bit_for_bit(launcher, bucket, tmp_path):  # noqa: F811
    launcher.run(tmp_path / "reference")
    finish(launcher.start(f"{bucket}/run", signals={0: (signal.SIGKILL, 5)}), -signal.SIGKILL)
    output = launcher.run(f"{bucket}/run")[0]
    # A save that had not ended does not count; it was begun two steps earlier, and ends beside the training.
    assert re.search("finetune: goes on after step [24]", output) and f"written to {bucket}/run: " in output, output
    found = download(f"{bucket}/run", tmp_path / "found")
    assert rows(found) == rows(tmp_path / "reference")
    assert_same(state(found), state(tmp_path / "reference"))
    for name in ("results.json", "model/model.safetensors", "statistics.json"):
        assert (found / name).read_bytes() == (tmp_path / "reference" / name).read_bytes(), name
    assert "evaluate: finished before" in launcher.run(f"{bucket}/run")[0]
