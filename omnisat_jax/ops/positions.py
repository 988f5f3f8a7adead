"""Where and when: fixed sinusoids of dates and of the patch grid."""

import jax.numpy as jnp
import numpy as np


def date_sinusoid(dates, width, period):
    """Sinusoid of dates (Garnot & Landrieu 2020): sin on even, cos on odd channels.

    Args:
      dates: (..., T) days, any sign.
      width: channels.
      period: base of the geometric progression of wavelengths.

    Returns:
      (..., T, width) float32; angle of channel i = date / period^(2 floor(i/2) / width).
    """
    index = np.arange(width)
    scale = jnp.asarray(period ** (-2 * (index // 2) / width), jnp.float32)
    angle = dates[..., None].astype(jnp.float32) * scale
    return jnp.where(index % 2 == 0, jnp.sin(angle), jnp.cos(angle))


def grid_sinusoid(side, width):
    """2-D sinusoid of a side x side grid of patches (MoCo v3): (side*side, width) float32, width divisible by 4."""
    quarter = width // 4
    frequency = 1 / 10_000 ** (np.arange(quarter) / quarter)
    line = np.arange(side)[:, None] * frequency
    rows = np.repeat(line, side, axis=0)
    columns = np.tile(line, (side, 1))
    return jnp.asarray(np.concatenate([np.sin(columns), np.cos(columns), np.sin(rows), np.cos(rows)], 1), jnp.float32)
