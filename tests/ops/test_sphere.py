from typing import get_type_hints

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

from omnisat_jax.config.model_schema import LocationConfig
from omnisat_jax.ops.sphere import spherical_harmonics


def allowed() -> int:
    """The most degrees that a configuration may ask for."""
    (limits,) = get_type_hints(LocationConfig, include_extras=True)["degrees"].__metadata__
    return int(limits.high)


@pytest.mark.parametrize(("degrees", "tolerance"), [(1, 1e-6), (10, 1e-5), (20, 3e-5), (allowed(), 1e-4)])
def test_equals_scipy(degrees, tolerance):
    rng = np.random.default_rng(0)
    latitude = [*rng.uniform(-90, 90, 90), 90, -90, 89.999, -89.9999, 0, 1e-3]
    location = np.stack([rng.uniform(-180, 180, 96), latitude], 1).astype(np.float32)
    found = spherical_harmonics(jnp.asarray(location), degrees)
    assert found.shape == (96, degrees**2) and found.dtype == jnp.float32
    theta, phi = np.deg2rad(90 - location[:, 1].astype(float)), np.deg2rad(location[:, 0].astype(float))
    expected = []
    for degree in range(degrees):
        for m in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(m), theta, phi)
            expected.append(value.real if m == 0 else np.sqrt(2) * (value.real if m > 0 else value.imag))
    np.testing.assert_allclose(found, np.stack(expected, -1), atol=tolerance)


def test_poles_are_finite_and_have_no_longitude():
    out = np.asarray(spherical_harmonics(jnp.asarray([[0.0, 90.0], [77.0, 90.0], [10.0, -90.0]]), 5))
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[0], out[1], atol=1e-6)


def test_a_full_turn_of_longitude_changes_nothing():
    west, east = spherical_harmonics(jnp.asarray([[-170.0, 40.0], [190.0, 40.0]]), 4)
    np.testing.assert_allclose(west, east, atol=1e-5)
