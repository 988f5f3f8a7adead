"""A trained model as plain files: it comes back identical, and any other folder is refused with everything that is wrong."""

import json
import os
import tracemalloc

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.numpy import load_file

from omnisat_jax.inference.model_folder import (
    CONFIG,
    EARLIER_WEIGHTS,
    FORMAT,
    STATISTICS,
    WEIGHTS,
    ModelError,
    ModelInfo,
    SensorInfo,
    load_model,
)
from omnisat_jax.inference.model_info import Provenance
from omnisat_jax.inference.model_saving import save_model
from tests.inference.folders import (
    CHANNELS,
    KERNEL,
    assert_original,
    described_with,
    first_version,
    made,
    made_flat,
    put,
    safetensors,
    second_version,
    signed,
    with_statistics,
    with_weights,
)
from tests.spoiling import spoil

pytestmark = pytest.mark.usefixtures("traced_once")


def test_comes_back_identical(original, tmp_path):
    model = load_model(put(tmp_path, original))
    assert_original(model)
    assert model.info == made()[1] and model.format == FORMAT
    assert (model.window, model.temperature, model.colours, model.simulated) == (4, 1.5, ("#ff0000", "#00FF00"), True)
    assert model.sensors == made()[1].sensors and model.citation == "Garnot, 2021\nCC BY 4.0"


@pytest.mark.parametrize("version", [first_version, second_version])
def test_folders_of_earlier_formats_still_load(original, tmp_path, version):
    model = load_model(put(tmp_path, version(original)))
    assert_original(model)
    assert model.sensors == {"s2": SensorInfo(dates=6)} and model.temperature == 1.0
    assert (model.window, model.colours, model.simulated, model.citation) == (None, (), None, "")
    assert model.format == (1 if version is first_version else 2)


def test_a_checksum_identifies_a_model(original, tmp_path):
    """It depends on every file, and on nothing else."""
    def checksum(name, contents):
        (tmp_path / name).mkdir()
        return load_model(put(tmp_path / name, contents)).checksum

    spaced = original | {CONFIG: json.dumps(json.loads(original[CONFIG]), indent=3).encode()}
    known = checksum("original", original)
    assert known == checksum("spaced", spaced) and len(known) == 32
    others = {
        "weights": with_weights(original, lambda arrays: arrays[KERNEL].__iadd__(1)),
        "statistics": with_statistics(mean=[0.25] * CHANNELS)(original),
        "temperature": described_with(temperature=2)(original),
        "first": first_version(original),
        "first weights": first_version(with_weights(original, lambda arrays: arrays[KERNEL].__iadd__(1))),
    }
    assert len({known, *(checksum(name, contents) for name, contents in others.items())}) == len(others) + 1


def test_unknown_modalities_are_saved_as_unknown(tmp_path):
    params, info = made()
    save_model(tmp_path, params, ModelInfo(info.config, info.modalities, info.classes, info.label_patch, info.statistics))
    model = load_model(tmp_path)
    assert model.sensors == {"s2": SensorInfo()} and model.info.provenance == Provenance() and model.window is None


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision_is_read_as_float32(original, tmp_path, dtype):
    half = {name: value.astype(dtype) for name, value in made_flat().items()}
    contents = first_version(original) | {EARLIER_WEIGHTS: half_file(half, {np.float16: "F16", jnp.bfloat16: "BF16"}[dtype])}
    params = flax.traverse_util.flatten_dict(load_model(put(tmp_path, contents)).params, sep="/")
    assert {value.dtype for value in params.values()} == {np.dtype("float32")}
    jax.tree.map(np.testing.assert_array_equal, params, {name: value.astype(np.float32) for name, value in half.items()})


def half_file(arrays, dtype):
    header, data = {}, b""
    for name, value in arrays.items():
        header[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
    return safetensors(header, data)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, STATISTICS])
def test_what_is_not_a_readable_file(original, tmp_path, name):
    """Missing, empty or truncated files, folders, links to nothing and to themselves, and pipes, which would block."""
    path = put(tmp_path, original) / name
    ways = {
        "missing": lambda: None,
        "empty": lambda: path.write_bytes(b""),
        "cut off": lambda: path.write_bytes(original[name][:-20]),
        "folder": path.mkdir,
        "link to nothing": lambda: path.symlink_to("nothing"),
        "circle": lambda: path.symlink_to(name),
        "pipe": lambda: os.mkfifo(path),
    }
    for way, make in ways.items():
        path.unlink()
        make()
        with pytest.raises(ModelError, match=name):
            load_model(tmp_path)
        if way == "folder":
            path.rmdir()
        if way in ("missing", "folder"):
            path.touch()


@pytest.mark.parametrize("folder", ["nothing", "circle", "file", "nul\0"])
def test_no_folder(tmp_path, folder):
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(ModelError, match="expected a folder of a trained model"):
        load_model(tmp_path / folder)


def test_the_folder_of_a_run_is_told_from_that_of_its_model(original, tmp_path):
    run, folds = tmp_path / "run", [tmp_path / "folds" / f"fold_{fold}" for fold in (1, 2)]
    for parent in (run, *folds):
        (parent / "model").mkdir(parents=True)
        put(parent / "model", original)
    for name in (CONFIG, STATISTICS):
        (run / name).write_text("{}")  # of the run
    with pytest.raises(ModelError, match=r"run: expected the folder of a trained model, found that of a run; use .*run/model$"):
        load_model(run)
    with pytest.raises(ModelError, match=r"use .*folds/fold_1/model \(or that of another of 2 folds\)$"):
        load_model(tmp_path / "folds")


