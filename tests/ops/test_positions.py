import math

import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.ops.positions import date_sinusoid, grid_sinusoid
from tests import layers_in_numpy


@pytest.mark.parametrize("width", [2, 5, 8])
def test_dates_follow_the_formula(width):
    dates = np.array([[-40, 0, 7], [100, 365, 366]], np.int32)
    out = date_sinusoid(jnp.asarray(dates), width, 1000.0)
    assert out.shape == (2, 3, width) and out.dtype == jnp.float32
    np.testing.assert_allclose(out, layers_in_numpy.date_sinusoid(dates, width, 1000.0), atol=2e-4)


def test_grid_follows_the_formula():
    side, width = 3, 8
    out = np.asarray(grid_sinusoid(side, width))
    assert out.shape == (9, 8) and out.dtype == np.float32
    for row in range(side):
        for column in range(side):
            frequencies = [1 / 10_000 ** (k / 2) for k in range(2)]
            expected = [f(at * k) for at in (column, row) for f in (math.sin, math.cos) for k in frequencies]
            np.testing.assert_allclose(out[row * side + column], expected, atol=1e-6)


def test_positions_differ():
    assert len({row.tobytes() for row in np.asarray(grid_sinusoid(6, 16))}) == 36
