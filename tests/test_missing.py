import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.missing import NO_DATA_INT16, measured

CASES = {
    "int16": ([0, 1, NO_DATA_INT16, NO_DATA_INT16 + 1], [True, True, False, True]),
    "uint8": ([0, 255], [True, True]),
    "int32": ([0, NO_DATA_INT16], [True, True]),
    "float16": ([0, 65504, np.inf, -np.inf, np.nan], [True, True, False, False, False]),
    "float32": ([0, 9e29, -9e29, 1.1e30, -3.4e38, np.nan, np.inf], [True, True, True, False, False, False, False]),
    "float64": ([0, 9e29, 1e300, np.nan], [True, True, False, False]),
}


@pytest.mark.parametrize("dtype", CASES)
def test_numpy_and_jax_agree_on_what_is_measured(dtype):
    values, expected = CASES[dtype]
    values = np.array(values, dtype)
    found = measured(values)
    assert type(found) is np.ndarray and found.dtype == bool and found.tolist() == expected
    if dtype != "float64":
        on_device = jax.jit(measured)(jnp.asarray(values))
        assert isinstance(on_device, jax.Array) and on_device.tolist() == expected
