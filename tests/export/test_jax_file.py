"""The format jax: the same probabilities as the model, from any subset, number of tiles and number of dates, without this package."""

import io
import json
import runpy
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
from safetensors.numpy import load

import omnisat_jax
from omnisat_jax import Model
from omnisat_jax.errors import UserError
from omnisat_jax.export import jax_file as jax_files
from omnisat_jax.export.jax_file import DESCRIPTION, PLATFORMS, PROGRAM, WEIGHTS, jax_file
from omnisat_jax.export.program import make_program
from omnisat_jax.inference.model_folder import load_model
from omnisat_jax.modalities import subsets
from tests.conftest import ROOT
from tests.export.tiles import ROWS, SHAPES, WINDOW, band_names, measurements, program_inputs, save_tiny, usable

SCRIPT = ROOT / "docs" / "run_exported.py"
PLAIN = ("demo", "published")


@pytest.fixture(scope="module", params=[row if row in PLAIN else pytest.param(row, marks=pytest.mark.exhaustive) for row in ROWS])
def row(request, tmp_path_factory):
    """(model, content of its exported file)."""
    folder = save_tiny(tmp_path_factory.mktemp("model"), request.param)
    model = Model.from_pretrained(folder)
    return model, jax_file(make_program(model.trained, WINDOW))


