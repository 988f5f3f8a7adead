"""The STAC items: valid by the schema of STAC that pystac ships, and by the rules of each extension, which are restated here."""

import json
import re

import jsonschema
import pytest
import rasterio
import rasterio.warp
import referencing
from pystac.validation.local_validator import get_local_schema_cache

from omnisat_jax.predict.products import catalogue
from omnisat_jax.predict.products.finishing import finish
from omnisat_jax.predict.products.options import ProductOptions
from omnisat_jax.predict.products.rasters import rasters_of
from tests.predict.products import maps

DRAFT = {"$schema": "http://json-schema.org/draft-07/schema#"}
ITEM = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
UNCODED = rasterio.CRS.from_string("+proj=laea +lat_0=50 +lon_0=4 +x_0=500000 +y_0=5700000 +datum=WGS84 +units=m").to_wkt()
WHEN = "2026-01-02T03:04:05Z"


def no_network(uri):
    raise AssertionError(f"{uri} is not among the schemas that pystac ships")


@pytest.fixture(scope="module")
def validator():
    schemas = get_local_schema_cache()
    resources = [(uri, referencing.Resource.from_contents(DRAFT | schema)) for uri, schema in schemas.items()]
    return jsonschema.Draft7Validator(schemas[ITEM], registry=referencing.Registry(retrieve=no_network).with_resources(resources))


def items(folder):
    rasters = rasters_of(folder.info, folder.info.colours)
    return catalogue.map_item(folder, rasters, {}, WHEN), catalogue.model_item(folder, WHEN)


@pytest.mark.parametrize(
    "changes", [{}, {"colours": (), "probabilities": False, "remarks": ()}, {"sensors": maps.SENSORS[2:]}, {"model": {}}, {"map_grid": maps.grid(crs=UNCODED)}]
)
def test_items_are_valid(validator, tmp_path, changes):
    folder = maps.MapFolder.start(tmp_path / "map", maps.info(**({"map_grid": maps.grid()} | changes)))
    for item in items(folder):
        assert [error.message for error in validator.iter_errors(item)] == []
        assert json.loads(json.dumps(item)) == item
        for link in item["links"]:
            assert not link["href"].startswith("/")


def test_the_schema_is_not_blind(validator, tmp_path):
    item = items(maps.MapFolder.start(tmp_path / "map", maps.info(maps.grid())))[0]
    del item["properties"]["end_datetime"]
    assert [*validator.iter_errors(item)]


def test_the_map(tmp_path):
    folder = maps.make_map(tmp_path / "map")
    products = finish(folder, ProductOptions(polygons=100))
    item = json.loads(products["map.json"].read_text())
    properties, assets = item["properties"], item["assets"]
    assert properties["datetime"] is None
    assert (properties["start_datetime"], properties["end_datetime"]) == ("2021-02-11T00:00:00Z", "2021-09-12T23:59:59Z")
    with rasterio.open(products["class.tif"]) as source:
        assert properties["proj:code"] == source.crs.to_string() and properties["proj:shape"] == [*source.shape]
        assert properties["proj:transform"] == [*source.transform[:6]] and properties["proj:bbox"] == [*source.bounds]
        west, south, east, north = rasterio.warp.transform_bounds(source.crs, "EPSG:4326", *source.bounds)
    assert item["bbox"] == pytest.approx([west, south, east, north], abs=1e-6)
    assert set(assets) == {"class", "confidence", "used", "dates", "probabilities", "class_style", "confidence_style", "polygons", "record"}
    for asset in assets.values():
        assert (folder.path / asset["href"]).is_file()
    assert [link["href"] for link in item["links"]][0] == "./model.json" and all(link["rel"] == "derived_from" for link in item["links"])
    assert sum(link["href"].endswith("/imagery/s1/a%20b.tif") for link in item["links"]) == 1 and len(item["links"]) == 5
    created = json.loads((folder.path / "run.json").read_text())["created"]
    assert UTC.fullmatch(created) and properties["created"] == created


