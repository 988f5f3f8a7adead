"""Studies whose folder is in a bucket: what is done is known there, machines share it, and results are those of a folder. Runs are played."""

import json

import pytest

from omnisat_jax.files import working_copy
from omnisat_jax.files.bucket_locks import exclusive
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.report import html
from omnisat_jax.shards import Shard
from omnisat_jax.study import runner, summary
from omnisat_jax.train.workdir import WorkdirError
from tests.buckets import bucket, names, needs_bucket, store  # noqa: F401 - fixtures
from tests.conftest import ROOT
from tests.study.conftest import playing
from tests.study.player import PLAYER, RUN, make

pytestmark = needs_bucket
# Plays in a folder of this machine, which is then uploaded, as a run does with its working copy.
BUCKET_PLAYER = f"""
import pathlib, sys, tempfile
sys.path.insert(0, {str(ROOT)!r})
from tests.buckets import download, upload
address = next(part.partition("=")[2] for part in sys.argv if part.startswith("--workdir="))
made = pathlib.Path(tempfile.mkdtemp(), "run")
made.mkdir()
download(address, made)
sys.argv = [f"--workdir={{made}}" if part.startswith("--workdir=") else part for part in sys.argv]
try:
    exec({PLAYER!r})
finally:
    upload(made, address)
"""


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    return playing(BUCKET_PLAYER, tmp_path, monkeypatch)


def go(study, address, launcher, console, **options):
    with working_copy.opened(address, left_out=("model",)) as folder:
        outcomes = runner.run_study(study, folder, launcher, console=console, **options)
        found = summary.summarise(study, folder, outcomes, ROOT)
        html.write(folder)
    return {name: outcome.state for name, outcome in outcomes.items()}, found


def calls(address):
    target = Bucket(address)
    return {name.rpartition("/")[0].rpartition("/")[2]: len(target.read(name).splitlines()) for name in target.objects() if name.endswith("/calls")}


@pytest.mark.exhaustive  # the next one is fast
def test_a_study_in_a_bucket(launcher, bucket, tmp_path, console):  # noqa: F811
    address, study = f"{bucket}/study", make(seeds=(0,), only=("plain", "pretrained"))
    # Two machines, one after the other, share the folder; neither repeats what the other has done.
    first, _ = go(study, address, launcher, console, shard=Shard(0, 2))
    assert set(first.values()) == {"done", "waiting"}
    states, found = go(study, address, launcher, console, shard=Shard(1, 2))
    assert set(states.values()) == {"done"} and set(calls(address).values()) == {1} and len(calls(address)) == 4 + 1
    started = [json.loads(Bucket(address).read(name)) for name in names(address) if name.endswith("/calls") and "/pretrained-" in name]
    assert {options["config.pretrain_from"].rpartition("/")[0] for options in started} == {f"{address}/pretrain"}
    assert {"settings.json", "study.json", "table.md", "table.csv", "table.tex", "report.html", f"logs/{RUN}.log", f"runs/{RUN}/results.json"} <= names(address)
    assert not [name for name in names(address) if name.endswith((".running", ".lock"))]
    assert json.loads(Bucket(address).read("study.json"))["waiting"] == [] and "trial" in Bucket(address).read("table.md").decode()
    # As after a kill: one run has no results.
    Bucket(f"{address}/runs/{RUN}").delete(["model/model.safetensors"])
    assert set(go(study, address, launcher, console)[0].values()) == {"done"}
    again = calls(address)
    assert again.pop(RUN) == 2 and set(again.values()) == {1}
    # A run that another machine has begun is left to it.
    Bucket(f"{address}/runs/{RUN}").delete(["results.json"])
    with exclusive(Bucket(f"{address}/runs"), f"{RUN}.running", RUN):
        states, found = go(study, address, launcher, console)
    assert states.pop(RUN) == "elsewhere" and set(states.values()) == {"done"} and found.waiting == [RUN]
    with pytest.raises(WorkdirError, match=f"{address} holds another study:\n  size: 'demo' before, 'hd' now"):
        go(make(size="hd"), address, launcher, console)


def test_a_failure_names_the_log_in_the_bucket(launcher, bucket, console):  # noqa: F811
    address = f"{bucket}/failing"
    states, found = go(make(seeds=(0,), label_shares=(1.0,), only=("plain",), changes=("data.crop=4",)), address, launcher, console)
    assert set(states.values()) == {"failed"}
    assert f"exit code 1, {address}/logs/{RUN}.log: " in next(iter(found.failed.values()))
    assert b"data.crop is wrong" in Bucket(address).read(f"logs/{RUN}.log")
