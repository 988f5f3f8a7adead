"""Foreign weights that are malformed, of another network or not finite are refused in sentences, before anything large is allocated."""

import functools
import json
import os
import pathlib
import sys
import tracemalloc
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.numpy import load_file, save

from omnisat_jax.files.problems import WeightsError
from omnisat_jax.interop import convert
from omnisat_jax.interop.state_dict import read_state_dict
from omnisat_jax.interop.torch_weights import load_omnisat, load_omnisat_encoders, load_utae

HERE = pathlib.Path(__file__).parent
PATCH = {"s2": 4, "s1-asc": 4, "aerial": 40}
LOADERS = {
    "utae": functools.partial(load_utae, n_head=4, d_model=32, d_k=4),
    "omnisat": functools.partial(load_omnisat, n_head=4, d_k=8, patch=PATCH),
    "encoders": functools.partial(load_omnisat_encoders, n_head=4, d_k=8, patch=PATCH),
}
NORM = {"utae": "temporal_encoder.mlp.1", "omnisat": "projector_s2.mlp.1", "encoders": "projector_s2.mlp.1"}


@functools.cache
def stored(network):
    return load_file(HERE / f"{'utae' if network == 'utae' else 'omnisat'}_tiny.weights.safetensors")


def changed(network, name, value):
    """The file's bytes with one entry replaced, or left out where `value` is None."""
    entries = dict(stored(network))
    if value is None:
        del entries[name]
    else:
        entries[name] = value(entries[name])
    return save(entries)


def with_one(number):
    def change(value):
        value = value.copy()
        value.flat[0] = number
        return value

    return change


WAYS = {
    "NaN": (with_one(np.nan), "expected finite numbers, found 1 of"),
    "infinite": (with_one(np.inf), "expected finite numbers, found 1 of"),
    "too large for float32": (lambda value: np.full(value.shape, 1e300), "expected finite numbers"),
    "whole numbers": (lambda value: value.astype(np.int64), "expected floating-point numbers, found int64"),
    "another shape": (lambda value: value[:-1], r"expected \(\d+,\), found \(\d+,\)"),
    "another number of axes": (lambda value: value[None, None], r"found \(1, 1, \d+\)"),
    "empty": (lambda value: value[:0], r"found \(0,\)"),
    "missing": (None, "missing, expected"),
}


@pytest.mark.parametrize("network", LOADERS)
@pytest.mark.parametrize("way", WAYS)
def test_one_entry_that_is_wrong_is_named(network, way, tmp_path):
    change, message = WAYS[way]
    name = f"{NORM[network]}.weight"
    (tmp_path / "w.safetensors").write_bytes(changed(network, name, change))
    with pytest.raises(WeightsError, match=f"w.safetensors: 1 entry does not fit:\n{name}: .*{message}"):
        LOADERS[network](tmp_path / "w.safetensors")


