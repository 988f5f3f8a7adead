"""Masked reconstruction: what is drawn, which targets and tokens count, and what is held in memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.batch import normalise
from omnisat_jax.config import schema
from omnisat_jax.losses.reconstruction import image_error, series_error
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.pretrainable import Decoded
from omnisat_jax.tasks.terms.base import Draws, Step
from omnisat_jax.tasks.terms.reconstruction import Reconstruction

B, T, N, SIDE = 2, 6, 2, 4
SPECS = (
    ModalitySpec("s2", "series", 3, 10.0, 2, "utae", 0, 0),
    ModalitySpec("spot", "image", 2, 10.0, 2, "resnet", 0, 0),
)
PATCHES = (SIDE // 2) ** 2
STATISTICS = {"s2": {"mean": [100.0, 0.0, 5.0], "std": [10.0, 20.0, 3.0]}, "spot": {"mean": [3.0, 4.0], "std": [2.0, 5.0]}}
TERM = Reconstruction(schema.ReconstructionConfig(weight=1.0, mask_ratio=0.5, date_share=0.25), SPECS)


def batch(dates=T, side=SIDE):
    rng = np.random.default_rng(0)
    series = {
        "values": rng.integers(-300, 300, (B, dates, side, side, 3)).astype(np.int16),
        "dates": np.tile(np.arange(dates, dtype=np.int32), (B, 1)),
        "valid": rng.random((B, dates)) < 0.8,
        "present": np.ones(B, bool),
    }
    image = {"values": rng.integers(0, 255, (B, side, side, 2)).astype(np.uint8), "present": np.ones(B, bool)}
    return {"s2": series, "spot": image, "weight": np.ones(B, np.float32)}


def decoded(tiles, chosen):
    rng = np.random.default_rng(1)
    valid = np.take_along_axis(tiles["s2"]["valid"], chosen, axis=1)
    patches = (tiles["spot"]["values"].shape[1] // 2) ** 2
    series = Decoded(jnp.asarray(rng.normal(size=(B, chosen.shape[1], patches, 12)), jnp.float32), jnp.asarray(chosen), jnp.asarray(valid))
    return {"s2": series, "spot": Decoded(jnp.asarray(rng.normal(size=(B, patches, 8)), jnp.float32))}


def step(tiles, masked, visible):
    draws = Draws(per_tile={"masked": jnp.asarray(masked)})
    present = jnp.ones((B, 2), bool)
    return Step(batch=tiles, statistics=STATISTICS, present=present, visible=jnp.asarray(visible), draws=draws, train=True)


def test_the_same_share_of_every_tile_is_masked():
    masked = TERM.draw(jax.random.key(0), batch(), train=True).per_tile["masked"]
    assert masked.shape == (B, 2, PATCHES) and (masked.sum((1, 2)) == PATCHES).all()


def test_the_loss_is_the_error_of_hidden_tokens_against_the_normalised_measurements():
    tiles, chosen = batch(), np.array([[4, 1], [0, 5]])
    read = decoded(tiles, chosen)
    masked, visible = np.zeros((B, 2, PATCHES), bool), np.ones((B, 2), bool)
    masked[0, 0, 1] = True
    visible[1, 1] = False
    found, metrics = TERM.loss(read, step(tiles, masked, visible))
    values = {name: entry["values"] for name, entry in normalise(tiles, STATISTICS, ("s2", "spot")).items()}
    frames = jnp.take_along_axis(values["s2"], chosen[:, :, None, None, None], axis=1)
    series = series_error(read["s2"].values, frames, read["s2"].valid, 2)
    image = image_error(read["spot"].values, values["spot"], 2)
    np.testing.assert_allclose(found, (series[0, 1] + image[1].mean()) / 2, rtol=1e-6)
    assert metrics == {}
    assert TERM.loss(read, step(tiles, np.zeros_like(masked), np.ones_like(visible)))[0] == 0


def test_the_batch_is_never_held_as_float32():
    tiles, chosen = batch(dates=64, side=32), np.array([[4, 1], [0, 5]])
    read = decoded(tiles, chosen)
    masked = np.ones((B, 2, 256), bool)

    def loss(values, tiles):
        entries = {name: read[name]._replace(values=value) for name, value in values.items()}
        return TERM.loss(entries, step(tiles, masked, np.ones((B, 2), bool)))[0]

    values = {name: entry.values for name, entry in read.items()}
    compiled = jax.jit(jax.value_and_grad(loss)).lower(values, tiles).compile()
    series_as_float32 = 4 * tiles["s2"]["values"].size
    assert compiled.memory_analysis().temp_size_in_bytes < series_as_float32 / 4


def test_it_is_computed_only_with_a_weight():
    assert TERM.enabled and not dataclasses.replace(TERM, config=dataclasses.replace(TERM.config, weight=0.0)).enabled
