"""Where compiled programs are kept."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROGRAM = """
import sys
import jax, jax.numpy as jnp
from omnisat_jax.parallel.compilation import keep_programs

keep_programs({folder!r}, default={default!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: jnp.sin(x) + 1)(jnp.ones(3)).block_until_ready()
"""


@pytest.mark.parametrize(
    ("folder", "variable", "used"),
    [(None, None, "default"), (None, "variable", "variable"), ("given", "variable", "given"), ("", "variable", None), ("", None, None)],
)
def test_the_folder_of_programs(folder, variable, used, tmp_path):
    """What is given comes before the environment variable of JAX, and that before the default; "" keeps nothing."""
    given = str(tmp_path / folder) if folder else folder
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | {"JAX_PLATFORMS": "cpu"}
    if variable:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / variable)
    code = PROGRAM.format(folder=given, default=str(tmp_path / "default"))
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True)
    filled = {path.name for path in pathlib.Path(tmp_path).iterdir() if any(path.glob("*-cache"))}
    assert filled == ({used} if used else set())
