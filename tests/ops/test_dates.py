import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from omnisat_jax.ops.dates import interpolation_weights


def weights_of(dates, valid, at):
    return np.asarray(interpolation_weights(*(jnp.asarray(x)[None] for x in (dates, valid, at))))[0]


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.int32, 6, elements=st.integers(-50, 400), unique=True),
    hnp.arrays(bool, 6),
    hnp.arrays(np.int32, 4, elements=st.integers(-80, 430)),
)
def test_equals_numpy(dates, valid, at):
    weights = weights_of(dates, valid, at)
    if not valid.any():
        assert not weights.any()
        return
    values = np.random.default_rng(0).normal(size=6)
    order = np.argsort(dates[valid])
    expected = np.interp(at, dates[valid][order], values[valid][order])
    np.testing.assert_allclose(weights @ values, expected, atol=1e-5)
    assert not weights[:, ~valid].any() and (weights >= 0).all()


def test_known_values():
    weights = weights_of(np.array([10, 20, 40], np.int32), np.array([True, True, True]), np.array([5, 10, 25, 99], np.int32))
    np.testing.assert_allclose(weights, [[1, 0, 0], [1, 0, 0], [0, 0.75, 0.25], [0, 0, 1]], atol=1e-6)
    assert weights.dtype == np.float32


def test_samples_do_not_mix():
    dates = jnp.asarray([[0, 10], [0, 10]])
    valid = jnp.asarray([[True, True], [False, True]])
    weights = interpolation_weights(dates, valid, jnp.asarray([[5], [5]]))
    np.testing.assert_allclose(weights, [[[0.5, 0.5]], [[0, 1]]])
