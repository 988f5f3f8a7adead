"""--folds with a folder in a bucket: results are those of a folder of this machine, and can be joined and compared from there."""

import json

import pytest

from omnisat_jax.config import schema
from omnisat_jax.errors import DataError
from omnisat_jax.experiment.cross_validation import run_folds
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.report import folds
from omnisat_jax.train import stage as stage_training
from omnisat_jax.train.workdir import WorkdirError
from tests.buckets import bucket, names, needs_bucket, store  # noqa: F401 - fixtures
from tests.conftest import QUICK_RUN, options, tiny

pytestmark = needs_bucket


@pytest.fixture
def config(simulated, tmp_path):
    config = tiny(**{"data.raw_dir": str(simulated), "data.cache_dir": str(tmp_path / "cache"), "pretrain.steps": 0, "finetune.steps": 1, "finetune.eval_every": 0} | QUICK_RUN)
    for name in ("s1a", "s1d", "spot"):
        if name in config.modalities:
            del config.modalities[name]
    return schema.parse(config)


@pytest.mark.exhaustive  # four trainings; tests/report/test_folds.py reads folds of a bucket
def test_folds_in_a_bucket_are_those_of_a_folder(config, bucket, tmp_path, console, monkeypatch, capsys):  # noqa: F811
    here, there = tmp_path / "run", f"{bucket}/run"
    expected = run_folds(config, (1, 3), options(here, console))
    assert run_folds(config, (1,), options(there, console))["protocol"]["test"] == ["fold_5"]
    owner = Bucket(f"{there}/fold_1").read(".writer.json")
    found = run_folds(config, (1, 3), options(there + "/", console))
    assert found["subsets"] == expected["subsets"] and json.loads(Bucket(there).read("results.json"))["subsets"] == expected["subsets"]
    assert {"results.json", "results.md", "report.html", ".writer.json", "fold_1/results.json", "fold_3/evaluate/done.json"} <= names(there)
    assert Bucket(there).read("results.md") == (here / "results.md").read_bytes()
    assert Bucket(f"{there}/fold_1").read(".writer.json") != owner  # the second start has taken over
    monkeypatch.setattr(stage_training, "run_loop", None)  # finished folds are not trained again
    assert run_folds(config, (1, 3), options(there, console))["subsets"] == expected["subsets"]
    shown = []
    for runs in ([str(here / "fold_1"), str(here / "fold_3")], [there], [f"{there}/fold_1", f"{there}/fold_3"]):
        assert folds.main([*runs, "--resamples", "5"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] == shown[2] and "mIoU" in shown[0]


def test_a_folder_with_a_single_run_is_refused(config, bucket, console):  # noqa: F811
    Bucket(f"{bucket}/single").write("config.json", b"{}")
    with pytest.raises(WorkdirError, match=f"{bucket}/single holds a single run: choose another --workdir for --folds"):
        run_folds(config, (1, 3), options(f"{bucket}/single", console))
    assert names(f"{bucket}/single") == {"config.json"}


def test_folds_without_results_are_one_sentence(bucket):  # noqa: F811
    with pytest.raises(DataError, match=f"{bucket}/nothing/results.json: expected the results of a finished run"):
        folds.main([f"{bucket}/nothing"])
