"""Measurements as other light, another calibration or an earlier spring might have given them.

Tiles can be told apart by how bright they are and by the exact day of green-up, which sensors share and few labels need. All patches of a
tile are treated alike, so differences inside a tile stay.
Letters: B batch, T dates, C channels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Jitter(NamedTuple):
    """What is done to one modality of each tile: gain (B,C) and offset (B,C) float32, and days (B,) int32 that a series is moved by."""

    gain: jax.Array
    offset: jax.Array
    days: jax.Array


def draw_jitter(key, inputs, *, bands: float, days: float) -> dict[str, Jitter]:
    """{modality: Jitter}, independent for every tile, modality and band.

    Args:
      key: random key.
      inputs: normalised modalities; one without bands (a location) gets none.
      bands: standard deviation of the offset, in those of the training data, and of the logarithm of the gain.
      days: standard deviation of the days.
    """
    drawn = {}
    for index, (name, entry) in enumerate(sorted(inputs.items())):
        b, *between, c = entry["values"].shape
        if not between:
            continue
        of_gain, of_offset, of_days = jax.random.split(jax.random.fold_in(key, index), 3)
        drawn[name] = Jitter(
            jnp.exp(bands * jax.random.normal(of_gain, (b, c))),
            bands * jax.random.normal(of_offset, (b, c)),
            jnp.round(days * jax.random.normal(of_days, (b,))).astype(jnp.int32),
        )
    return drawn


def jittered(inputs, drawn: dict[str, Jitter]):
    """The inputs with `drawn` applied; what is unknown (0 after normalisation) and dates that are padding stay as they are."""
    out = dict(inputs)
    for name, jitter in drawn.items():
        entry, values = inputs[name], inputs[name]["values"]
        shape = (values.shape[0], *[1] * (values.ndim - 2), values.shape[-1])
        moved = values * jitter.gain.reshape(shape) + jitter.offset.reshape(shape)
        # What was unknown still is, so the form of the entry stays what it is.
        out[name] = type(entry)(entry | {"values": jnp.where(values == 0, values, moved)})
        if "dates" in entry:
            out[name]["dates"] = jnp.where(entry["valid"], entry["dates"] + jitter.days[:, None], entry["dates"])
    return out
