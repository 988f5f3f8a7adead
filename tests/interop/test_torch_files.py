"""Files as training in PyTorch writes them are read as plain arrays; needs the extra "torch"."""

import argparse
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from omnisat_jax.files.problems import WeightsError
from omnisat_jax.interop import convert
from omnisat_jax.interop.state_dict import read_state_dict
from omnisat_jax.interop.torch_weights import load_omnisat, load_omnisat_encoders, load_utae

torch = pytest.importorskip("torch", reason="reading PyTorch files needs the extra 'torch'")
HERE = pathlib.Path(__file__).parent
PATCH = {"s2": 4, "s1-asc": 4, "aerial": 40}
UTAE = dict(n_head=4, d_model=32, d_k=4)


def weights(network, prefix=""):
    entries = load_file(HERE / f"{network}_tiny.weights.safetensors")
    return {prefix + name: torch.from_numpy(value.copy()) for name, value in entries.items()}


def optimizer_of(state):
    """What training saves with its weights."""
    parameters = [torch.nn.Parameter(value) for value in state.values() if value.is_floating_point()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    sum(parameter.sum() for parameter in parameters).backward()
    optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_utae_with_optimizer(prefix, tmp_path):
    state = weights("utae", prefix)
    torch.save({"epoch": 99, "state_dict": state, "optimizer": optimizer_of(weights("utae"))}, tmp_path / "model.pth.tar")
    module, variables = load_utae(tmp_path / "model.pth.tar", **UTAE)
    expected_module, expected = load_utae(HERE / "utae_tiny.weights.safetensors", **UTAE)
    assert module == expected_module
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_command_converts(tmp_path, capsys):
    torch.save({"state_dict": weights("utae")}, tmp_path / "model.pth.tar")
    options = ["--n_head=4", "--d_model=32", "--d_k=4"]
    assert convert.main(["utae", str(tmp_path / "model.pth.tar"), str(tmp_path / "out"), *options]) == 0
    assert "parameters written" in capsys.readouterr().out
    jax.tree.map(
        np.testing.assert_array_equal,
        convert.load(tmp_path / "out")[1],
        load_utae(HERE / "utae_tiny.weights.safetensors", **UTAE)[1],
    )


def test_omnisat_inside_a_whole_training(tmp_path):
    whole = weights("omnisat", "model.encoder.") | {"model.decoder.linear.weight": torch.ones(3, 3)}
    content = {"epoch": 3, "pytorch-lightning_version": "2.1.1", "state_dict": whole, "optimizer_states": []}
    torch.save(content, tmp_path / "last.ckpt")
    _, variables = load_omnisat(tmp_path / "last.ckpt", n_head=4, d_k=8, patch=PATCH)
    _, expected = load_omnisat(HERE / "omnisat_tiny.weights.safetensors", n_head=4, d_k=8, patch=PATCH)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    assert set(load_omnisat_encoders(tmp_path / "last.ckpt", n_head=4, d_k=8, patch=PATCH)) == set(PATCH)


def test_half_precision_becomes_float32(tmp_path):
    torch.save({"weight": torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "count": torch.tensor(3)}, tmp_path / "half.pt")
    read = read_state_dict(tmp_path / "half.pt")
    np.testing.assert_array_equal(read["weight"], np.float32([1.5, -2.0]))
    assert read["weight"].dtype == np.float32 and read["count"] == 3


def test_code_in_a_file_is_not_executed(tmp_path):
    torch.save({"state_dict": weights("utae"), "arguments": argparse.Namespace(lr=1)}, tmp_path / "model.pth.tar")
    with pytest.raises(WeightsError, match="(?s)model.pth.tar: PyTorch does not read it without executing.*weights_only=False"):
        read_state_dict(tmp_path / "model.pth.tar")


@pytest.mark.parametrize("content, found", [([1, 2], "a list"), ({"epoch": 3}, r"a dict of \['epoch'\]")])
def test_other_content(content, found, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=f"other.pt: expected a state dict.*found {found}"):
        read_state_dict(tmp_path / "other.pt")


def test_truncated(tmp_path):
    torch.save(weights("utae"), tmp_path / "model.pth")
    (tmp_path / "model.pth").write_bytes((tmp_path / "model.pth").read_bytes()[:2000])
    with pytest.raises(WeightsError, match="model.pth: expected a PyTorch file, found an unreadable or truncated one"):
        read_state_dict(tmp_path / "model.pth")


def itself():
    content = {"epoch": 1}
    content["model"] = content
    return content


DESCRIBED = {
    "a file that contains itself": (itself, "expected a state dict"),
    "names that are numbers": (lambda: {1: torch.ones(2)}, "whose names are strings"),
    "more numbers than bytes": (lambda: {"w": torch.ones(1).expand(10**12)}, "w: expected the 1,000,000,000,000 numbers"),
    "float8": (lambda: {"w": torch.ones(4).to(torch.float8_e4m3fn)}, "w: expected an array of numbers, found torch.float8_e4m3fn"),
    "complex": (lambda: {"w": torch.ones(4, dtype=torch.complex64)}, "found torch.complex64"),
    "sparse": (lambda: {"w": torch.eye(3).to_sparse()}, "found torch.float32, torch.sparse_coo"),
    "no memory": (lambda: {"w": torch.ones(3, device="meta")}, "on meta"),
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_tensors_that_are_not_plain_arrays(name, tmp_path):
    make, message = DESCRIBED[name]
    torch.save(make(), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=message):
        read_state_dict(tmp_path / "model.pth")


def test_numbers_that_are_not_finite(tmp_path):
    state = weights("utae")
    state["temporal_encoder.mlp.1.weight"][0] = float("nan")
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match="temporal_encoder.mlp.1.weight: expected finite numbers, found 1 of"):
        load_utae(tmp_path / "model.pth", **UTAE)