def opened(content):
    """(exported program, parameters, description) of a file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == [PROGRAM, WEIGHTS, DESCRIPTION] and archive.testzip() is None
        program = jax.export.deserialize(bytearray(archive.read(PROGRAM)))
        return program, load(archive.read(WEIGHTS)), json.loads(archive.read(DESCRIPTION))


def test_the_file_predicts_what_the_model_predicts(row):
    model, content = row
    exported, params, description = opened(content)
    assert exported.platforms == PLATFORMS == tuple(description["platforms"])
    origin, specs = model.trained.config.data.origin, model.modalities
    call = jax.jit(exported.call)
    everything = {}
    for tiles, dates in SHAPES:
        given = measurements(specs, tiles, dates)
        for subset in usable(subsets([spec.name for spec in specs]), specs):
            expected = model.probabilities({name: given[name] for name in subset})
            found = call(params, program_inputs(given, subset, specs, origin))
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5, err_msg=f"{subset} {tiles} {dates}")
            if "s2" in subset:  # without which early fusion sees nothing
                everything[tiles, subset] = expected
    assert everything and len({value.tobytes() for value in everything.values()}) == len(everything)  # every modality counts


def test_the_description_is_that_of_the_program(row):
    model, content = row
    exported, _, description = opened(content)
    declared = {entry["name"]: entry for entry in description["inputs"]}
    _, inputs = jax.tree.unflatten(exported.in_tree, exported.in_avals)[0]
    assert inputs.keys() == declared.keys()
    for name, aval in inputs.items():
        assert [str(size) for size in aval.shape] == [str(size) for size in declared[name]["shape"]]
        assert str(aval.dtype) == declared[name]["dtype"] and declared[name]["meaning"]
    (out,) = exported.out_avals
    assert [str(size) for size in out.shape] == [str(size) for size in description["output"]["shape"]]
    assert description["classes"] == list(model.classes) and description["task"] == model.task
    assert description["versions"]["omnisat_jax"] == omnisat_jax.__version__
    assert jax.__version__ in description["compatible_until"]["rule"]
    assert [entry["bands"] for entry in description["modalities"]] == [spec.channels for spec in model.modalities]
    names = band_names(model.modalities)
    assert all(tuple(entry.get("band_names", ())) == names.get(entry["name"], ()) for entry in description["modalities"])
    assert description["day_zero"]["origin"] == model.trained.config.data.origin


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return Model.from_pretrained(save_tiny(tmp_path_factory.mktemp("model"), "published"))


def test_the_documented_script_runs_it_without_this_package(tiny_model, tmp_path):
    """In a process in which neither flax nor omnisat_jax can be imported."""
    model, specs = tiny_model, tiny_model.modalities
    (tmp_path / "model.zip").write_bytes(jax_file(make_program(model.trained, WINDOW)))
    given = measurements(specs, 2, 3)
    inputs = program_inputs(given, ("s2", "spot"), specs, model.trained.config.data.origin)
    inputs, names = {name: value for name, value in inputs.items() if name.startswith(("s2", "spot"))}, band_names(specs)
    np.savez(tmp_path / "inputs.npz", **inputs, **{"s2.bands": np.array(names["s2"])})
    assert len([line for line in SCRIPT.read_text().splitlines() if line]) <= 40  # it can be read at a glance
    forbidden = ("flax", "omnisat_jax", "optax", "tensorflow", "xxhash")
    code = f"import runpy, sys; sys.modules.update(dict.fromkeys({forbidden})); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, "model.zip", "inputs.npz", "out.npy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"spot: not checked that its bands are {', '.join(names['spot'])}\n"
    expected = model.probabilities({name: given[name] for name in ("s2", "spot")})
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=0, atol=1e-5)
    np.savez(tmp_path / "inputs.npz", **inputs, **{"s2.bands": np.array(names["s2"][::-1])})
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    message = f"s2.bands: expected {', '.join(names['s2'])}, found {', '.join(names['s2'][::-1])}; bring s2.values into this order\n"
    assert done.returncode == 1 and done.stderr == message


def test_the_documented_script_takes_nothing_for_granted(tiny_model, tmp_path, monkeypatch, capsys):
    """Inputs beside values that are not given: true where that is what they mean, and refused where nothing can be assumed. No modality is lost."""
    specs = tiny_model.modalities
    (tmp_path / "model.zip").write_bytes(jax_file(make_program(tiny_model.trained, WINDOW)))
    given = program_inputs(measurements(specs, 2, 3), ("s2", "spot"), specs, tiny_model.trained.config.data.origin)
    given = {name: value for name, value in given.items() if name.startswith(("s2", "spot"))}

    def run(inputs, *more):
        np.savez(tmp_path / "inputs.npz", **inputs)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [SCRIPT.name, "model.zip", "inputs.npz", "out.npy", *more])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return np.load(tmp_path / "out.npy")

    def without(*names):
        return {name: value for name, value in given.items() if name not in names}

    everything = run(given | {"s2.valid": np.ones_like(given["s2.valid"])})
    assert not np.array_equal(everything, run({name: value for name, value in given.items() if name.startswith("s2")}))
    np.testing.assert_array_equal(run(without("s2.present", "spot.present", "s2.valid")), everything)
    refused = {
        "expected s2.dates (days since day_zero) beside s2.values, found none": without("s2.dates"),
        "beside s2.dates, found none": without("s2.values"),
        "beside spot.present, found none": without("spot.values"),
        "found s2.value, which the model does not know": given | {"s2.value": given["s2.values"]},
        "found s3.bands, which the model does not know": given | {"s3.bands": np.array(["a"])},
        ".values, found none": {},
    }
    for message, inputs in refused.items():
        with pytest.raises(SystemExit) as stopped:
            run(inputs)
        assert message in str(stopped.value) and str(stopped.value).startswith("inputs.npz: expected "), stopped.value
    with pytest.raises(SystemExit, match="usage: python run_exported.py .*expected 3 arguments, found 4"):
        run(given, "more")


def test_flatbuffers_is_named_where_it_is_missing(tiny_model, monkeypatch):
    monkeypatch.setattr(jax_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs flatbuffers: pip install 'omnisat-jax\[export\]'"):
        jax_file(make_program(tiny_model.trained, WINDOW))


def test_a_layer_that_counts_tiles_is_refused_in_one_sentence(tiny_model, monkeypatch):
    program = make_program(tiny_model.trained, WINDOW)

    def counting(self, params, inputs):
        return 1.0 if inputs["s2.present"].shape[0] > 4 else 0.0

    monkeypatch.setattr(type(program), "__call__", counting)
    with pytest.raises(UserError, match="a layer of this model does not take any number of tiles and dates"):
        jax_file(program)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    folder = save_tiny(tmp_path / "model", "published")
    first, second = (jax_file(make_program(load_model(folder), WINDOW)) for _ in range(2))
    assert first == second
