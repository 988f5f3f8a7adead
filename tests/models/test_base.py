"""The interface of models: encoding once serves every subset, and what is absent is decided here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.models.base import MultimodalModel
from tests.models.worlds import B, call, everything, make, world

SUBSETS = [[True, False, True, True], [False, True, False, False]]


@pytest.fixture(scope="module")
def small():
    return world("demo", **{f"modalities.{name}.encoder": "patch_ltae" for name in ("s2", "s1a", "s1d")}, **{"modalities.spot.encoder": "patch_cnn"})


def test_names_are_in_the_order_of_the_modalities(small):
    model = small[0]
    assert model.names == tuple(spec.name for spec in model.specs) and len(set(model.names)) == 4


def test_one_encoding_serves_every_subset(small):
    model, params, inputs = small
    encoded = call(model, params, "encode", inputs)
    for subset in SUBSETS:
        present = jnp.asarray([subset] * B)
        np.testing.assert_allclose(
            call(model, params, "predict", encoded, present), call(model, params, "__call__", inputs, present), rtol=1e-3, atol=1e-3
        )


def test_what_is_not_there_cannot_be_made_present(small):
    model, params, inputs = small
    absent = inputs | {"s2": inputs["s2"] | {"present": jnp.asarray([True, False])}}
    encoded = call(model, params, "encode", absent)
    index = model.names.index("s2")
    assert encoded.there.tolist() == [[True] * 4, [name != "s2" for name in model.names]]
    a, b = (call(model, params, "tokens", encoded, present) for present in (everything(model), everything(model).at[1, index].set(False)))
    assert a.shape == (B, 4, model.config.width)
    np.testing.assert_array_equal(a, b)


def test_attention_is_exposed_for_series(small):
    model, params, inputs = small
    encoded = call(model, params, "encode", inputs)
    found = model.apply({"params": params}, encoded, method="attention")
    assert found.keys() == {"s2", "s1a", "s1d"}
    for weights in found.values():
        np.testing.assert_allclose(np.asarray(weights).sum(1), 1, atol=1e-5)


def test_a_subclass_must_say_how_it_encodes_and_predicts():
    model, inputs = make("demo")
    bare = MultimodalModel(model.specs, model.config, model.contrastive, "segment", 5, 4)
    with pytest.raises(NotImplementedError):
        jax.eval_shape(lambda: bare.init(jax.random.key(0), inputs, everything(model), train=False))
    assert bare.attention_of(None) == {}
