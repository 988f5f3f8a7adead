"""Places on the sphere as vectors. Letters: B batch, L degrees."""

import math

import jax.numpy as jnp


def spherical_harmonics(place, degrees: int):
    """Real orthonormal spherical harmonics, the location features of SatCLIP (Klemmer et al., AAAI 2025; Russwurm et al., ICLR 2024).

    Associated Legendre functions by the normalised three-term recurrence, stable for the degrees used here (tested to 20).

    Args:
      place: (B,2) longitude and latitude in degrees.
      degrees: L; harmonics of degree 0 to L-1.

    Returns:
      (B, L*L) float32, degree by degree, orders -l to l inside: order m > 0 with cos(m longitude), m < 0 with sin.
    """
    longitude = jnp.deg2rad(place[:, 0].astype(jnp.float32))
    latitude = jnp.deg2rad(place[:, 1].astype(jnp.float32))
    cosine, sine = jnp.sin(latitude), jnp.cos(latitude)  # of the angle from the pole
    legendre = {(0, 0): jnp.full_like(cosine, math.sqrt(1 / (4 * math.pi)))}
    for m in range(degrees):
        if m:
            legendre[m, m] = -math.sqrt((2 * m + 1) / (2 * m)) * sine * legendre[m - 1, m - 1]
        for degree in range(m + 1, degrees):
            a = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
            b = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
            before = legendre[degree - 2, m] if degree - 2 >= m else 0.0
            legendre[degree, m] = a * (cosine * legendre[degree - 1, m] - b * before)
    out = []
    for degree in range(degrees):
        for m in range(-degree, degree + 1):
            value = legendre[degree, abs(m)]
            if m:
                angle = abs(m) * longitude
                value = math.sqrt(2) * value * (jnp.cos(angle) if m > 0 else jnp.sin(angle))
            out.append(value)
    return jnp.stack(out, -1)
