"""The rules of the layout: imports go one way, files stay short, configurations need no jax, nothing is unpickled."""

import ast
import subprocess
import sys

from tests.conftest import ROOT

# Parts of the package, lowest first: each imports from its own level and from those before it.
LAYERS = [
    {"errors", "missing", "earth", "dates", "types", "words", "colours", "shards", "files", "cli"},
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


def forbidden(path):
    """What is wrong with the imports of a file of the package."""
    room = path.relative_to(ROOT / "omnisat_jax").parts[0].removesuffix(".py")
    for name in imported(path):
        if name.partition(".")[0] in ("data", "configs", "benchmarks", "tests", "launch"):
            yield f"{path} imports {name}; the package knows no dataset and no configuration file: launch.py hands them over"
        if name.startswith("omnisat_jax."):
            other = name.split(".")[1]
            if other != "__version__" and LEVEL[other] > LEVEL[room]:
                yield f"{path}: {room} must not import {other}"
        if name.startswith("orbax") and path.name not in ("checkpoints.py", "checkpoint_reading.py"):
            yield f"{path} imports {name}; checkpoints are read and written in two files"
        if name.startswith("ml_collections"):
            yield f"{path}: expected the typed configuration of omnisat_jax.config, found ml_collections"


# One test for all files, as in the other rules: thousands of tests of a millisecond took longer to collect than to run.
def test_imports_go_one_way():
    found = [sentence for path in PACKAGE for sentence in forbidden(path)]
    assert not found, "\n".join(found)


def test_files_are_short():
    lines = {path: len(path.read_text().splitlines()) for path in [*FILES, ROOT / "launch.py"]}
    assert not {str(path): number for path, number in lines.items() if number > 400}


def unpickles(path):
    """Whether a file reads what may execute code."""
    text = path.read_text()
    # The one reader of PyTorch files executes nothing that is in them.
    load = "torch" + ".load("
    safe = load not in text or (path.name == "torch_file.py" and text.count(load) == text.count("weights_only=True)") == 1)
    return not safe or "allow_pickle" + "=True" in text or "import " + "pickle" in text


def test_no_pickle():
    assert not [str(path) for path in FILES if unpickles(path)]


def test_loop_is_short():
    assert len((ROOT / "omnisat_jax/train/loop.py").read_text().splitlines()) <= 150


def test_configs_import_without_jax():
    code = "import sys, configs.pastis, configs.treesat; configs.pastis.get_config(); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_no_tensorflow_or_torch_at_run_time():
    code = "import sys, omnisat_jax.experiment.run; assert not {'tensorflow', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
