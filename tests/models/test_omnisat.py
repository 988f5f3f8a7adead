import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.omnisat import encode_each
from tests.models.worlds import B, K, everything, make


class Recorder:
    """An encoder that notes what it is given and returns a fixed number of tokens."""

    def __init__(self, tokens):
        self.tokens, self.given = tokens, None

    def __call__(self, *given, train):
        self.given = (*given, train)
        return Encoding(jnp.ones((B, self.tokens, 3)))


def encoded(counts, inputs=None):
    model, made = make("satclip")
    encoders = {spec.name: Recorder(counts.get(spec.name, 4)) for spec in model.specs}
    return encode_each(model.specs, encoders, inputs or made, train=True), encoders, made


def test_encoders_get_what_their_kind_reads():
    _, encoders, inputs = encoded({"location": 1})
    assert encoders["s2"].given == (inputs["s2"]["values"], inputs["s2"]["dates"], inputs["s2"]["valid"], True)
    for name in ("spot", "location"):
        assert encoders[name].given == (inputs[name]["values"], True)


def test_the_token_of_a_location_is_repeated_for_every_patch():
    out, _, _ = encoded({"location": 1})
    assert {name: one.tokens.shape for name, one in out.items()} == dict.fromkeys(out, (B, 4, 3))


def test_modalities_on_different_grids_are_refused():
    with pytest.raises(UserError, match="must cover the same patches, found tokens per tile: .*'s2': 9"):
        encoded({"s2": 9, "location": 1})


def shapes(model, inputs, method="__call__", **keywords):
    present = everything(model)
    return jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), inputs, present, train=False, method=method, **keywords))


def test_segmentation_and_its_parameters():
    model, inputs = make("demo")
    logits, variables = shapes(model, inputs)
    assert logits.shape == (B, 8, 8, K) and logits.dtype == jnp.float32
    assert variables["params"].keys() == {*(f"encoders_{name}" for name in model.names), "fusion", "head"}


def test_labels_of_tiles():
    model, inputs = make("tile_f1")
    assert shapes(model, inputs)[0].shape == (B, K)


def test_computation_in_bfloat16_keeps_parameters_and_logits_in_float32():
    model, inputs = make("demo")
    logits, variables = shapes(model.copy(dtype=jnp.bfloat16), inputs)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
