"""Where tiles lie, told by georeferenced images."""

import numpy as np
import pytest
import rasterio

from data.datasets import open_dataset, simulator
from data.raw import DataError


@pytest.fixture
def treesat(tmp_path):
    return simulator("treesat").simulate(tmp_path / "t", tiles=5, tile_size=304, seed=0)


def images_of(root):
    dataset = open_dataset("treesat", root)
    return {tile: dataset.path_of(tile, "location") for tiles in dataset.parts.values() for tile in tiles}


def test_a_treesat_tile_lies_where_its_aerial_image_does(treesat):
    for tile, path in images_of(treesat).items():
        with rasterio.open(path) as source:
            expected = source.lnglat()
        np.testing.assert_allclose(open_dataset("treesat", treesat).read(tile)["location"]["values"], [expected], rtol=1e-6)


def test_a_tile_without_its_image_has_no_location(treesat):
    first, *_, last = images_of(treesat).items()
    for tile, path in (first, last):
        path.unlink()
        assert open_dataset("treesat", treesat).read(tile)["location"]["values"].shape == (0, 2)


def test_images_without_a_reference_system_give_no_location(treesat):
    for path in images_of(treesat).values():
        with rasterio.open(path) as source:
            values, profile = source.read(), source.profile
        with rasterio.open(path, "w", **(profile | {"crs": None})) as target:
            target.write(values)
    assert "location" not in open_dataset("treesat", treesat).modalities


def test_an_unreadable_image_is_named(treesat):
    dataset, (tile, path) = open_dataset("treesat", treesat), list(images_of(treesat).items())[-1]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{path.name}.*GeoTIFF"):
        dataset.read(tile)["location"]
