"""Polygons of equal class: those of the whole map, whatever the blocks."""

import errno
import json

import geopandas
import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.predict.folder import NO_DATA
from omnisat_jax.predict.products.finishing import finish
from omnisat_jax.predict.products.options import ProductOptions
from omnisat_jax.predict.products.polygons import Polygons
from omnisat_jax.predict.vector import write_polygons
from tests.predict.products import maps


def table(block, classes, minimum=0.0):
    map_info = maps.info(maps.grid(block=block))
    polygons = Polygons(map_info, minimum)
    for part in map_info.grid.blocks():
        polygons.add(part, {"class": classes[part.top : part.top + part.height, part.left : part.left + part.width]})
    return polygons.table()


def noise(seed, values):
    """Pixels that touch at corners in every way."""
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), (88, 120))


@pytest.mark.parametrize("minimum", [0.0, 350.0])
@pytest.mark.parametrize("classes", [maps.random_arrays(maps.info(maps.grid()))["class"], noise(0, (0, 1)), noise(1, (2, NO_DATA))])
def test_polygons_do_not_depend_on_the_blocks(classes, minimum):
    whole = table(1024, classes, minimum)
    assert len(whole) > 40 and whole.is_valid.all() and (whole.geom_type == "Polygon").all() and (whole.area >= minimum).all()
    assert (whole.area == whole.area_m2).all()
    for block in (48, 7):
        parts = table(block, classes, minimum)
        assert parts.crop.tolist() == whole.crop.tolist() and parts.geometry.to_wkb().tolist() == whole.geometry.to_wkb().tolist()


def test_polygons_cover_the_known_pixels_of_their_class():
    classes = maps.random_arrays(maps.info(maps.grid()))["class"]
    found = table(31, classes).groupby("crop").area_m2.sum()
    assert found.to_dict() == {name: 100.0 * (classes == value).sum() for value, name in enumerate(maps.CLASSES)}


def test_a_ring_across_blocks_is_one_polygon_with_a_hole():
    classes = np.full((88, 120), NO_DATA, np.uint8)
    classes[10:80, 10:100], classes[20:70, 20:90] = 2, NO_DATA
    found = table(16, classes)
    assert len(found) == 1 and len(found.geometry[0].interiors) == 1 and len(found.geometry[0].exterior.coords) == 5
    assert found.total_bounds.tolist() == [500_100, 5_699_200, 501_000, 5_699_900]


def test_polygons_start_in_the_order_of_their_first_pixels():
    classes = maps.random_arrays(maps.info(maps.grid()))["class"]
    bounds = table(48, classes).bounds
    assert (np.diff(-bounds.maxy) >= 0).all()


def test_a_map_without_known_pixels_has_no_polygons(tmp_path):
    folder = maps.make_map(tmp_path / "map", classes=np.full((88, 120), NO_DATA, np.uint8))
    found = geopandas.read_parquet(finish(folder, ProductOptions(polygons=0))["polygons.parquet"])
    assert len(found) == 0 and found.columns.tolist() == ["crop", "area_m2", "geometry"]


def test_a_geopackage_on_request(tmp_path):
    folder = maps.make_map(tmp_path / "map")
    path = tmp_path / "fields.gpkg"
    assert finish(folder, ProductOptions(polygons=1000, polygons_out=path))["polygons.gpkg"] == path
    found, record = geopandas.read_file(path), json.loads((folder.path / "run.json").read_text())
    assert len(found) == record["polygons"]["count"] > 5 and record["polygons"]["minimum_m2"] == 1000
    assert found.area_m2.min() >= 1000 and found.crs == "EPSG:32631"
    finish(folder, ProductOptions())
    assert json.loads((folder.path / "run.json").read_text())["products"]["polygons.gpkg"] == record["products"]["polygons.gpkg"]


@pytest.mark.parametrize(
    ("suffix", "method", "problem"),
    [
        (".parquet", "to_parquet", OSError(errno.ENOSPC, "x")),
        (".gpkg", "to_file", RuntimeError("sqlite3_exec failed: database or disk is full")),
        (".gpkg", "to_file", RuntimeError("Failed to commit transaction")),
    ],
)
def test_a_full_disk_is_not_taken_for_a_bad_column(tmp_path, monkeypatch, suffix, method, problem):
    def full(*arguments, **options):
        raise problem

    frame = table(1024, noise(0, (0, 1)))
    monkeypatch.setattr(geopandas.GeoDataFrame, method, full)
    with pytest.raises(UserError, match=rf"polygons{suffix}: cannot be written \(.*the disk is full\)?$"):
        write_polygons(frame, tmp_path / f"polygons{suffix}", tmp_path)
    assert not [*tmp_path.iterdir()]
