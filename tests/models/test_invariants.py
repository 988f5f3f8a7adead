"""Absent data are invisible: whether missing, masked or garbage, padded or permuted, the output is the same (1e-5)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax import batch as batches
from omnisat_jax.config import schema
from omnisat_jax.models.encoders.registry import make_encoder
from omnisat_jax.models.registry import make_model
from tests.conftest import tiny

T, B = 5, 2
SERIES = ("s2", "s1a", "s1d")


@functools.cache
def world():
    """A tiny model of all encoders, parameters with every norm and bias off its initial value, and a batch."""
    changes = {"modalities.s1a.encoder": "utae", "modalities.s1d.encoder": "patch_ltae", "modalities.spot.encoder": "resnet"}
    settings = schema.parse(tiny(**changes))
    model = make_model(settings.modalities, settings, 5, 4, jnp.float32)
    keys = iter(jax.random.split(jax.random.key(0), 20))
    batch = {"spot": {"values": jax.random.normal(next(keys), (B, 80, 80, 3)), "present": jnp.ones(B, bool)}}
    for spec in settings.modalities:
        if spec.kind == "series":
            batch[spec.name] = {
                "values": jax.random.normal(next(keys), (B, T, 8, 8, spec.channels)),
                "dates": jnp.sort(jax.random.randint(next(keys), (B, T), -50, 400)),
                "valid": jnp.ones((B, T), bool).at[1, 3].set(False),
                "present": jnp.ones(B, bool),
            }
    statistics = {s.name: {"mean": np.full(s.channels, 0.1), "std": np.full(s.channels, 1.3)} for s in settings.modalities}
    inputs = batches.normalise(batch, statistics, model.names)
    params = jax.jit(functools.partial(model.init, train=False))(next(keys), inputs, jnp.ones((B, 4), bool))["params"]
    noise = np.random.default_rng(0)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.1 * noise.standard_normal(x.shape, np.float32), params)

    @jax.jit
    def run(batch):
        inputs = batches.normalise(batch, statistics, model.names)
        return model.apply({"params": params}, inputs, batches.presence(batch, model.names), train=False)

    return settings, model, batch, run


def edit(batch, name, **changes):
    return batch | {name: batch[name] | changes}


@pytest.mark.parametrize("name", ["s2", "s1a", "s1d", "spot"])
@pytest.mark.parametrize("garbage", [1e6, np.nan, np.inf])
def test_an_absent_modality_may_hold_anything(name, garbage):
    _, _, batch, run = world()
    absent = edit(batch, name, present=jnp.asarray([True, False]))
    rotten = edit(absent, name, values=absent[name]["values"].at[1].set(garbage))
    np.testing.assert_allclose(run(absent), run(rotten), atol=1e-5)
    assert np.abs(run(absent)[1] - run(batch)[1]).max() > 1e-3  # the modality is used when it is there
    np.testing.assert_allclose(run(absent)[0], run(batch)[0], atol=1e-5)  # and its neighbor in the batch does not notice


@pytest.mark.parametrize("name", SERIES)
def test_masked_dates_and_no_data_are_invisible(name):
    _, _, batch, run = world()
    entry = batch[name]
    rotten = edit(batch, name, values=entry["values"].at[1, 3].set(jnp.nan), dates=entry["dates"].at[1, 3].set(9999))
    np.testing.assert_allclose(run(batch), run(rotten), atol=1e-5)


@pytest.mark.parametrize("name", SERIES)
def test_absent_equals_all_dates_masked(name):
    _, _, batch, run = world()
    absent = edit(batch, name, present=jnp.asarray([False, True]))
    masked = edit(absent, name, valid=absent[name]["valid"].at[0].set(False))
    np.testing.assert_allclose(run(absent), run(masked), atol=1e-5)


@pytest.mark.parametrize("name", SERIES)
def test_order_of_dates_changes_nothing(name):
    _, _, batch, run = world()
    order = np.array([3, 0, 4, 1, 2])
    shuffled = edit(batch, name, **{key: batch[name][key][:, order] for key in ("values", "dates", "valid")})
    np.testing.assert_allclose(run(batch), run(shuffled), atol=1e-5)


@pytest.mark.parametrize("encoder", ["utae", "patch_ltae"])
def test_padding_changes_nothing(encoder):
    settings, _, batch, _ = world()
    spec = next(s for s in settings.modalities if s.name == ("s1a" if encoder == "utae" else "s1d"))
    module = make_encoder(spec, settings.model, jnp.float32)
    entry = batch[spec.name]
    arguments = (entry["values"], entry["dates"], jnp.ones((B, T), bool))
    variables = jax.jit(functools.partial(module.init, train=False))(jax.random.key(1), *arguments)
    apply = jax.jit(functools.partial(module.apply, train=False))
    padded = tuple(jnp.concatenate([a, jnp.zeros((B, 3, *a.shape[2:]), a.dtype)], 1) for a in arguments)
    padded = (padded[0].at[:, T:].set(55.0), padded[1], padded[2])
    plain, more = apply(variables, *arguments), apply(variables, *padded)
    np.testing.assert_allclose(plain.attention, more.attention[:, :T], atol=1e-6)
    assert not np.any(more.attention[:, T:])
    for a, b in zip(plain[:2], more[:2]):
        if a is not None:
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("encoder", ["utae", "patch_ltae"])
def test_encoders_ignore_what_stands_on_invalid_dates(encoder):
    settings, _, batch, _ = world()
    spec = next(s for s in settings.modalities if s.name == ("s1a" if encoder == "utae" else "s1d"))
    module, entry = make_encoder(spec, settings.model, jnp.float32), batch[spec.name]
    arguments = (entry["values"], entry["dates"], entry["valid"])
    variables = jax.jit(functools.partial(module.init, train=False))(jax.random.key(1), *arguments)
    apply = jax.jit(functools.partial(module.apply, train=False))
    rotten = (entry["values"].at[1, 3].set(jnp.nan), entry["dates"].at[1, 3].set(9999), entry["valid"])
    for a, b in zip(jax.tree.leaves(apply(variables, *arguments)), jax.tree.leaves(apply(variables, *rotten)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    never = apply(variables, jnp.full_like(rotten[0], jnp.nan), rotten[1], jnp.zeros((B, T), bool))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(never))


def test_nothing_present_is_defined_and_constant():
    _, _, batch, run = world()
    for name in batch:
        batch = edit(batch, name, present=jnp.zeros(B, bool))
    out = run(batch)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[0], out[1], atol=1e-6)
