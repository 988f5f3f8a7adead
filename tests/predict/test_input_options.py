"""The options of the command line that name the inputs of a map, and the same in a file."""

import json

import numpy as np
import pytest

from omnisat_jax.cli.arguments import Parser
from omnisat_jax.errors import UserError
from omnisat_jax.predict.inputs import add_inputs, region_from
from omnisat_jax.predict.region import Region
from tests.predict.region import put
from tests.predict.stac import banded, save


def parsed(*arguments):
    parser = Parser()
    add_inputs(parser)
    parser.add_argument("--on_bad", default="raise")
    return region_from(parser.parse_args(list(map(str, arguments))))


@pytest.fixture
def here(tmp_path):
    flat = np.full((24, 40), 4, np.uint16)
    put(tmp_path / "s1" / "x_20210105.tif", flat)
    put(tmp_path / "scl" / "x_20210105.tif", flat.astype(np.uint8))
    save(tmp_path / "items.json", banded(tmp_path, [flat]))
    (tmp_path / "cube.zarr").mkdir()
    return tmp_path


def test_sensors_of_every_kind(here):
    found = parsed(
        "--series", f"s1={here / 's1'}", "--stac", here / "items.json", "--stac_sensor", "s2=c", "--cube", here / "cube.zarr", "--cube_sensor", "p=a,b",
        "--scl", f"s1={here / 'scl'}", "--scl", "s2=stac", "--scl", "p=SCL",
    )  # fmt: skip
    assert [sensor.name for sensor in found.sensors] == ["s1", "s2", "p"]
    assert found.sensors[0].scl and found.sensors[1].clouds and (found.sensors[2].variables, found.sensors[2].scl) == (("a", "b"), "SCL")
    description = {
        "series": {"s1": {"path": "s1", "scl": "scl"}},
        "stac": {"path": "items.json", "sensors": {"s2": "c"}, "scl": {"s2": "stac"}},
        "cube": {"path": "cube.zarr", "sensors": {"p": "a,b"}, "scl": {"p": "SCL"}},
    }
    (here / "region.json").write_text(json.dumps(description))
    same = parsed("--region", here / "region.json")
    assert [sensor.name for sensor in same.sensors] == ["s1", "s2", "p"]
    assert same.sensors[0] == found.sensors[0] and same.sensors[2] == found.sensors[2] and same.sensors[1].clouds
    for change, message in [
        ({"stac": {"path": "items.json", "sensor": {}}}, "stac: the keys path, sensors and scl, found sensor"),
        ({"stac": {"path": "items.json", "sensors": {"s2": "c"}, "scl": {"s3": "stac"}}}, "stac: scl of sensors that are given, found s3"),
        ({"cube": {"sensors": {"p": "a"}}}, "cube: a key 'path'"),
        ({"cube": {"path": "cube.zarr", "sensors": {"p": ["a"]}}}, "cube.sensors.p: a string"),
        ({"cube": {"path": "cube.zarr", "sensors": {"s1": "a"}}}, "found s1 more than once"),
    ]:
        (here / "region.json").write_text(json.dumps(description | change))
        with pytest.raises(UserError, match=message):
            Region.from_json(here / "region.json")


def test_options_that_contradict_each_other(here):
    (here / "region.json").write_text("{}")
    for arguments, message in [
        (("--stac_sensor", "s2=c"), "--stac_sensor: expected --stac beside it"),
        (("--cube_sensor", "s2=c"), "--cube_sensor: expected --cube beside it"),
        (("--stac", here / "items.json"), "--stac: expected --stac_sensor NAME=COLLECTION"),
        (("--stac", here / "items.json", "--stac_sensor", "s2=c", "--scl", "s2=x"), "--scl: expected s2=stac"),
        (("--stac", here / "items.json", "--stac_sensor", "s2=c", "--scl", "s3=x"), "--scl: expected the name of a series, found 's3'"),
        (("--region", here / "region.json", "--stac", "x", "--aoi", "y"), "found --stac, --aoi; write them into the file"),
        ((), "expected at least one sensor"),
    ]:
        with pytest.raises(UserError, match=message):
            parsed(*arguments)