@pytest.mark.parametrize("network", LOADERS)
def test_variances_below_zero(network, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(changed(network, f"{NORM[network]}.running_var", with_one(-1.0)))
    with pytest.raises(WeightsError, match="running_var: expected variances of 0 or more, found -1"):
        LOADERS[network](tmp_path / "w.safetensors")


FIRST = {"utae": "in_conv.conv.conv.0.weight", "omnisat": "projector_s2.inconv.0.weight", "encoders": "projector_aerial.proj.0.weight"}


@pytest.mark.parametrize("network", LOADERS)
@pytest.mark.parametrize("shape", [(), (3,), (0, 4, 3, 3), (1, 0), (2, 2, 2, 2, 2), (10**6, 1, 1, 1), (10**6, 1), (1, 10**6)])
def test_widths_are_read_only_from_entries_that_have_them(network, shape, tmp_path):
    """Entries of another form, and some that ask for a network of terabytes."""
    (tmp_path / "w.safetensors").write_bytes(changed(network, FIRST[network], lambda value: np.zeros(shape, np.float32)))
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="w.safetensors"):
            LOADERS[network](tmp_path / "w.safetensors")
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_head": 0}, "n_head from 1"),
        ({"n_head": -4}, "n_head from 1"),
        ({"d_k": 10**9}, "d_k from 1"),
        ({"d_k": 4.0}, "d_k from 1"),
        ({"n_head": True}, "n_head from 1"),
        ({"patch": {"s2": 0}}, "patch of 's2' from 1"),
        ({"patch": {}}, "patch to name a modality"),
        ({"period": 0}, "period above 0"),
        ({"period": float("nan")}, "period above 0"),
    ],
)
def test_options_that_no_network_has(options, message):
    with pytest.raises(WeightsError, match=message):
        load_omnisat(HERE / "omnisat_tiny.weights.safetensors", **{"n_head": 4, "d_k": 8, "patch": PATCH} | options)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_spoilt_files_are_refused_or_read(tmp_path_factory, data):
    """Random changes to the file: other values may be read, anything else is refused in a sentence."""
    content = bytearray((HERE / "omnisat_tiny.weights.safetensors").read_bytes())
    header = int.from_bytes(content[:8], "little") + 8
    start = data.draw(st.integers(0, header - 1) | st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[start] ^= 1 << data.draw(st.integers(0, 7))
    else:
        end = start + data.draw(st.integers(0, 40))
        content[start:end] = data.draw(st.binary(max_size=40))
    path = tmp_path_factory.getbasetemp() / "spoilt.safetensors"
    path.write_bytes(content)
    try:
        entries = read_state_dict(path)
    except WeightsError as error:
        assert "spoilt.safetensors" in str(error)
        str(error).encode()
    else:
        assert sum(value.nbytes for value in entries.values()) <= len(content)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth.tar"])
def test_pipes_and_folders_are_refused(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(WeightsError, match="a regular file"):
        read_state_dict(tmp_path / name)
    (tmp_path / "x").mkdir()
    with pytest.raises(WeightsError, match="found a folder"):
        read_state_dict(tmp_path / "x")


def test_old_pytorch_is_refused(tmp_path, monkeypatch):
    """Before 2.6 a file of weights could execute code in spite of weights_only=True."""
    (tmp_path / "model.pth").write_bytes(b"PK")
    for version in ("2.5.1+cu124", "1.13.0", "2", "nonsense"):
        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(__version__=version))
        with pytest.raises(WeightsError, match="expected PyTorch 2.6 or later, found"):
            read_state_dict(tmp_path / "model.pth")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    convert.save(folder, *LOADERS["omnisat"](HERE / "omnisat_tiny.weights.safetensors"))
    return folder


def without_checksum(network):
    return {key: value for key, value in network.items() if key != "checksum"}


def at(path, value):
    """Replaces the value at `path` of network.json."""

    def change(network):
        *above, last = path
        parent = functools.reduce(lambda group, key: group[key], above, network)
        parent[last] = value
        return network

    return change


NETWORKS = {
    "a list": (lambda network: [], "an object"),
    "another class": (at(["class"], "os.system"), "one of UTAESegmenter"),
    "no encoders": (at(["encoders"], []), "modalities"),
    "encoders a text": (at(["encoders"], "s2"), "a list"),
    "encoder twice": (lambda network: network | {"encoders": network["encoders"][:1] * 2}, "more than once"),
    "more attributes": (at(["more"], 1), "a PublishedOmniSat with encoders, fusion"),
    "patches 0": (at(["fusion", "patches"], 0), "a whole number from 1"),
    "patches of no square": (at(["fusion", "patches"], 5), "a square grid of patches"),
    "very many patches": (at(["fusion", "patches"], 2**16), "at most 8192 tokens"),
    "heads huge": (at(["fusion", "heads"], 10**9), "a whole number from 1"),
    "other heads": (at(["fusion", "heads"], 3), "a model that can be built|expected"),
    "width a text": (at(["encoders", 0, 1, "width"], "16"), "a whole number from 1"),
    "width 10**9": (at(["encoders", 0, 1, "width"], 10**9), "a whole number from 1"),
    "dropout infinite": (at(["encoders", 1, 1, "ltae", "dropout"], float("inf")), "a finite number"),
    "too deep": (lambda network: functools.reduce(lambda inner, _: [inner], range(2000), network), "an object|nested"),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore")
def test_descriptions_that_are_not_of_a_network(name, converted, tmp_path):
    change, message = NETWORKS[name]
    (tmp_path / "weights.safetensors").write_bytes((converted / "weights.safetensors").read_bytes())
    network = change(without_checksum(json.loads((converted / "network.json").read_text())))
    if name == "too deep":
        (tmp_path / "network.json").write_text("[" * 2000 + "]" * 2000)
    else:
        (tmp_path / "network.json").write_text(json.dumps(network))
    with pytest.raises(WeightsError, match=message):
        convert.load(tmp_path)


def test_a_flipped_bit_in_converted_weights_is_found(converted, tmp_path):
    content = bytearray((converted / "weights.safetensors").read_bytes())
    content[-2] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(content)
    network = json.loads((converted / "network.json").read_text())
    (tmp_path / "network.json").write_text(json.dumps(network))
    with pytest.raises(WeightsError, match="expected the file that was written with network.json"):
        convert.load(tmp_path)
    (tmp_path / "network.json").write_text(json.dumps(without_checksum(network)))
    convert.load(tmp_path)  # an earlier version wrote no checksum


def test_what_is_unknown_reaches_no_foreign_network(converted):
    """A series without a valid date is absent; NaN on padded dates, or everywhere, changes nothing."""
    module, variables = convert.load(converted)
    rng = np.random.default_rng(0)
    dates, valid = jnp.asarray(rng.integers(0, 300, (2, 4))), jnp.ones((2, 4), bool).at[1, 2].set(False)
    inputs = {
        "s2": (jnp.asarray(rng.normal(size=(2, 4, 8, 8, 10)), jnp.float32), dates, valid),
        "s1-asc": (jnp.asarray(rng.normal(size=(2, 4, 8, 8, 3)), jnp.float32), dates, valid),
        "aerial": (jnp.asarray(rng.normal(size=(2, 80, 80, 3)), jnp.float32),),
    }
    run = jax.jit(module.apply)
    whole = run(variables, inputs)
    values, dates, valid = inputs["s2"]
    padded = run(variables, inputs | {"s2": (values.at[1, 2].set(jnp.nan), dates.at[1, 2].set(9999), valid)})
    np.testing.assert_allclose(padded, whole, atol=1e-5)
    never = run(variables, inputs | {"s2": (values, dates, valid.at[1].set(False))})
    for other in (values.at[1].set(jnp.nan), values.at[1].set(7.0)):
        np.testing.assert_allclose(run(variables, inputs | {"s2": (other, dates, valid.at[1].set(False))}), never, atol=1e-5)
    np.testing.assert_allclose(run(variables, inputs | {"s2": (values.at[1].set(jnp.nan), dates, valid)}), never, atol=1e-5)
    assert np.abs(never[1] - whole[1]).max() > 1e-4
    np.testing.assert_allclose(never[0], whole[0], atol=1e-5)
    assert np.isfinite(run(variables, inputs | {"aerial": (jnp.full_like(inputs["aerial"][0], jnp.nan),)})).all()