def test_every_problem_is_reported_at_once(original, tmp_path):
    about = json.loads(original[CONFIG]) | {"classes": ["a", "a"], "label_patch": -1}
    contents = signed(original, about) | {STATISTICS: b"[]", WEIGHTS: b"12345678"}
    with pytest.raises(ModelError) as caught:
        load_model(put(tmp_path, contents))
    message = str(caught.value)
    assert all(part in message for part in ("classes", "label_patch", "statistics.json", "model.safetensors")), message
    assert len(message.splitlines()) < 25


def test_a_flipped_bit_is_found(original, tmp_path):
    """Also in numbers of which any value is valid."""
    weights = bytearray(original[WEIGHTS])
    weights[-2] ^= 1
    with pytest.raises(ModelError, match="model.safetensors: expected the file that the model was saved with"):
        load_model(put(tmp_path, original | {WEIGHTS: bytes(weights)}))
    with pytest.raises(ModelError, match="statistics.json: expected the file that the model was saved with"):
        load_model(put(tmp_path, original | {STATISTICS: original[STATISTICS].replace(b"0.5", b"0.6", 1)}))
    with pytest.raises(ModelError, match="config.json: expected the file that the model was saved with"):
        load_model(put(tmp_path, original | {CONFIG: original[CONFIG].replace(b'"b"', b'"c"', 1)}))


HEADERS = {
    "longer than the file": (2**62).to_bytes(8, "little") + b"{}",
    "longer than any": (2**25).to_bytes(8, "little") + b" " * 2**25,
    "no JSON": safetensors(b"{"),
    "too deep": safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a list": safetensors([]),
    "an entry that is a text": safetensors({"a": "b"}),
    "a name twice": safetensors(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
    "metadata of lists": safetensors({"__metadata__": {"a": []}}),
    "metadata a list": safetensors({"__metadata__": []}),
    "float8": safetensors({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, b"1234"),
    "unknown dtype": safetensors({"a": {"dtype": "F128", "shape": [1], "data_offsets": [0, 16]}}, bytes(16)),
    "dtype a list": safetensors({"a": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    "more than the file": safetensors({"a": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}, b"1234"),
    "more numbers than bytes": safetensors({"a": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 4]}}, b"1234"),
    "shape negative": safetensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
    "shape true": safetensors({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"1234"),
    "shape of many axes": safetensors({"a": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}, b"1234"),
    "offsets turned": safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
    "offsets of one": safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, b"1234"),
    "a hole": safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
    "overlap": safetensors({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4)),
    "bytes too many": safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(8)),
    "huge number": safetensors(b'{"a":{"dtype":"F32","shape":[1' + b"0" * 4000 + b'],"data_offsets":[0,4]}}', bytes(4)),
    "surrogate": safetensors({"\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lie(original, tmp_path, name):
    put(tmp_path, first_version(original) | {EARLIER_WEIGHTS: HEADERS[name]})
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=EARLIER_WEIGHTS) as caught:
            load_model(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    str(caught.value).encode()  # no surrogate is left


SPOILT = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@SPOILT
@given(st.data())
def test_spoilt_bytes_are_refused_or_the_same(original, room, data):
    name = data.draw(st.sampled_from([CONFIG, WEIGHTS, STATISTICS]))
    content = bytearray(original[name])
    start = data.draw(st.integers(0, len(content) - 1) | st.integers(0, min(len(content) - 1, 20_000)))
    how = data.draw(st.sampled_from(["flip", "overwrite", "insert", "remove", "truncate"]))
    if how == "flip":
        content[start] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "truncate":
        del content[start:]
    else:
        end = start + data.draw(st.integers(0, 50)) * (how != "insert")
        content[start:end] = b"" if how == "remove" else data.draw(st.binary(max_size=50))
    put(room, original | {name: bytes(content)})
    try:
        model = load_model(room)
    except ModelError as error:
        # A missing class or another size may be reported as weights that do not fit.
        assert name in str(error) or (name == CONFIG and WEIGHTS in str(error))
    else:
        assert_original(model)


@SPOILT
@given(st.data(), st.booleans())
def test_other_structures_are_refused_or_sound(original, room, data, old):
    """JSON and headers of another structure, with matching checksums or none: only a usable model is loaded."""
    weights = EARLIER_WEIGHTS if old else WEIGHTS
    name = data.draw(st.sampled_from([CONFIG, weights, STATISTICS]))
    contents = first_version(original) if old else original
    if name == weights:
        length = int.from_bytes(contents[weights][:8], "little")
        header = spoil(data, json.loads(contents[weights][8 : 8 + length]))
        contents = signed(contents | {weights: safetensors(header, contents[weights][8 + length :])})
    else:
        changed = spoil(data, json.loads(contents[name]))
        contents = signed(contents, changed) if name == CONFIG else signed(contents | {name: json.dumps(changed).encode()})
    for path in room.iterdir():
        path.unlink()
    put(room, contents)
    try:
        model = load_model(room)
    except ModelError as error:
        # A missing class or another size may be reported as weights that do not fit.
        assert name in str(error) or (name == CONFIG and weights in str(error))
        str(error).encode()
        return
    jax.tree.map(np.testing.assert_array_equal, model.params, made()[0])
    assert model.module.names == ("s2",) and len(model.classes) == 2
    of_s2 = model.statistics["s2"]
    assert np.isfinite(of_s2["mean"]).all() and min(of_s2["std"]) > 0 and len(of_s2["mean"]) == len(of_s2["std"]) == CHANNELS


def test_any_language_reads_the_weights(original, tmp_path):
    put(tmp_path, original)
    jax.tree.map(np.testing.assert_array_equal, load_file(tmp_path / WEIGHTS), made_flat())
