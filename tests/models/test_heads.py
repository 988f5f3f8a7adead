"""Heads against NumPy, and what an absent map may do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.config.constraints import LEARNED_TEMPERATURE
from omnisat_jax.models.heads import ClassificationHead, ConvHead, Projection, SegmentationHead, Temperature
from omnisat_jax.ops.patches import resize
from tests import layers_in_numpy as reference
from tests.layers_in_numpy import gradient, random_params, run

B, P, D, K = 2, 4, 8, 3
HEAD = schema.HeadConfig(width=4, unimodal="none", dropout=0.5)
NAMES = ("a", "b", "c")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_projections_equal_numpy_and_have_unit_length():
    module, tokens = Projection(schema.ProjectionConfig(hidden=16, width=6), jnp.float32), draw(B, P, D)
    params = random_params(module, tokens)
    hidden = reference.gelu(reference.dense(reference.layer_norm(tokens, params["LayerNorm_0"]), params["Dense_0"]))
    expected = reference.dense(hidden, params["Dense_1"])
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(run(module, params, tokens), expected, rtol=1e-4, atol=1e-5)


def test_projections_are_float32_and_the_gradient_at_zero_is_finite():
    module, tokens = Projection(schema.ProjectionConfig(hidden=16, width=6), jnp.bfloat16), np.zeros((B, P, D), np.float32)
    params = jax.tree.map(np.zeros_like, random_params(module, tokens))
    assert run(module, params, tokens).dtype == jnp.float32
    slope = jax.grad(lambda p: module.apply({"params": p}, tokens).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_a_fixed_temperature_has_no_parameter():
    out, variables = Temperature(0.2, False).init_with_output(jax.random.key(0))
    assert float(out) == pytest.approx(0.2) and out.dtype == jnp.float32 and not variables


def test_a_learned_temperature_starts_as_given_and_stays_in_its_range():
    module = Temperature(0.2, True)
    out, variables = module.init_with_output(jax.random.key(0))
    assert float(out) == pytest.approx(0.2)
    at = jax.grad(lambda log: module.apply({"params": {"log": log}}))
    assert float(at(variables["params"]["log"])) == pytest.approx(0.2)  # d exp(x) / dx
    for log, end in ((-99.0, LEARNED_TEMPERATURE[0]), (99.0, LEARNED_TEMPERATURE[1])):
        assert float(module.apply({"params": {"log": jnp.float32(log)}})) == pytest.approx(end)


@pytest.mark.parametrize("norm", ["image", "affine"])
def test_the_head_of_utae(norm):
    module, features = ConvHead(4, K, "reflect", norm), draw(B, 5, 5, 6)
    params = random_params(module, features)
    hidden = reference.convolve(features, params["hidden"]["conv"]["kernel"], 1, 1, "reflect") + params["hidden"]["conv"]["bias"]
    p = params["hidden"]["norm"]
    hidden = reference.group_norm(hidden, 4, p) if norm == "image" else hidden * p["scale"] + p["bias"]
    last = params["logits"]["conv"] if norm == "affine" else params["logits"]
    expected = reference.convolve(np.maximum(hidden, 0), last["kernel"], 1, 1, "reflect") + last["bias"]
    if norm == "affine":
        expected = expected * params["logits"]["norm"]["scale"] + params["logits"]["norm"]["bias"]
    np.testing.assert_allclose(run(module, params, features), expected, rtol=1e-3, atol=1e-3)


MODULE = SegmentationHead(HEAD, K, 2, NAMES, "zeros", jnp.float32)
FUSED = draw(B, P, D)
FEATURES = {"a": draw(B, 4, 4, 5, seed=1), "b": None, "c": draw(B, 8, 8, 6, seed=2)}
PRESENT = np.array([[1, 1, 1], [0, 1, 1]], bool)
PARAMS = random_params(MODULE, FUSED, FEATURES, PRESENT, train=False)


def logits(features=FEATURES, present=PRESENT):
    return np.asarray(run(MODULE, PARAMS, FUSED, features, present, train=False))


def test_segmentation_averages_the_projected_maps_of_the_present():
    assert PARAMS.keys() == {"tokens", "dense_a", "dense_c", "head"}
    coarse = reference.dense(FUSED, PARAMS["tokens"]).reshape(B, 2, 2, 4).astype(np.float32)
    maps = [np.asarray(resize(reference.dense(FEATURES[name], PARAMS[f"dense_{name}"]), 4)) for name in ("a", "c")]
    seen = PRESENT[:, [0, 2]].astype(np.float32)
    mean = sum(s[:, None, None, None] * m for s, m in zip(seen.T, maps)) / seen.sum(1)[:, None, None, None]
    x = np.concatenate([np.asarray(resize(coarse, 4)), mean], -1)
    expected = run(ConvHead(4, K, "zeros"), PARAMS["head"], x)
    assert expected.shape == (B, 4, 4, K)
    np.testing.assert_allclose(logits(), expected, rtol=1e-3, atol=1e-3)


UNIMODAL, SUM = (SegmentationHead(dataclasses.replace(HEAD, unimodal=how), K, 2, NAMES, "zeros", jnp.float32) for how in ("mean", "sum"))


@pytest.mark.parametrize(("module", "divisor"), [(UNIMODAL, PRESENT[:, [0, 2]].sum(1)), (SUM, np.ones(B))])
def test_unimodal_logits_of_the_present_are_added(module, divisor):
    """Each is a linear layer of the normalized map; with them off, what is left is the head of the same normalized maps."""
    params = random_params(module, FUSED, FEATURES, PRESENT, train=False)
    normed = {name: reference.layer_norm(FEATURES[name], params[f"norms_{name}"]).astype(np.float32) for name in ("a", "c")} | {
        "b": None
    }
    alone = {name: np.asarray(resize(reference.dense(normed[name], params[f"alone_{name}"]), 4)) for name in ("a", "c")}
    found = module.apply({"params": params}, FEATURES, 4, method="unimodal")
    assert found.keys() == alone.keys()
    for name, expected in alone.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-4)
    rest = run(MODULE, {key: value for key, value in params.items() if key in PARAMS}, FUSED, normed, PRESENT, train=False)
    added = sum(PRESENT[:, index, None, None, None] * alone[name] for name, index in (("a", 0), ("c", 2)))
    total = rest + added / divisor[:, None, None, None]
    np.testing.assert_allclose(run(module, params, FUSED, FEATURES, PRESENT, train=False), total, rtol=1e-3, atol=1e-3)
    assert MODULE.apply({"params": PARAMS}, FEATURES, 4, method="unimodal") == {}


@pytest.mark.parametrize("module", [MODULE, UNIMODAL])
def test_absent_maps_may_hold_anything(module):
    params = random_params(module, FUSED, FEATURES, PRESENT, train=False)
    rotten = FEATURES | {"a": np.where(PRESENT[:, 0, None, None, None], FEATURES["a"], np.float32(np.nan))}
    before, after = (run(module, params, FUSED, given, PRESENT, train=False) for given in (FEATURES, rotten))
    np.testing.assert_allclose(after, before, atol=1e-5)

    def total(a):
        return (module.apply({"params": params}, FUSED, rotten | {"a": a}, PRESENT, train=False) ** 2).sum()

    slope = np.asarray(jax.jit(jax.grad(total))(FEATURES["a"]))
    assert not slope[1].any() and slope[0].any()


def test_without_a_present_map_the_tokens_are_left():
    out = logits(present=np.zeros((B, 3), bool))
    assert np.isfinite(out).all() and np.abs(out[0] - out[1]).max() > 1e-3


def test_without_any_dense_map_the_head_reads_the_tokens_alone():
    features = dict.fromkeys(NAMES)
    params = random_params(MODULE, FUSED, features, PRESENT, train=False)
    assert params.keys() == {"tokens", "head"} and params["head"]["hidden"]["conv"]["kernel"].shape[2] == HEAD.width
    assert run(MODULE, params, FUSED, features, PRESENT, train=False).shape == (B, 4, 4, K)


def test_classification_reads_the_mean_token():
    module = ClassificationHead(HEAD, K, jnp.float32)
    params = random_params(module, FUSED, train=False)
    expected = reference.dense(reference.layer_norm(FUSED.mean(1), params["LayerNorm_0"]), params["logits"])
    np.testing.assert_allclose(run(module, params, FUSED, train=False), expected, rtol=1e-4, atol=1e-4)
    slope = gradient(module, params, 0, FUSED, train=False)
    np.testing.assert_allclose(slope, np.broadcast_to(slope[:, :1], slope.shape), rtol=1e-5)  # every patch counts alike


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits_are_float32(dtype):
    for module, given in (
        (ClassificationHead(HEAD, K, dtype), (FUSED,)),
        (SegmentationHead(HEAD, K, 2, NAMES, "zeros", dtype), (FUSED, FEATURES, PRESENT)),
    ):
        made = jax.eval_shape(lambda m=module, g=given: m.init_with_output(jax.random.key(0), *g, train=False)[0])
        assert made.dtype == jnp.float32
