"""Where tiles lie, from all spellings of GeoJSON and from georeferenced images."""

import numpy as np
import pytest
import rasterio

from data.reading.datasets import open_dataset, simulator
from data.reading.location import place_of, places, reference_system
from data.reading.raw import DataError
from omnisat_jax.files.geotiff import Footprint
from omnisat_jax.files.json_file import Value

# Lambert-93 has its origin of easting 700 km, northing 6,600 km at 3 degrees east, 46.5 degrees north.
SQUARE = [[699_000, 6_599_000], [701_000, 6_599_000], [701_000, 6_601_000], [699_000, 6_601_000], [699_000, 6_599_000]]
LAMBERT = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}


def find(geometries, crs=None):
    """`places` of tiles 0, 1, ... with these geometries."""
    features = {str(i): Value({"geometry": geometry}, "metadata.geojson", f"features[{i}]", str(i)) for i, geometry in enumerate(geometries)}
    return places(Value({"crs": crs} if crs is not None else {}, "metadata.geojson"), features)


def geometry(kind, coordinates):
    return {"type": kind, "coordinates": coordinates}


def test_locations_are_centres_in_degrees():
    hole = [[699_900, 6_599_900], [700_900, 6_599_900], [700_900, 6_600_900], [699_900, 6_599_900]]
    found, wrong = find([geometry("Polygon", [SQUARE, hole]), geometry("MultiPolygon", [[SQUARE]])], LAMBERT)
    assert not wrong
    for place in found.values():
        np.testing.assert_allclose(place.centre, [3.0, 46.5], atol=1e-4)
        assert abs(place.side - 2000) < 10  # a sphere instead of an ellipsoid
    point, pair = find([geometry("Point", [5.5, 44.1, 320.0]), geometry("MultiPoint", [[5, 44], [6, 44.2], [5.2, 44]])])[0].values()
    np.testing.assert_allclose([point.centre, pair.centre], [[5.5, 44.1]] * 2, atol=1e-5)
    assert point.side == pair.side == 0


def test_the_side_of_a_rotated_square():
    turned = [[0.0, 46.5], [0.01, 46.51], [0.0, 46.52], [-0.01, 46.51], [0.0, 46.5]]
    (place,) = find([geometry("Polygon", [turned])])[0].values()
    half = np.radians(0.01) * 6_371_000
    assert abs(place.side - np.sqrt(2 * half * half * np.cos(np.radians(46.51)))) < 1


NOWHERE = {
    "meters without a reference system": (geometry("Point", [700_000, 6_600_000]), "not on Earth"),
    "one coordinate": (geometry("Point", [5]), "not such numbers"),
    "texts": (geometry("Point", ["5", "44"]), "not such numbers"),
    "infinite": (geometry("Point", [float("inf"), 44]), "not such numbers"),
    "huge": (geometry("Point", [10**400, 44]), "not such numbers"),
    "no list": (geometry("Polygon", {"a": 1}), "an object of length 1"),
    "no coordinates": (geometry("Polygon", []), "no coordinates"),
    "no geometry": ([1, 2], "a list of length 2"),
}


@pytest.mark.parametrize("name", NOWHERE)
def test_a_geometry_without_a_place_is_reported_and_the_others_keep_theirs(name):
    broken, message = NOWHERE[name]
    found, wrong = find([geometry("Point", [5, 44]), broken])
    assert list(found) == ["0"] and list(wrong) == ["1"] and message in wrong["1"]


def test_a_point_outside_a_projection_does_not_affect_the_others():
    found, wrong = find([geometry("Point", [5e5, 5e6]), geometry("Point", [-1e8, 9e8]), geometry("Point", [5.1e5, 5e6])], "EPSG:32631")
    assert list(found) == ["0", "2"] and list(wrong) == ["1"]


def test_a_tile_without_a_geometry_is_not_reported():
    assert find([None]) == ({}, {})


def named(name):
    return {"type": "name", "properties": {"name": name}}


SPELLINGS = {
    4326: [
        None, named("urn:ogc:def:crs:OGC:1.3:CRS84"), named("urn:ogc:def:crs:OGC::CRS84"), named("OGC:CRS84"), named("CRS84"), named("EPSG:4326"),
        named("urn:ogc:def:crs:EPSG::4326"), named("http://www.opengis.net/def/crs/OGC/1.3/CRS84"), named("http://www.opengis.net/gml/srs/epsg.xml#4326"),
    ],
    2154: [
        named("EPSG:2154"), named("epsg:2154"), named("urn:ogc:def:crs:EPSG::2154"), named("urn:ogc:def:crs:EPSG:9.8.15:2154"), "EPSG:2154",
        named("http://www.opengis.net/def/crs/EPSG/0/2154"), {"type": "link", "properties": {"href": "https://spatialreference.org/ref/epsg/2154/"}},
        {"type": "EPSG", "properties": {"code": 2154}}, {"type": "EPSG", "properties": {"code": "2154"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("code", "crs"), [(code, crs) for code, forms in SPELLINGS.items() for crs in forms])
def test_reference_systems_are_read_in_all_their_spellings(code, crs):
    assert reference_system(Value({"crs": crs}, "x")).to_epsg() == code


@pytest.mark.parametrize(
    "crs",
    [2154, 5.5, True, [2154], [], {}, "", "EPSG:999999", "EPSG:0", named("urn:ogc:def:crs:EPSG::"), named(2154), named(["EPSG:2154"]), named(None),
     {"type": "name", "properties": []}, {"type": "link", "properties": {"href": "file:///etc/passwd"}}, named("/vsicurl/http://x/y"), named("E" * 10**6),
     {"type": "EPSG", "properties": {"code": 10**30}}],
)  # fmt: skip
def test_other_forms_of_a_reference_system_are_one_sentence(crs):
    with pytest.raises(DataError, match=r"metadata.geojson: expected crs") as error:
        reference_system(Value({"crs": crs}, "metadata.geojson"))
    assert len(str(error.value)) < 1000


def test_an_image_outside_the_earth_is_refused():
    with pytest.raises(DataError, match="an image on Earth"):
        place_of(Footprint(rasterio.crs.CRS.from_epsg(4326), (7e5, 6e6, 7e5 + 10, 6e6 + 10), 1.0), "7", "x.tif")


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
    dataset = open_dataset("treesat", treesat)
    assert "location" not in dataset.modalities
    assert all([f.kind for f in dataset.inspect(tile)] == ["georeference"] for tile in images_of(treesat))


@pytest.mark.parametrize("position", [0, -1])
def test_an_unreadable_image_is_named_and_the_others_are_read(treesat, position):
    images = images_of(treesat)
    tile, path = list(images.items())[position]
    path.write_bytes(path.read_bytes()[:100])
    dataset = open_dataset("treesat", treesat)
    with pytest.raises(DataError, match=f"{path.name}.*GeoTIFF"):
        dataset.read(tile)
    assert all(len(dataset.read(other)["location"]["values"]) for other in images if other != tile)
