"""docs/extend.md, block by block: in a copy of the repository, every file is written, every change applied, and one step trained with all of it."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "extend.md").read_text()
BLOCKS = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def apply(path, change):
    """Applies a block of lines that begin with " ", "-" or "+" where its " " and "-" lines are, which must be one place."""
    lines = change.splitlines()
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    text = path.read_text()
    assert text.count(before) == 1, f"{path} has these lines {text.count(before)} times, docs/extend.md expects once:\n{before}"
    path.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extended")
    shutil.copyfile(ROOT / "launch.py", folder / "launch.py")
    for name in ("configs", "data", "omnisat_jax"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    for language, name, text in sorted(BLOCKS, key=lambda block: block[0] == "bash"):
        if language == "python":
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        elif language == "diff":
            apply(folder / name, text)
        else:
            done = subprocess.run(["bash", "-ec", text], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return folder


@pytest.mark.exhaustive
def test_one_step_was_trained_with_each(checkout):
    rows = [json.loads(line) for line in (checkout / "runs" / "meadow" / "metrics.jsonl").read_text().splitlines()]
    pretrain = next(row for row in rows if row["stage"] == "pretrain")
    assert pretrain["loss"] == pytest.approx(pretrain["contrastive"] + 0.1 * pretrain["variance"], rel=1e-5)
    assert pretrain["variance"] > 0 and pretrain["deviation"] > 0
    config = json.loads((checkout / "runs" / "meadow" / "model" / "config.json").read_text())
    assert "conv_patch" in json.dumps(config)


@pytest.mark.exhaustive
def test_every_subset_of_the_new_sensors_was_scored(checkout):
    results = json.loads((checkout / "runs" / "meadow" / "results.json").read_text())
    assert results["protocol"]["dataset"] == "meadow" and results["protocol"]["classes"] == ["dry", "wet"]
    assert {tuple(entry["modalities"]) for entry in results["subsets"]} == {("optical", "thermal"), ("optical",), ("thermal",)}


def test_changes_must_fit(tmp_path):
    path = tmp_path / "file.py"
    path.write_text("a\nb\na\nc\n")
    apply(path, " a\n-c\n+d\n")
    assert path.read_text() == "a\nb\na\nd\n"
    with pytest.raises(AssertionError, match="2 times"):
        apply(path, " a\n+b\n")
