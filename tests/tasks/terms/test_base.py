"""The interface of the loss terms: keys of their draws, and defaults."""

import dataclasses

import jax
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.tasks.terms.base import Draws, Term, draw_key, grid_of
from tests.conftest import tiny


@pytest.mark.parametrize(("name", "number"), [("masked", 0), ("pixels", 1), ("shifts", 2), ("jitter", 3)])
def test_draws_are_those_of_earlier_versions(name, number):
    key = jax.random.key(7)
    assert draw_key(key, name) == jax.random.fold_in(key, number)


def test_every_name_has_a_key_of_its_own():
    key = jax.random.key(7)
    names = ("masked", "pixels", "shifts", "jitter", "noise", "noise2")
    assert len({tuple(jax.random.key_data(draw_key(key, name)).tolist()) for name in names}) == len(names)


def test_a_term_takes_the_block_of_its_name_and_draws_nothing():
    class Mine(Term):
        name = "reconstruction"

    config = schema.parse(tiny())
    term = Mine.from_config(config, config.modalities)
    assert term.config is config.reconstruction and term.weight == 0 and not term.enabled and term.needs_fused
    assert dataclasses.replace(term, config=dataclasses.replace(term.config, weight=0.5)).enabled
    assert term.draw(jax.random.key(0), {}, train=True) == Draws() and term.metrics(None, None) == {}


def test_the_grid_is_that_of_the_sensors():
    specs = schema.parse(tiny("satclip")).modalities
    batch = {spec.name: {"values": np.zeros((2, 24, 4 * spec.patch, 4 * spec.patch, 1))} for spec in specs if spec.kind != "location"}
    batch["location"] = {"values": np.zeros((2, 2))}
    assert grid_of(specs, batch) == 4
