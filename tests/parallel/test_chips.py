"""Peak numbers of known devices, and none of others."""

import types

import numpy as np
import pytest

from omnisat_jax.parallel.chips import CHIPS, peak_flops


@pytest.mark.parametrize(("kind", "peak"), [("TPU v5 lite", CHIPS["v5e"].flops), ("NVIDIA H100 80GB HBM3", 989e12), ("cpu", 0.0)])
def test_the_peak_of_a_mesh_is_that_of_all_its_devices(kind, peak):
    mesh = types.SimpleNamespace(size=4, devices=np.array([types.SimpleNamespace(device_kind=kind)] * 4, object).reshape(1, 4, 1))
    assert peak_flops(mesh) == 4 * peak
