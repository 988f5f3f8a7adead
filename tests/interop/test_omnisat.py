"""Patch L-TAE, patch CNN and the combiner equal the published code in evaluation mode, from its own weights."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from omnisat_jax.files.problems import WeightsError
from omnisat_jax.interop.torch_weights import load_omnisat, load_omnisat_encoders
from omnisat_jax.models.layers.relative_attention import token_buckets

HERE = pathlib.Path(__file__).parent
WEIGHTS = HERE / "omnisat_tiny.weights.safetensors"
PATCH = {"s2": 4, "s1_asc": 4, "aerial": 40}


@pytest.fixture(scope="module")
def golden():
    return load_file(HERE / "omnisat_tiny.io.safetensors")


@pytest.mark.parametrize("name", PATCH)
def test_tokens(golden, name):
    module, variables = load_omnisat_encoders(WEIGHTS, n_head=4, d_k=8, patch=PATCH)[name]
    if name == "aerial":
        arguments = (jnp.asarray(golden[name].transpose(0, 2, 3, 1)),)
    else:
        arguments = (jnp.asarray(golden[name].transpose(0, 1, 3, 4, 2)), jnp.asarray(golden[f"{name}_dates"], jnp.int32))
    with jax.default_matmul_precision("highest"):
        tokens = jax.jit(module.apply)(variables, *arguments)
    np.testing.assert_allclose(tokens, golden[f"tokens_{name}"], rtol=0, atol=3e-5)


def inputs(golden):
    series = {
        name: (jnp.asarray(golden[name].transpose(0, 1, 3, 4, 2)), jnp.asarray(golden[f"{name}_dates"], jnp.int32))
        for name in ("s2", "s1_asc")
    }
    return series | {"aerial": jnp.asarray(golden["aerial"].transpose(0, 2, 3, 1))}


def test_the_whole_encoder(golden):
    module, variables = load_omnisat(WEIGHTS, n_head=4, d_k=8, patch=PATCH)
    with jax.default_matmul_precision("highest"):
        out = jax.jit(module.apply)(variables, inputs(golden))
        repaired, _ = load_omnisat(WEIGHTS, n_head=4, d_k=8, patch=PATCH, published=False)
        other = jax.jit(repaired.apply)(variables, inputs(golden))
    np.testing.assert_allclose(out, golden["output"], rtol=0, atol=2e-5)
    assert 1e-4 < np.abs(other - golden["output"]).max() < 0.1  # the repaired positions are another function, but a similar one
    expected = jax.eval_shape(lambda: module.init(jax.random.key(0), inputs(golden)))
    assert jax.tree.map(lambda x: x.shape, expected) == jax.tree.map(lambda x: x.shape, variables)


def test_the_defect_needs_several_modalities():
    """With one modality the published positions are the right ones; with three they are not."""
    np.testing.assert_array_equal(token_buckets(16, 1, published=True), token_buckets(16, 1, published=False))
    assert (token_buckets(16, 3, published=True) != token_buckets(16, 3, published=False)).any()


def test_other_modalities_are_refused(golden):
    module, variables = load_omnisat(WEIGHTS, n_head=4, d_k=8, patch=PATCH)
    with pytest.raises(ValueError, match="expected the modalities aerial, s2, s1_asc, found s2"):
        module.apply(variables, {"s2": inputs(golden)["s2"]})


def test_parameters_are_all_used():
    """Linen ignores unknown parameters, so the trees must be the same."""
    values = {"s2": (1, 2, 8, 8, 10), "s1_asc": (1, 2, 8, 8, 3), "aerial": (1, 80, 80, 3)}
    for name, (module, variables) in load_omnisat_encoders(WEIGHTS, n_head=4, d_k=8, patch=PATCH).items():
        arguments = (jnp.ones(values[name]),) if name == "aerial" else (jnp.ones(values[name]), jnp.ones((1, 2), jnp.int32))
        expected = jax.eval_shape(lambda m=module, a=arguments: m.init(jax.random.key(0), *a))
        assert jax.tree.map(lambda x: x.shape, expected) == jax.tree.map(lambda x: x.shape, variables)


def test_a_missing_modality():
    with pytest.raises(WeightsError, match="no encoder of modality 'spot'; found aerial, s1-asc, s2"):
        load_omnisat_encoders(WEIGHTS, n_head=4, d_k=8, patch={"spot": 40})


def test_a_patch_that_does_not_fit():
    with pytest.raises(WeightsError, match="reads 160 numbers per patch"):
        load_omnisat_encoders(WEIGHTS, n_head=4, d_k=8, patch={"s2": 3})
