"""The registry of the loss terms."""

import dataclasses

from omnisat_jax.config import schema
from omnisat_jax.tasks.terms.registry import TERMS, make_terms
from tests.conftest import tiny


def test_every_term_has_its_block_of_configuration():
    blocks = {field.name: field.type for field in dataclasses.fields(schema.ExperimentConfig)}
    for name, kind in TERMS.items():
        assert kind.name == name and "weight" in {field.name for field in dataclasses.fields(blocks[name])}


def test_terms_with_weight_0_are_left_out_but_the_contrastive_one():
    for weights, expected in (((1.0, 0.0), ["contrastive"]), ((0.0, 2.0), ["contrastive", "reconstruction"])):
        changes = {"contrastive.weight": weights[0], "reconstruction.weight": weights[1]}
        config = schema.parse(tiny(**changes))
        assert [term.name for term in make_terms(config, config.modalities)] == expected
