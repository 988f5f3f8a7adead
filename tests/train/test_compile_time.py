"""What programs cost before they run: seconds by cause, and how many were compiled."""

import json
import os
import subprocess
import sys

import pytest

from omnisat_jax.train.compile_time import SECONDS
from tests.conftest import ROOT

PROGRAM = """
import json
import jax, jax.numpy as jnp
from omnisat_jax.parallel.compilation import keep_programs
from omnisat_jax.train.compile_time import compile_times

keep_programs({folder!r}, default="")
with compile_times() as nothing:
    pass
with compile_times() as times:
    with compile_times() as half:
        jax.jit(lambda x: jnp.sin(x) + 1)(jnp.ones(3)).block_until_ready()
    (jnp.ones(5) * 2).block_until_ready()  # small programs of single operations
print(json.dumps([nothing, half, times]))
"""


@pytest.fixture
def start(tmp_path):
    """A process whose programs are kept in a folder, by default the same at every call; what it spends on them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | {"JAX_PLATFORMS": "cpu"}

    def run(folder=str(tmp_path)):
        command = [sys.executable, "-c", PROGRAM.format(folder=folder)]
        done = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    return run


def test_a_second_start_compiles_no_program_however_small(start):
    nothing, half, first = start()
    assert set(first) == {*SECONDS, "programs", "compiled"} and not any(nothing.values())
    assert 0 < half["programs"] < first["programs"] == first["compiled"] and first["compiling"] > 0 == first["reading"]
    _, _, second = start()
    assert second["programs"] == first["programs"] and second["compiled"] == 0 < second["reading"]
    assert second["tracing"] > 0 < second["lowering"]


def test_without_a_folder_every_program_is_compiled(start):
    assert start()[2]["programs"] == start(folder="")[2]["compiled"] > 0


def test_programs_are_found_in_a_folder_that_was_moved(start, tmp_path):
    start(str(tmp_path / "before"))
    (tmp_path / "before").rename(tmp_path / "after")
    times = start(str(tmp_path / "after"))[2]
    assert times["programs"] > 0 == times["compiled"]
