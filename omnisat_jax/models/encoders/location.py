"""Encoder of a tile's location: a compact form of SatCLIP's location encoder (Klemmer et al., AAAI 2025).

Letters: B batch, D width.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.ops.sphere import spherical_harmonics


class LocationEncoder(nn.Module):
    """Spherical harmonics, then a network with sine activations (SIREN, Sitzmann et al., NeurIPS 2020).

    Attributes:
      config: degrees, hidden width and layers, frequency of the first sine.
      width: D.
      dtype: of the result; harmonics and sines are computed in float32.
    """

    config: schema.LocationConfig
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, location: jax.Array, *, train: bool) -> Encoding:
        """location (B,2) longitude and latitude in degrees -> Encoding of one token (B,1,D)."""
        del train
        x = spherical_harmonics(location, self.config.degrees)
        for index in range(self.config.layers):
            # The frequency scales the first layer only; the bounds of the initial weights follow section 3.2 of the SIREN paper for this.
            frequency = self.config.frequency if index == 0 else 1.0
            bound = 1 / x.shape[-1] if index == 0 else (6 / x.shape[-1]) ** 0.5
            dense = nn.Dense(self.config.hidden, kernel_init=_uniform(bound), name=f"sine{index}")
            x = jnp.sin(frequency * dense(x))
        token = nn.Dense(self.width, name="token")(x)
        return Encoding(token[:, None].astype(self.dtype))


def _uniform(bound: float) -> Callable[..., jax.Array]:
    """Initial weights uniform in [-bound, bound)."""

    def draw(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
