"""Absence is invisibility: missing, masked or garbage, padded or permuted, the answer is the same (1e-5)."""

import dataclasses
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


def shapes(module, *arguments):
    """What the module returns, without running it."""
    return jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), *arguments, train=False)[0])


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
    np.testing.assert_allclose(run(absent)[0], run(batch)[0], atol=1e-5)  # and its neighbour in the batch does not notice


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


UNKNOWN = {"int16": np.int16(-(2**15)), "float32": np.float32(-3.4e38), "float16": np.float16(np.inf)}


@pytest.mark.parametrize("dtype", UNKNOWN)
def test_fill_values_are_unknown(dtype):
    """Magnitudes that no measurement has are no measurement; a date or a modality of nothing else is not there."""
    values = np.arange(1, 97, dtype=dtype).reshape(2, 3, 4, 4, 1)
    values[0, 0, 0, 0] = values[0, 1] = values[1] = UNKNOWN[dtype]
    entry = {"values": values, "dates": np.full((2, 3), 7, np.int32), "valid": np.ones((2, 3), bool), "present": np.ones(2, bool)}
    batch = {"s1": jax.tree.map(jnp.asarray, entry)}
    out = batches.normalise(batch, {"s1": {"mean": [1.0], "std": [2.0]}}, ["s1"])["s1"]
    assert out["valid"].tolist() == [[True, False, True], [False] * 3] and out["present"].tolist() == [True, False]
    assert out["dates"].tolist() == [[7, 0, 7], [0] * 3]
    expected = np.where(values == UNKNOWN[dtype], 0, (values.astype(np.float32) - 1) / 2)
    np.testing.assert_array_equal(out["values"], expected)
    assert batches.presence(batch, ["s1"]).tolist() == [[True], [False]]


def test_half_a_place_is_none():
    place = {"values": jnp.asarray([[7.0, 51.0], [7.0, jnp.nan]]), "present": jnp.ones(2, bool)}
    out = batches.normalise({"location": place}, {"location": None}, ["location"])["location"]
    assert out["present"].tolist() == [True, False] and out["values"].tolist() == [[7.0, 51.0], [0.0, 0.0]]


def test_nothing_present_is_defined_and_constant():
    _, _, batch, run = world()
    for name in batch:
        batch = edit(batch, name, present=jnp.zeros(B, bool))
    out = run(batch)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[0], out[1], atol=1e-6)


@pytest.mark.parametrize(("encoder", "stem"), [("vit", "linear"), ("vit", "conv"), ("patch_cnn", "linear"), ("resnet", "linear")])
def test_image_encoders_give_the_patch_grid(encoder, stem):
    settings = schema.parse(tiny(**{"modalities.spot.encoder": encoder, "model.vit.stem": stem}))
    spec = next(s for s in settings.modalities if s.name == "spot")
    module = make_encoder(spec, settings.model, jnp.float32)
    assert shapes(module, jnp.ones((1, 80, 80, 3))).tokens.shape == (1, 4, 16)


def test_utae_takes_sides_it_cannot_halve():
    settings = schema.parse(tiny(**{"model.utae.encoder_widths": (8, 8, 8), "model.utae.decoder_widths": (8, 8, 8)}))
    spec = next(s for s in settings.modalities if s.name == "s2")
    module = make_encoder(dataclasses.replace(spec, encoder="utae", patch=5), settings.model, jnp.float32)
    arguments = (jnp.ones((1, 2, 10, 10, 10)), jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2), bool))
    out = shapes(module, *arguments)
    assert out.tokens.shape == (1, 4, 16) and out.features.shape == (1, 10, 10, 8) and out.attention.shape == (1, 2, 3, 3)


def test_default_utae_has_the_published_size():
    """1,087,260 in the original; norms in another place and tokens instead of a class head make the difference small."""
    from configs import pastis
    from omnisat_jax.models.encoders.utae import UTAE

    model = schema.parse(pastis.get_config("hd")).model
    module = UTAE(model.utae, model.ltae, model.width, 4)
    shapes = jax.eval_shape(
        lambda: module.init(
            jax.random.key(0), jnp.ones((1, 2, 32, 32, 10)), jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2), bool), train=False
        )
    )
    token = 4 * 4 * 32 * 256 + 256
    count = sum(np.prod(x.shape) for x in jax.tree.leaves(shapes)) - token
    assert abs(count - 1_087_260) / 1_087_260 < 0.03, count
