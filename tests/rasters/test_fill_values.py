"""Fill values that a file does not declare."""

import numpy as np
import pytest

from omnisat_jax.rasters.fill_values import CUSTOMARY, need_declared
from omnisat_jax.rasters.grid import RasterError


def image(dtype, fill=None, pixels=6):
    values = np.random.default_rng(0).normal(1500, 200, (2, 12, 10)).astype(dtype)
    if fill is not None:
        values[1].ravel()[:pixels] = fill
    return values, np.ones(values.shape, bool)


@pytest.mark.parametrize("fill", CUSTOMARY)
@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_a_fill_value_is_refused(dtype, fill):
    with pytest.raises(RasterError, match=f"x.tif: expected measurements, found {fill} in 6 pixels of band 2 .*-a_nodata {fill}"):
        need_declared(*image(dtype, fill), "x.tif")


def test_what_is_declared_or_rare_or_cannot_be_is_not():
    values, known = image(np.int16, -9999)
    need_declared(values, known & (values != -9999), "x.tif")
    need_declared(*image(np.int16, -9999, pixels=2), "x.tif")
    need_declared(*image(np.uint16), "x.tif")
    need_declared(*image(np.float32, np.nan), "x.tif")


def test_measurements_that_pass_through_such_a_number_are_taken():
    """Radar in thousandths of a decibel."""
    values = np.repeat(np.arange(-20_000, 0, 20, dtype=np.int16), 8).reshape(1, 100, -1)
    values[values == -10_000] = -9999
    need_declared(values, np.ones(values.shape, bool), "x.tif")
