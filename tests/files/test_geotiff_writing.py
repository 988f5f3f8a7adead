"""Small GeoTIFFs are written completely, or the reason is one sentence."""

import os
import pathlib

import numpy as np
import pytest
import rasterio

from omnisat_jax.errors import UserError
from omnisat_jax.files.geotiff_writing import new_geotiff

PROFILE = {"count": 1, "height": 4, "width": 4, "dtype": "uint8", "crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}
IMAGE = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)


def test_what_is_written_is_read(tmp_path):
    with new_geotiff(tmp_path / "a.tif", **PROFILE) as target:
        target.write(IMAGE)
        target.descriptions = ("VV",)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.descriptions == ("VV",) and source.driver == "GTiff"
        np.testing.assert_array_equal(source.read(), IMAGE)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence():
    with pytest.raises(UserError, match=r"^/dev/full: cannot be written \(the disk is full\)$"), new_geotiff("/dev/full", **PROFILE) as target:
        target.write(IMAGE)


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be written .no such file or folder"), new_geotiff(tmp_path / "no" / "a.tif", **PROFILE) as target:
        target.write(IMAGE)
    assert not list(pathlib.Path(tmp_path).iterdir())
