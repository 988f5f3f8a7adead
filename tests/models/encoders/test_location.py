import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.location import LocationEncoder
from omnisat_jax.ops.sphere import spherical_harmonics
from tests import layers_in_numpy as reference
from tests.conftest import tiny
from tests.layers_in_numpy import random_params, run

CONFIG = dataclasses.replace(schema.parse(tiny()).model.location, degrees=3, hidden=8, layers=2, frequency=7.0)
PLACES = np.array([[2.3, 48.9], [-70.0, -33.4]], np.float32)


def test_a_network_of_sines_over_the_harmonics():
    module = LocationEncoder(CONFIG, 16)
    params = random_params(module, PLACES, train=False)
    x = np.asarray(spherical_harmonics(jnp.asarray(PLACES), 3), np.float64)
    x = np.sin(7.0 * reference.dense(x, params["sine0"]))
    x = np.sin(reference.dense(x, params["sine1"]))
    out = run(module, params, PLACES, train=False)
    assert out.tokens.shape == (2, 1, 16) and out.features is None and out.attention is None
    np.testing.assert_allclose(out.tokens[:, 0], reference.dense(x, params["token"]), rtol=1e-3, atol=1e-3)


def test_initial_weights_are_those_of_siren():
    params = LocationEncoder(dataclasses.replace(CONFIG, hidden=64), 16).init(jax.random.key(0), PLACES, train=False)["params"]
    for name, bound in (("sine0", 1 / 9), ("sine1", (6 / 64) ** 0.5)):
        kernel = np.abs(params[name]["kernel"])
        assert 0.9 * bound < kernel.max() <= bound


def test_only_the_result_is_in_the_dtype():
    module = LocationEncoder(CONFIG, 16, jnp.bfloat16)
    params = random_params(module, PLACES, train=False)
    exact = run(LocationEncoder(CONFIG, 16), params, PLACES, train=False).tokens
    out = run(module, params, PLACES, train=False).tokens
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))
