"""The command line as a person meets it, mistakes included."""

import subprocess
import sys

import pytest

from tests import forks
from tests.conftest import ROOT
from tests.distributed.processes import program
from tests.faults.pastis import FAULTS, TILE


def launch(*arguments, cwd=ROOT):
    return forks.run(program("", [str(ROOT / "launch.py"), *arguments], end="os._exit"), cwd=cwd)


def test_help_explains_the_flags():
    out = subprocess.run([sys.executable, str(ROOT / "launch.py"), "--helpfull"], capture_output=True, text=True).stdout
    assert "--workdir" in out and "--stage" in out and "configs/pastis.py:hd" in out


@pytest.mark.parametrize(
    ("file", "address", "message"),
    [
        (f"--config={ROOT}/configs/pastis.py", "hdfs://host/run", "--workdir: expected a folder of this machine or gs://BUCKET/FOLDER, found hdfs://host/run"),
        (f"--study={ROOT}/configs/studies/encoders.py", "s3://bucket/run", "--workdir: expected a folder of this machine or gs://BUCKET/FOLDER, found s3://bucket/run; Orbax cannot write"),
    ],
)
def test_an_address_that_holds_no_run_is_refused(file, address, message, tmp_path):
    run = launch(file, f"--workdir={address}", cwd=tmp_path)
    assert run.returncode == 1 and message in run.stderr, run.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/pastis.py", "--config.finetune.learning_rat=1"], "did you mean 'learning_rate'?"),
        (["--config=configs/pastis.py", "--config.model.utae.bordr=zeros"], "did you mean 'border'?"),
        (["--config=configs/pastis.py", "--config.zzz=1"], "no key 'zzz'"),
        (["--config=configs/nothing.py"], "No such file or directory: 'configs/nothing.py'"),
        (["--config=configs/pastis.py", "--config.seed=abc"], "--config.seed: expected a whole number, found 'abc'"),
        (["--confg=3"], "error: --confg: no such option. Did you mean --config?"),
        (["--config=configs/pasti.py"], "No such file or directory: 'configs/pasti.py'. Did you mean configs/pastis.py?"),
        (["--config=configs/pastis.py:dmo"], "found 'dmo', did you mean 'demo'?"),
        (["--config=configs/pastis.py", "--stage=finetun"], "--stage: expected one of prepare, pretrain, finetune, evaluate, all, found 'finetun'"),
        (["--config=configs/pastis.py", "--config.finetune.steps=many"], "--config.finetune.steps: expected a whole number, found 'many'"),
        (["--config=configs/pastis.py", "--config.data.void_test_parcels=maybe"], "--config.data.void_test_parcels: expected true or false, found 'maybe'"),
        (["--config=configs/pastis.py", "--config.finetune=1"], "--config.finetune: expected one of its keys"),
        ([], "--config"),
        (["--config=configs/pastis.py", "--config.data.raw_dir=/nowhere/at/all"], "/nowhere/at/all"),
        (["--config=configs/pastis.py", "--folds=1,b"], "expected numbers separated by commas, found 'b'"),
        (["--config=configs/pastis.py", "--folds=1,1"], "expected each fold once"),
        (["--study=configs/studies/nothing.py"], "--study: No such file or directory: 'configs/studies/nothing.py'"),
        (["--study=configs/studies/encoders.py", "--study.sedes=1"], "did you mean 'seeds'? configs/studies/base.py lists all"),
        (["--study=configs/studies/encoders.py", "--study_shard=3/2"], "--study_shard: expected I/N with I from 0 to N - 1"),
        (["--config=configs/pastis.py", "--config.data.dataset=pasits"], "data.dataset: expected one of pastis"),
        (["--config=configs/treesat.py", "--folds=1,2"], "joins counts of pixels"),
        (["--config=configs/pastis.py:hd"], "zenodo.org"),
        (["--config=configs/pastis.py:huge"], "demo, hd, xl, flanders"),
        (["--config=configs/pastis.py", "--config.task=sgment"], "segment"),
        (["--config=configs/studies/encoders.py"], "configs/studies/encoders.py is a study; give it as --study="),
        (["--study=configs/pastis.py:hd"], "is the configuration of a run; give it as --config=configs/pastis.py:hd"),
        (["--study=configs/studies/encoders.py", "--config=configs/pastis.py", "--folds=1"], "--config, --folds: no effect with --study"),
        (["--config=configs/pastis.py", "--study_processes=2"], "--study_processes: no effect without --study"),
        (["-h"], "--help lists the options"),
        (["--config=configs/pastis.py:demo,equal_compute", "--config.pretrain.steps=200"], "--config: expected no change of pretrain.steps, as the preset demo,equal"),
    ],
)
def test_mistakes_end_with_one_clear_message(arguments, message, tmp_path):
    run = launch(*arguments, f"--workdir={tmp_path / 'run'}")
    assert run.returncode != 0
    assert message in run.stderr, run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    assert run.stderr.startswith("error: "), run.stderr  # nothing before it


def test_a_foreign_folder_is_refused_before_the_plan_is_printed(tmp_path):
    (tmp_path / "thesis.tex").touch()
    run = launch("--config=configs/pastis.py", f"--workdir={tmp_path}")
    assert run.returncode == 1 and run.stderr.startswith(f"error: {tmp_path} is not empty and holds no run"), run.stderr
    assert run.stdout == "" and [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["truncated array", "web page instead of an image", "tile that the metadata lost"])
def test_a_broken_file_ends_with_one_sentence_that_names_it(name, root, tmp_path):
    fault = FAULTS[name]
    fault.make(root)
    run = launch(f"--config={ROOT}/configs/pastis.py", f"--config.data.raw_dir={root}", f"--workdir={tmp_path / 'run'}", cwd=tmp_path)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert run.stderr.startswith(f"error: tile {TILE}: {root / fault.path}: expected ") and run.stderr.count("\n") == 1, run.stderr
