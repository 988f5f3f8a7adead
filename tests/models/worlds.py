"""Tiny models of one configuration, with random parameters and a batch: for the tests of whole models."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.models.registry import make_model
from tests.conftest import tiny
from tests.layers_in_numpy import random_params

B, T, K = 2, 3, 5


def make(preset, **changes):
    """(model, inputs) of a tiny configuration; every modality is present with every date valid."""
    config = schema.parse(tiny(preset, **changes))
    model = make_model(config.modalities, config, K, 4 if config.task == "segment" else 0, jnp.float32)
    return model, inputs_of(model.specs)


def inputs_of(specs, patches=2, seed=0):
    """Normalized inputs of tiles of patches x patches patches."""
    rng = np.random.default_rng(seed)
    inputs = {}
    for spec in specs:
        side = patches * spec.patch
        shape = {"series": (B, T, side, side, spec.channels), "image": (B, side, side, spec.channels), "location": (B, 2)}
        inputs[spec.name] = {"values": rng.normal(size=shape[spec.kind]).astype(np.float32), "present": np.ones(B, bool)}
        if spec.kind == "series":
            inputs[spec.name] |= {"dates": rng.integers(0, 400, (B, T)).astype(np.int32), "valid": np.ones((B, T), bool)}
    return jax.tree.map(jnp.asarray, inputs)


def everything(model):
    """Presence of all modalities."""
    return jnp.ones((B, len(model.specs)), bool)


@functools.cache
def world(preset, **changes):
    """(model, parameters, inputs) for prediction."""
    model, inputs = make(preset, **changes)
    return model, random_params(model, inputs, everything(model), train=False), inputs


def call(model, params, method, *arguments):
    """model.method(*arguments, train=False), compiled once for each form of the arguments."""
    return _compiled(model, method)(params, *arguments)


@functools.cache
def _compiled(model, method):
    return jax.jit(lambda params, *given: model.apply({"params": params}, *given, train=False, method=method))
