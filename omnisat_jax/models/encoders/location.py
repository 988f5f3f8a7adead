"""Where a tile lies, as a token: a compact form of SatCLIP's location encoder (Klemmer et al., AAAI 2025).

Letters: B batch, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.ops.sphere import spherical_harmonics


class LocationEncoder(nn.Module):
    """Spherical harmonics, then a network of sine activations (SIREN, Sitzmann et al., NeurIPS 2020).

    Attributes:
      settings: degrees, hidden width and layers, frequency of the first sine.
      width: D.
      dtype: of the result; harmonics and sines run in float32.
    """

    settings: schema.LocationConfig
    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, place, *, train: bool):
        """place (B,2) longitude, latitude in degrees -> Encoding of one token (B,1,D)."""
        del train
        x = spherical_harmonics(place, self.settings.degrees)
        for index in range(self.settings.layers):
            frequency = self.settings.frequency if index == 0 else 1.0
            bound = 1 / x.shape[-1] if index == 0 else (6 / x.shape[-1]) ** 0.5
            dense = nn.Dense(self.settings.hidden, kernel_init=_uniform(bound), name=f"sine{index}")
            x = jnp.sin(frequency * dense(x))
        token = nn.Dense(self.width, name="token")(x)
        return Encoding(token[:, None].astype(self.dtype))


def _uniform(bound):
    def draw(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
