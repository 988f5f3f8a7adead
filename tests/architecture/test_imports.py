"""The rules of the layout: imports go one way, files stay short, configurations need no jax, nothing is unpickled."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Parts of the package, lowest first: each imports from its own level and from those before it.
LAYERS = [
    {"errors", "missing", "dates", "types", "words", "colours", "shards", "files", "cli"},
    {"config", "modalities", "ops"},
    {"batch", "models", "losses", "metrics", "parallel", "optim", "rasters"},
    {"records", "input", "inference", "interop"},
    {"tasks"},
    {"train"},
    {"report", "aot", "predict", "export"},
    {"publish"},
    {"experiment", "study"},
    {"scripts"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FILES = sorted(p for folder in ("omnisat_jax", "configs", "data", "tests", "benchmarks") for p in (ROOT / folder).rglob("*.py"))
PACKAGE = [p for p in FILES if p.relative_to(ROOT).parts[0] == "omnisat_jax" and p.stem != "__init__"]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    room = path.relative_to(ROOT / "omnisat_jax").parts[0].removesuffix(".py")
    for name in imported(path):
        assert name.partition(".")[0] not in ("data", "configs", "benchmarks", "tests", "launch"), (
            f"{path} imports {name}; the package knows no dataset and no configuration file: launch.py hands them over"
        )
        if name.startswith("omnisat_jax."):
            other = name.split(".")[1]
            if other == "__version__":
                continue
            assert LEVEL[other] <= LEVEL[room], f"{path}: {room} must not import {other}"
        if name.startswith("orbax"):
            assert path.name in ("checkpoints.py", "checkpoint_reading.py")
        if name.startswith("ml_collections"):
            raise AssertionError(f"{path}: expected the typed configuration of omnisat_jax.config, found ml_collections")


@pytest.mark.parametrize("path", [*FILES, ROOT / "launch.py"], ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_pickle(path):
    text = path.read_text()
    assert "allow_pickle" + "=True" not in text and "import " + "pickle" not in text
    # The one reader of PyTorch files executes nothing that is in them.
    load = "torch" + ".load("
    assert load not in text or (path.name == "torch_file.py" and text.count(load) == text.count("weights_only=True)") == 1)


def test_loop_is_short():
    assert len((ROOT / "omnisat_jax/train/loop.py").read_text().splitlines()) <= 150


def test_configs_import_without_jax():
    code = "import sys, configs.pastis, configs.treesat; configs.pastis.get_config(); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_no_tensorflow_or_torch_at_run_time():
    code = "import sys, omnisat_jax.experiment.run; assert not {'tensorflow', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
