"""Every file and folder of the project that its texts name exists, and has a name that every system can have."""

import re
import subprocess

import pytest

from tests.conftest import ROOT

TEXTS = [
    *sorted(ROOT.glob("*.md")),
    *(path for folder in ("benchmarks", "configs", "data", "docs", "omnisat_jax") for path in sorted((ROOT / folder).rglob("*"))),
    ROOT / "launch.py",
    ROOT / "pyproject.toml",
    ROOT / "requirements.txt",
]
TEXTS = [path for path in TEXTS if path.suffix in (".md", ".py", ".toml", ".txt") and "_build" not in path.parts and path.name != "CHANGELOG.md"]
PATH = re.compile(r"(?<![\w/.<>-])(?:benchmarks|configs|constraints|data|docs|omnisat_jax|tests)/[\w./-]*\w")
MODULE = re.compile(r"python -m ((?:benchmarks|data|omnisat_jax|tests)(?:\.\w+)*)(?!\.?[\w<*])")
MADE = ("configs/lowland.py", "configs/meadow.py", "data/meadow", "omnisat_jax/tasks/terms/variance.py", "data/raw", "docs/_build")  # by the commands of the page that names them


def missing(text):
    """What a text names and the project lacks."""
    for match in PATH.finditer(text):
        name = match[0]
        if not (ROOT / name).exists() and not name.startswith(MADE):
            yield name
    for match in MODULE.finditer(text):
        path = ROOT / match[1].replace(".", "/")
        if not path.with_suffix(".py").is_file() and not (path / "__main__.py").is_file():
            yield f"python -m {match[1]}"


def test_named_files_exist():
    assert not {str(path): found for path in TEXTS if (found := [*missing(path.read_text())])}


def test_a_missing_file_is_found():
    assert [*missing("see `tests/no_such.py`, tests/conftest.py and python -m data.no_such")] == ["tests/no_such.py", "python -m data.no_such"]


def test_names_of_files_are_possible_on_every_system():
    """A colon, for one, keeps a checkout from being made on Windows; it comes from an address that was taken for a folder."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no checkout of git")
    names = [name for name in done.stdout.split("\0") if name]
    assert "launch.py" in names and not [name for name in names if not re.fullmatch(r"[\w./@+-]+", name)]
