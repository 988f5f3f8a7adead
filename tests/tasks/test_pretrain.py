"""Pre-training as a composition of terms, with a model whose outputs are known. Real models are trained in tests/train and tests/experiment."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.batch import presence
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.pretrainable import PretrainOutputs
from omnisat_jax.ops.random import Streams
from omnisat_jax.tasks.pretrain import MeanScores, Pretrain
from omnisat_jax.tasks.terms.base import Draws, Term, draw_key

B = 4
SPECS = (ModalitySpec("a", "image", 1, 1.0, 2, "resnet", 0, 0), ModalitySpec("b", "image", 1, 1.0, 2, "resnet", 0, 0))
NAMES = tuple(spec.name for spec in SPECS)
STATISTICS = {name: {"mean": [1.0], "std": [2.0]} for name in NAMES}
WEIGHT = dataclasses.make_dataclass("Weight", [("weight", float)], frozen=True)


class Model:
    """Fuses by adding up the means of the visible modalities, times a parameter."""

    specs, names = SPECS, NAMES

    def __init__(self, scale=None):
        self.scale, self.fuse = scale, None

    def init(self, key, *arguments, method):
        method(Model(jnp.float32(1)), *arguments)
        return {"params": {"scale": jnp.float32(3)}}

    def apply(self, variables, *arguments, method, rngs):
        return method(Model(variables["params"]["scale"]), *arguments)

    def embed(self, inputs, visible, draws, *, fuse, train):
        self.fuse = fuse
        means = jnp.stack([inputs[name]["values"].mean((1, 2, 3)) for name in NAMES], 1)
        return PretrainOutputs(inputs=inputs, encoded={}, fused=self.scale * (means * visible).sum(1))


@dataclasses.dataclass(frozen=True)
class Fused(Term):
    """Mean of the fused values of present tiles plus noise per tile; reports a detail."""

    name: ClassVar[str] = "fused"

    def draw(self, key, batch, *, train):
        return Draws(per_tile={f"{self.name}_noise": jax.random.normal(draw_key(key, self.name), (B,))} if train else {})

    def read(self, model, outputs, draws):
        assert model.fuse is True
        return outputs.fused + draws.per_tile.get(f"{self.name}_noise", 0)

    def loss(self, read, step):
        return (read * step.present.any(1)).sum() / B, {f"{self.name}_detail": jnp.float32(step.train)}

    def metrics(self, read, step):
        return {f"{self.name}_spread": read.std()}


class Other(Fused):
    name = "other"


def batch():
    rng = np.random.default_rng(0)
    entries = {name: {"values": rng.normal(size=(B, 4, 4, 1)).astype(np.float32), "present": np.ones(B, bool)} for name in NAMES}
    return entries | {"weight": np.array([1, 1, 1, 0], np.float32)}


def task(*weights, **changes):
    terms = tuple(kind(WEIGHT(weight), SPECS) for kind, weight in zip((Fused, Other), weights))
    return Pretrain(Model(), STATISTICS, terms, **({"modality_dropout": 0.0} | changes))


PARAMS, STREAMS = {"scale": jnp.float32(3)}, Streams(jax.random.key(0), jnp.int32(5))


def test_the_loss_is_the_weighted_sum_of_its_terms():
    loss, metrics = task(2.0, 0.5).loss(PARAMS, batch(), STREAMS)
    assert set(metrics) == {"fused", "fused_detail", "other", "other_detail"} and metrics["fused_detail"] == 1
    np.testing.assert_allclose(loss, 2 * metrics["fused"] + 0.5 * metrics["other"], rtol=1e-6)
    assert metrics["fused"] != metrics["other"]  # each has draws of its own
    noise = jax.random.normal(draw_key(STREAMS("draws"), "fused"), (B,))
    values = sum((batch()[name]["values"].mean((1, 2, 3)) - 1) / 2 for name in NAMES)
    np.testing.assert_allclose(metrics["fused"], (3 * values + noise)[:3].sum() / B, rtol=1e-5)


def test_microbatches_change_nothing():
    for dropout in (0.0, 0.5):
        one, two = (task(1.0, num_microbatches=count, modality_dropout=dropout) for count in (1, 2))
        results = [jax.value_and_grad(lambda p, t=t: t.loss(p, batch(), STREAMS)[0])(PARAMS) for t in (one, two)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *results)


def test_modality_dropout_hides_modalities_from_fusion_only():
    dropped, whole = task(1.0, modality_dropout=0.9), task(1.0)
    assert abs(dropped.loss(PARAMS, batch(), STREAMS)[0] - whole.loss(PARAMS, batch(), STREAMS)[0]) > 1e-3


def test_evaluation_draws_no_noise_and_reports_more():
    found = task(2.0).evaluate(PARAMS, batch(), None)
    assert set(found) == {"fused", "fused_detail", "fused_spread", "loss", "weight"}
    assert found["weight"] == 3 and found["fused_detail"] == 0 and found["loss"] == 2 * found["fused"]
    assert found == task(2.0).evaluate(PARAMS, batch(), None)


def test_parameters_are_made_by_reading_every_term():
    assert task(1.0).init(jax.random.key(0), batch()) == {"scale": 3}


def test_terms_must_not_share_the_name_of_a_draw():
    terms = (Fused(WEIGHT(1.0), SPECS),) * 2
    with pytest.raises(ValueError, match="two loss terms have a draw of the same name: fused_noise"):
        Pretrain(Model(), STATISTICS, terms, 0.0).loss(PARAMS, batch(), STREAMS)


def test_padding_tiles_have_no_modality():
    step = task(1.0)._step(jax.random.key(0), batch(), train=False)
    np.testing.assert_array_equal(step.present, np.array(presence(batch(), NAMES)) & (batch()["weight"] > 0)[:, None])


def test_means_are_weighted_by_tiles():
    scores = MeanScores()
    scores.add({"loss": 1.0, "weight": 3.0})
    scores.add({"loss": 5.0, "weight": 1.0})
    assert scores.compute() == [{"loss": 2.0}]