def test_what_the_extensions_demand(tmp_path):
    folder = maps.MapFolder.start(tmp_path / "map", maps.info(maps.grid(), classes=("a b", "a-b", "é", "Corn")))
    item, model = items(folder)
    assets = item["assets"]
    classes = assets["class"]["classification:classes"]
    assert [entry["value"] for entry in classes] == [0, 1, 2, 3, 255] and len({entry["name"] for entry in classes}) == 5
    for entry in [*classes, *model["properties"]["mlm:output"][0]["classification:classes"]]:
        assert re.fullmatch("[0-9A-Za-z-_]+", entry["name"]) and re.fullmatch("[0-9A-F]{6}", entry.get("color_hint", "000000"))
    assert classes[0]["description"] == "a b" and classes[-1]["nodata"] is True
    assert [field["offset"] for field in assets["used"]["classification:bitfields"]] == [0, 1, 2]
    bands = assets["probabilities"]["bands"]
    assert [band["name"] for band in bands] == ["a b", "a-b", "é", "Corn"] and bands[0]["raster:scale"] == 1 / 250 and bands[0]["nodata"] == 255
    assert item["properties"]["processing:software"] and item["properties"]["proj:transform"][0] == 10
    assert len(item["stac_extensions"]) == 4 and all(re.fullmatch(r"https://.*/v\d+\.\d+\.\d+/schema\.json", uri) for uri in item["stac_extensions"])


def test_the_model(tmp_path):
    item, model = items(maps.MapFolder.start(tmp_path / "map", maps.info(maps.grid())))
    properties = model["properties"]
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", properties["mlm:name"]) and item["links"][0]["mlm:name"] == properties["mlm:name"]
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output", "mlm:framework"} <= set(properties)
    named = [band["name"] for band in properties["bands"]]
    for entry in properties["mlm:input"]:
        assert set(entry["bands"]) <= set(named) and "bands" in entry["input"]["dim_order"] and len(entry["input"]["shape"]) == len(entry["input"]["dim_order"])
    assert [entry["name"] for entry in properties["mlm:input"]] == ["s2", "s1a", "spot"]
    assert "time" in properties["mlm:input"][0]["input"]["dim_order"] and "time" not in properties["mlm:input"][2]["input"]["dim_order"]
    asset = model["assets"]["model"]
    assert "mlm:model" in asset["roles"] and asset["mlm:artifact_type"] and asset["href"].endswith("runs/pastis/model") and model["geometry"] is None
    assert "simulated" in properties["description"]


def test_without_dates_the_map_dates_from_the_day_it_was_made(tmp_path):
    item, _ = items(maps.MapFolder.start(tmp_path / "map", maps.info(maps.grid(), sensors=maps.SENSORS[2:])))
    assert item["properties"]["datetime"] == WHEN and "start_datetime" not in item["properties"]
    assert item["properties"]["description"].startswith("No input has a date")


def test_a_map_across_the_180th_meridian_is_cut_there():
    crs = rasterio.CRS.from_epsg(32760).to_wkt()
    geometry, (west, south, east, north) = catalogue.footprint(maps.grid(crs=crs, left=800_000.0, top=8_000_000.0, rows=2000, columns=2000))
    assert geometry["type"] == "MultiPolygon" and len(geometry["coordinates"]) == 2
    for rings, side in zip(geometry["coordinates"], (1, -1), strict=True):
        longitudes = [x for x, _ in rings[0]]
        assert all(170 < side * x <= 180 for x in longitudes) and longitudes.count(180 * side) >= 2 and rings[0][0] == rings[0][-1]
    assert 179 < west < 180 and -180 < east < -178 and -20 < south < north < -18


def test_addresses_stay_as_they_are(tmp_path):
    files = ("https://example.com/a.tif", "s3://bucket/b.tif", "/vsicurl/https://example.com/c.tif")
    sensors = (maps.MapSensor("spot", "image", ("R",), (), files),)
    item, _ = items(maps.MapFolder.start(tmp_path / "map", maps.info(maps.grid(), sensors=sensors, model={"source": "hf:org/name@v1.0"})))
    assert [link["href"] for link in item["links"][1:]] == [*files]
