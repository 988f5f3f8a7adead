"""U-TAE and L-TAE equal the original code in evaluation mode, from its own weights."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from omnisat_jax.files.problems import WeightsError
from omnisat_jax.interop.torch_weights import load_utae

HERE = pathlib.Path(__file__).parent
WEIGHTS = HERE / "utae_tiny.weights.safetensors"
WIDTHS = {"n_head": 4, "d_model": 32, "d_k": 4}


@pytest.fixture(scope="module")
def golden():
    io = load_file(HERE / "utae_tiny.io.safetensors")
    values = jnp.asarray(io["input"].transpose(0, 1, 3, 4, 2))
    # The original takes a frame of zeros for padding.
    return io, (values, jnp.asarray(io["dates"], jnp.int32), jnp.asarray((io["input"] != 0).any((2, 3, 4))))


def run(module, variables, arguments):
    with jax.default_matmul_precision("highest"):
        return jax.jit(lambda v, *a: module.apply(v, *a, return_attention=True))(variables, *arguments)


def test_logits_and_attention(golden):
    io, arguments = golden
    logits, attention = run(*load_utae(WEIGHTS, **WIDTHS), arguments)
    np.testing.assert_allclose(logits.transpose(0, 3, 1, 2), io["logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(attention, io["attention"], rtol=0, atol=1e-4)


def test_by_default_padding_is_invisible(golden):
    io, (values, dates, valid) = golden
    module, variables = load_utae(WEIGHTS, **WIDTHS, faithful=False)
    padded, attention = run(module, variables, (values[1:], dates[1:], valid[1:]))
    plain, _ = run(module, variables, (values[1:, :3], dates[1:, :3], valid[1:, :3]))
    np.testing.assert_allclose(padded, plain, rtol=0, atol=1e-5)
    assert not attention[:, 0, 3:].any()
    # The output of the original depends on it, which is why the switch exists.
    shown = np.maximum(np.asarray(plain), 0).transpose(0, 3, 1, 2)
    assert np.abs(shown - io["logits"][1:]).max() > 1e-3
    # Without padding both are the same network, up to the ReLU on the logits.
    whole, _ = run(module, variables, (values[:1], dates[:1], valid[:1]))
    np.testing.assert_allclose(np.maximum(np.asarray(whole), 0).transpose(0, 3, 1, 2), io["logits"][:1], rtol=0, atol=1e-5)


def test_gradients_agree_with_finite_differences(golden):
    _, arguments = golden
    module, variables = load_utae(WEIGHTS, **WIDTHS, faithful=False)
    with jax.default_matmul_precision("highest"):
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
        target = jax.random.normal(jax.random.key(0), (2, 32, 32, 20), jnp.float32)

        @jax.jit
        def loss(variables):
            return ((module.apply(variables, *arguments) - target) ** 2).mean()

        gradients = jax.jit(jax.grad(loss))(variables)
        leaves, tree = jax.tree.flatten(variables)
        noise = np.random.default_rng(0)
        direction = jax.tree.unflatten(
            tree, [jnp.asarray(noise.standard_normal(x.shape), x.dtype) * jnp.abs(x).mean() for x in leaves]
        )
        along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: float((g * d).sum()), gradients, direction)))
        size = 1e-3
        ahead, behind = (loss(jax.tree.map(lambda x, d, s=s: x + s * size * d, variables, direction)) for s in (1, -1))
        assert along == pytest.approx(float(ahead - behind) / (2 * size), rel=2e-2)


def test_every_wrong_entry_is_listed(tmp_path):
    entries = load_file(WEIGHTS)
    del entries["temporal_encoder.mlp.0.bias"]
    entries["in_conv.conv.conv.0.bias"] = np.zeros(3, np.float32)
    entries["something.else"] = np.zeros(2, np.float32)
    save_file(entries, tmp_path / "wrong.safetensors")
    with pytest.raises(WeightsError) as caught:
        load_utae(tmp_path / "wrong.safetensors", **WIDTHS)
    message = str(caught.value)
    assert "3 entries do not fit" in message and "wrong.safetensors" in message
    assert "temporal_encoder.mlp.0.bias: missing, expected (32,)" in message
    assert "in_conv.conv.conv.0.bias: expected (16,), found (3,)" in message
    assert "something.else: unknown, of shape (2,)" in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.safetensors", None, "expected a file of weights, found no such file"),
        ("torn.safetensors", b"123", "3 bytes, truncated"),
        ("weights.h5", b"123", "expected .safetensors, .pth"),
    ],
)
def test_unreadable_files(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_utae(tmp_path / name)


def test_pytorch_files_name_what_they_need(tmp_path):
    try:
        import torch
    except ImportError:
        (tmp_path / "model.pth.tar").write_bytes(b"PK")
        with pytest.raises(WeightsError, match=r"pip install 'omnisat-jax\[torch\]'"):
            load_utae(tmp_path / "model.pth.tar")
    else:
        entries = {f"module.{name}": torch.from_numpy(value) for name, value in load_file(WEIGHTS).items()}
        torch.save({"epoch": 3, "state_dict": entries}, tmp_path / "model.pth.tar")
        assert load_utae(tmp_path / "model.pth.tar", **WIDTHS)[0] == load_utae(WEIGHTS, **WIDTHS)[0]


def test_the_wrong_network_is_recognised():
    with pytest.raises(WeightsError, match="is it the right network"):
        load_utae(HERE / "omnisat_tiny.weights.safetensors")
