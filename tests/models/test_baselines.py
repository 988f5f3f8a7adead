"""Early, late and dual fusion: what each sees of its series."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.models.baselines import UTAESegmenter
from omnisat_jax.ops.dates import interpolation_weights
from tests.conftest import tiny
from tests.layers_in_numpy import random_params, run
from tests.models.worlds import B, K, T, call, everything, inputs_of, make, world

MODEL = schema.parse(tiny()).model


def logits(preset, inputs=None, present=None):
    model, params, given = world(preset)
    present = everything(model) if present is None else present
    return np.asarray(call(model, params, "__call__", given if inputs is None else inputs, present))


def test_the_reference_of_early_fusion_is_the_series_of_most_bands():
    model, _ = make("early")
    assert model.reference == "s2" and {spec.name: spec.channels for spec in model.specs} == {"s2": 10, "s1a": 3, "s1d": 3}


def test_early_fusion_is_one_network_on_interpolated_bands():
    model, params, inputs = world("early")
    assert params.keys() == {"network", "head"}
    bands = []
    for name in model.names:
        entry = inputs[name]
        weights = interpolation_weights(entry["dates"], entry["valid"], inputs["s2"]["dates"])
        bands.append(entry["values"] if name == "s2" else jnp.einsum("bst,bthwc->bshwc", weights, entry["values"]))
    stacked = {"values": jnp.concatenate(bands, -1), "dates": inputs["s2"]["dates"], "valid": inputs["s2"]["valid"]}
    segmenter = UTAESegmenter(model.config.utae, model.config.ltae, model.config.head.width, K, model.config.norm)
    expected = run(segmenter, params, stacked["values"], stacked["dates"], stacked["valid"])
    np.testing.assert_allclose(logits("early"), expected, rtol=2e-3, atol=2e-3)


def test_early_fusion_without_its_reference_sees_nothing():
    model, _, inputs = world("early")
    present = everything(model).at[:, model.names.index("s2")].set(False)
    other = inputs | {"s1a": inputs["s1a"] | {"values": inputs["s1a"]["values"] + 1}}
    np.testing.assert_allclose(logits("early", present=present), logits("early", other, present), atol=1e-5)


@pytest.mark.parametrize("preset", ["late", "dual"])
def test_absent_series_leave_zeros_and_the_others(preset):
    model, params, inputs = world(preset)
    assert params.keys() == {"head", *({"decoder"} if preset == "dual" else ()), *(f"{'networks' if preset == 'late' else 'streams'}_{n}" for n in model.names)}
    present = everything(model).at[0, 1].set(False)
    name = model.names[1]
    rotten = inputs | {name: inputs[name] | {"values": inputs[name]["values"].at[0].set(jnp.nan)}}
    out = logits(preset, rotten, present)
    assert out.shape == (B, 8, 8, K) and np.isfinite(out).all()
    np.testing.assert_allclose(out, logits(preset, present=present), atol=1e-5)
    np.testing.assert_allclose(out[1], logits(preset)[1], atol=1e-5)
    assert np.abs(out[0] - logits(preset)[0]).max() > 1e-3


@pytest.mark.parametrize("preset", ["early", "late", "dual"])
def test_tiles_that_cannot_be_halved_and_labels_of_tiles(preset):
    model, _ = make(preset, **{"model.utae.encoder_widths": (4, 4, 4), "model.utae.decoder_widths": (4, 4, 4)})
    inputs = inputs_of(model.specs, patches=3)  # 12 px: not a multiple of eight

    def shape(model):
        return jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), inputs, everything(model), train=False)[0]).shape

    assert shape(model) == (B, 12, 12, K)
    assert shape(model.copy(task="classify", label_patch=0)) == (B, K)


def test_one_series_alone_is_utae_in_all_of_them():
    changes = {"modalities.s2.encoder": "utae"}
    late, _ = make("utae", **changes)
    for kind in ("early", "dual"):
        model, _ = make("utae", **changes | {"model.architecture": kind})
        sizes = [
            sum(leaf.size for leaf in jax.tree.leaves(random_params(m, inputs_of(m.specs), everything(m), train=False)))
            for m in (late, model)
        ]
        assert sizes[0] == sizes[1]


@pytest.mark.parametrize("faithful", [False, True])
def test_a_segmenter_of_the_original_has_no_negative_logits(faithful):
    rng = np.random.default_rng(0)
    given = rng.normal(size=(B, T, 8, 8, 4)).astype(np.float32), np.ones((B, T), np.int32), np.ones((B, T), bool)
    module = UTAESegmenter(MODEL.utae, MODEL.ltae, 8, K, faithful=faithful)
    params = random_params(module, *given)
    out, attention = run(module, params, *given, return_attention=True)
    assert (out.min() >= 0) == faithful
    assert attention.shape == (MODEL.ltae.heads, B, T, 4, 4)
    np.testing.assert_allclose(np.asarray(attention).sum(2), 1, atol=1e-5)
