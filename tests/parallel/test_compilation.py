"""Where compiled programs are kept, and how they are traced."""

import gc
import os
import pathlib
import subprocess
import sys

import pytest

from omnisat_jax.parallel.compilation import collecting_rarely
from tests.conftest import ROOT

PROGRAM = """
import sys
import jax, jax.numpy as jnp
from omnisat_jax.parallel.compilation import keep_programs

keep_programs({folder!r}, default={default!r})
jax.jit(lambda x: jnp.sin(x) + 1)(jnp.ones(3)).block_until_ready()
"""


@pytest.mark.parametrize(
    ("folder", "variable", "used"),
    [(None, None, "default"), (None, "variable", "variable"), ("given", "variable", "given"), ("", "variable", None), ("", None, None)],
)
def test_the_folder_of_programs(folder, variable, used, tmp_path):
    """What is given comes before the environment variable of JAX, and that before the default; "" keeps nothing. The program compiles in no time."""
    given = str(tmp_path / folder) if folder else folder
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | {"JAX_PLATFORMS": "cpu"}
    if variable:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / variable)
    code = PROGRAM.format(folder=given, default=str(tmp_path / "default"))
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True)
    filled = {path.name for path in pathlib.Path(tmp_path).iterdir() if any(path.glob("*-cache"))}
    assert filled == ({used} if used else set())


def test_a_folder_of_programs_that_cannot_be_made_is_said_once(tmp_path):
    (tmp_path / "file").touch()
    code = PROGRAM.format(folder=None, default=str(tmp_path / "file" / "programs")).replace("keep_programs(", "print(keep_programs(", 1)
    code = code.replace("programs')\n", "programs'))\n", 1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "are not kept" in done.stdout and f"{tmp_path / 'file'}: it is a file" in done.stdout and "--compilation_cache" in done.stdout
    assert done.stderr == ""


def test_garbage_is_looked_for_as_before_after_programs_were_traced():
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), collecting_rarely(), collecting_rarely():
        assert gc.get_threshold()[0] >= 20_000
        raise ZeroDivisionError
    assert gc.get_threshold() == before
