"""Augmentation of values and dates: how the measurements might have been in another light, with another calibration, or in an earlier spring.

Without it, tiles can be recognized by their brightness and by the exact day of green-up, which all sensors see and few labels depend on.
All patches of a tile are changed alike, so differences inside a tile stay.

Letters: B batch, T dates, C channels.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from omnisat_jax.types import Batch


class Jitter(NamedTuple):
    """The change of one modality of each tile.

    Attributes:
      gain: (B,C) float32, factor of each band.
      offset: (B,C) float32, added to each band.
      days: (B,) int32, added to all dates of a series.
    """

    gain: jax.Array
    offset: jax.Array
    days: jax.Array


def draw_jitter(key: jax.Array, inputs: Batch, *, bands: float, days: float) -> dict[str, Jitter]:
    """Draws {modality: Jitter}, independently for every tile, modality and band.

    Args:
      key: random key.
      inputs: normalized modalities; one without bands (a location) gets no jitter.
      bands: standard deviation of the offset, as a multiple of that of the training data, and of the logarithm of the gain.
      days: standard deviation of the days.
    """
    drawn = {}
    for index, (name, entry) in enumerate(sorted(inputs.items())):
        b, *between, c = entry["values"].shape
        if not between:
            continue
        gain_key, offset_key, days_key = jax.random.split(jax.random.fold_in(key, index), 3)
        drawn[name] = Jitter(
            gain=jnp.exp(bands * jax.random.normal(gain_key, (b, c))),
            offset=bands * jax.random.normal(offset_key, (b, c)),
            days=jnp.round(days * jax.random.normal(days_key, (b,))).astype(jnp.int32),
        )
    return drawn


def jittered(inputs: Batch, drawn: Mapping[str, Jitter]) -> dict[str, Any]:
    """The inputs with `drawn` applied. Unknown values, which are 0 after normalization, and padded dates do not change."""
    out = dict(inputs)
    for name, jitter in drawn.items():
        entry, values = inputs[name], inputs[name]["values"]
        shape = (values.shape[0], *[1] * (values.ndim - 2), values.shape[-1])
        moved = values * jitter.gain.reshape(shape) + jitter.offset.reshape(shape)
        # Unknown values are still masked, so an entry that was `Known` still is.
        out[name] = type(entry)(entry | {"values": jnp.where(values == 0, values, moved)})
        if "dates" in entry:
            out[name]["dates"] = jnp.where(entry["valid"], entry["dates"] + jitter.days[:, None], entry["dates"])
    return out
