"""Fixed sinusoids of dates and of positions on the patch grid."""

import jax
import jax.numpy as jnp
import numpy as np

_GRID_PERIOD = 10_000  # base of the wavelengths along a side of the grid, as in the Transformer


def date_sinusoid(dates: jax.Array, width: int, period: float) -> jax.Array:
    """Sinusoid of dates (Garnot & Landrieu 2020): sine on even channels, cosine on odd ones.

    Args:
      dates: (..., T) days, of either sign.
      width: number of channels.
      period: base of the geometric progression of wavelengths, days.

    Returns:
      (..., T, width) float32; the angle of channel i is date / period^(2 floor(i/2) / width).
    """
    index = np.arange(width)
    scale = jnp.asarray(period ** (-2 * (index // 2) / width), jnp.float32)
    angle = dates[..., None].astype(jnp.float32) * scale
    return jnp.where(index % 2 == 0, jnp.sin(angle), jnp.cos(angle))


def grid_sinusoid(side: int, width: int) -> jax.Array:
    """2-D sinusoid of a grid of patches (MoCo v3, Chen et al., ICCV 2021).

    Args:
      side: patches per side.
      width: number of channels, divisible by 4.

    Returns:
      (side*side, width) float32, patches row by row: a quarter of the channels each for sine and cosine of columns, then of rows.
    """
    quarter = width // 4
    frequency = 1 / _GRID_PERIOD ** (np.arange(quarter) / quarter)
    line = np.arange(side)[:, None] * frequency
    rows = np.repeat(line, side, axis=0)
    columns = np.tile(line, (side, 1))
    return jnp.asarray(np.concatenate([np.sin(columns), np.cos(columns), np.sin(rows), np.cos(rows)], 1), jnp.float32)
