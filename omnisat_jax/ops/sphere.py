"""Features of locations on the sphere. Letters: B batch, L number of degrees."""

import math

import jax
import jax.numpy as jnp


def spherical_harmonics(location: jax.Array, degrees: int) -> jax.Array:
    """Real orthonormal spherical harmonics, the location features of SatCLIP (Klemmer et al., AAAI 2025; Russwurm et al., ICLR 2024).

    Associated Legendre functions are computed with the normalized three-term recurrence. In float32 the largest error, also at the poles, is
    2e-5 for L = 20 and 9e-5 for L = 40, the most that the configuration allows; the largest harmonics are 1.8 and 2.5.

    Args:
      location: (B,2) longitude and latitude in degrees.
      degrees: L; the harmonics have degree 0 to L-1.

    Returns:
      (B,L*L) float32, degree by degree, inside each the orders m = -l to l: cos(m longitude) for m > 0, sin(|m| longitude) for m < 0.
    """
    longitude = jnp.deg2rad(location[:, 0].astype(jnp.float32))
    latitude = jnp.deg2rad(location[:, 1].astype(jnp.float32))
    # The colatitude is the angle from the pole, so its cosine is the sine of the latitude.
    cos_colatitude, sin_colatitude = jnp.sin(latitude), jnp.cos(latitude)
    legendre = {(0, 0): jnp.full_like(cos_colatitude, math.sqrt(1 / (4 * math.pi)))}
    for m in range(degrees):
        if m:
            legendre[m, m] = -math.sqrt((2 * m + 1) / (2 * m)) * sin_colatitude * legendre[m - 1, m - 1]
        for degree in range(m + 1, degrees):
            a = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
            b = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
            before = legendre[degree - 2, m] if degree - 2 >= m else 0.0
            legendre[degree, m] = a * (cos_colatitude * legendre[degree - 1, m] - b * before)
    out = []
    for degree in range(degrees):
        for m in range(-degree, degree + 1):
            value = legendre[degree, abs(m)]
            if m:
                angle = abs(m) * longitude
                value = math.sqrt(2) * value * (jnp.cos(angle) if m > 0 else jnp.sin(angle))
            out.append(value)
    return jnp.stack(out, -1)
