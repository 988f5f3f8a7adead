"""The format onnx in onnxruntime: the same probabilities as the model, from any subset, number of tiles and number of dates.

Needs another environment, as jax2onnx does not go together with the libraries of training: OMNISAT_ONNX_PYTHON names its interpreter.
"""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from omnisat_jax import Model
from omnisat_jax.errors import UserError
from omnisat_jax.export import onnx_file as onnx_files
from omnisat_jax.export.program import make_program
from omnisat_jax.modalities import subsets
from tests.conftest import ROOT
from tests.export.tiles import ROWS, SHAPES, WINDOW, measurements, program_inputs, save_tiny, usable

PYTHON = "OMNISAT_ONNX_PYTHON"  # environment variable: the interpreter of an environment with jax2onnx


def other_python(*arguments):
    """Runs the interpreter with jax2onnx in the root of the checkout, or skips."""
    python = os.environ.get(PYTHON, "")
    if not python:
        pytest.skip(f"needs jax2onnx in an environment of its own: {PYTHON} names its interpreter")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
    command = [python, *(str(argument) for argument in arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


@pytest.mark.parametrize("row", ROWS)
def test_the_file_predicts_what_the_model_predicts(row, tmp_path):
    folder = save_tiny(tmp_path / "model", row)
    file = tmp_path / "model.onnx"
    done = other_python("-m", "omnisat_jax.export", folder, "--format", "onnx", "--out", file, "--window", WINDOW)
    assert done.returncode == 0, done.stderr
    assert f"written to {file}" in done.stdout and "WARNING" not in done.stderr
    model = Model.from_pretrained(folder)
    origin, specs = model.trained.config.data.origin, model.modalities
    expected, inputs = {}, tmp_path / "inputs"
    inputs.mkdir()
    for tiles, dates in SHAPES:
        given = measurements(specs, tiles, dates)
        for number, subset in enumerate(usable(subsets([spec.name for spec in specs]), specs)):
            np.savez(inputs / f"{tiles}-{number}.npz", **program_inputs(given, subset, specs, origin))
            expected[f"{tiles}-{number}.npy"] = model.probabilities({name: given[name] for name in subset})
    done = other_python(pathlib.Path(__file__).with_name("run_onnx.py"), file, inputs)
    assert done.returncode == 0, done.stderr
    assert expected and {path.name for path in inputs.glob("*.npy")} == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(np.load(inputs / name), value, rtol=0, atol=1e-5, err_msg=name)
    assert json.loads((inputs / "description.json").read_text()) == make_program(model.trained, WINDOW).describe() | {
        "versions": json.loads((inputs / "description.json").read_text())["versions"]
    }


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    trained = Model.from_pretrained(save_tiny(tmp_path_factory.mktemp("model"), "published")).trained
    return make_program(trained)


@pytest.fixture
def converter(monkeypatch):
    """jax2onnx seems to be installed and converts to b"content"."""
    monkeypatch.setattr(onnx_files.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(onnx_files, "_converted", lambda program: b"content")
    return monkeypatch


@pytest.mark.parametrize("difference", [0.2, np.nan])
def test_a_conversion_that_computes_something_else_is_refused(program, converter, difference):
    converter.setattr(onnx_files, "_difference", lambda program, content: difference)
    with pytest.raises(UserError, match="expected the probabilities of the model within 0.0001, found a difference of (0.2|nan)"):
        onnx_files.onnx_file(program)
    converter.setattr(onnx_files, "_difference", lambda program, content: 1e-6)
    assert onnx_files.onnx_file(program) == b"content"


def test_a_model_beyond_the_format_is_refused(program, converter):
    converter.setattr(onnx_files, "LARGEST", 100)
    with pytest.raises(UserError, match="expected parameters of at most 100 bytes, the limit of the format, found"):
        onnx_files.onnx_file(program)
