"""Every way a raw folder can be wrong, made for real: an error that names the tile and the file, or a masked value."""

import json
import shutil

import numpy as np
import pytest
import rasterio

from data.location import centres
from data.pastis import reader
from data.raw import NO_DATA_INT16, DataError
from tests.faults import LABEL, SPOT, TILE, change_array, change_metadata, pickled, truncate


@pytest.fixture
def root(simulated, tmp_path):
    target = tmp_path / "pastis"
    shutil.copytree(simulated, target)
    return target


def s2(root):
    return root / "DATA_S2" / f"S2_{TILE}.npy"


FAULTS = {
    "truncated": (lambda r: truncate(s2(r)), "unreadable file of"),
    "empty file": (lambda r: s2(r).write_bytes(b""), "unreadable file of 0 bytes"),
    "pickled objects": (lambda r: pickled(s2(r)), "Python objects"),
    "nine bands": (lambda r: change_array(s2(r), lambda a: a[:, :9]), r"expected shape \(T, 10, 16, 16\)"),
    "empty series": (lambda r: change_array(s2(r), lambda a: a[:0]), "found 0 images"),
    "one image too many": (lambda r: change_array(s2(r), lambda a: np.concatenate([a, a[:1]])), "one for each date"),
    "floats for integers": (lambda r: change_array(s2(r), lambda a: a.astype(np.float64)), "expected int16"),
    "missing label": (lambda r: (r / LABEL).unlink(), "no such file"),
    "label 255": (lambda r: change_array(r / LABEL, lambda a: np.full_like(a, 255)), "integer classes 0 to 19"),
    "label of another size": (lambda r: change_array(r / LABEL, lambda a: a[:, :8, :8]), "labels of 16x16 px"),
    "impossible date": (lambda r: change_metadata(r, lambda p: p["dates-S2"].update({"0": 20181399})), "dates-S2 as"),
    "missing dates": (lambda r: change_metadata(r, lambda p: p.pop("dates-S2")), "a field dates-S2"),
    "broken SPOT": (lambda r: (r / SPOT).write_bytes(b"II*\0"), "an unreadable file"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named(root, name):
    fault, message = FAULTS[name]
    fault(root)
    with pytest.raises(DataError, match=message) as error:
        reader.open_raw(root).read(TILE)
    assert f"tile {TILE}" in str(error.value) and str(root) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"features": [', "unreadable metadata"), ('{"features": []}', "at least one tile"), ("[]", "unreadable metadata")],
)
def test_metadata_fault_is_named(root, text, message):
    (root / "metadata.geojson").write_text(text)
    with pytest.raises(DataError, match=message):
        reader.open_raw(root)


def test_missing_folder_and_metadata(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        reader.open_raw(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds metadata.geojson"):
        reader.open_raw(tmp_path)


def test_dates_as_json_string_and_unsorted(root):
    before = reader.open_raw(root).read(TILE)["s2"]

    def scramble(properties):
        values = list(properties["dates-S2"].values())
        properties["dates-S2"] = json.dumps({str(i): v for i, v in enumerate(values[::-1])})

    change_metadata(root, scramble)
    change_array(s2(root), lambda a: a[::-1])
    after = reader.open_raw(root).read(TILE)["s2"]
    assert (np.diff(after["dates"]) > 0).all()
    np.testing.assert_array_equal(before["dates"], after["dates"])
    np.testing.assert_array_equal(before["values"], after["values"])


def test_no_data_becomes_masked_never_a_number(root):
    def holes(array):
        array[0] = 0  # a whole date
        array[1, :, :4] = 0  # some pixels
        array[2, 3, 5, 5] = -10_000  # one band at the fill level
        return array

    change_array(s2(root), holes)
    series = reader.open_raw(root).read(TILE)["s2"]
    assert not series["valid"][0] and series["valid"][1:].all()
    assert (series["values"][1, :4] == NO_DATA_INT16).all() and (series["values"][1, 4:] != NO_DATA_INT16).all()
    assert (series["values"][2, 5, 5] == NO_DATA_INT16).all()


def test_non_finite_radar_is_masked(root):
    path = root / "DATA_S1A" / f"S1A_{TILE}.npy"

    def holes(array):
        array[0] = np.nan
        array[1, 0, 2, 3] = np.inf
        return array

    change_array(path, holes)
    series = reader.open_raw(root).read(TILE)["s1a"]
    assert not series["valid"][0] and np.isnan(series["values"][1, 2, 3, 0])
    assert not np.isinf(series["values"]).any()


def test_missing_modality_is_legal(root):
    s2(root).unlink()
    (root / SPOT).unlink()
    example = reader.open_raw(root).read(TILE)
    assert example["s2"]["values"].shape == (0, 16, 16, 10) and example["spot"]["values"].shape == (0, 160, 160, 3)


def test_folder_with_one_modality_only(root):
    for folder in ("DATA_S1A", "DATA_S1D", "DATA_SPOT"):
        shutil.rmtree(root / folder)
    assert list(reader.open_raw(root).modalities) == ["s2", "location"]


def test_simulation_is_the_same_every_time_and_has_the_layout(simulated, tmp_path):
    from data.pastis.simulated import simulate

    again = simulate(tmp_path / "again", tiles=10, tile_size=16, seed=0)
    for path in simulated.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(simulated)).read_bytes(), path
    series = np.load(simulated / "DATA_S2" / f"S2_{TILE}.npy")
    assert series.dtype == np.int16 and series.shape[1:] == (10, 16, 16) and 38 <= len(series) <= 61
    with rasterio.open(simulated / SPOT) as image:
        assert image.read().shape == (3, 160, 160) and image.crs.to_epsg() == 2154


def test_a_simulated_folder_says_so_wherever_it_lies(root):
    assert reader.open_raw(root).simulated
    path = root / "metadata.geojson"
    collection = json.loads(path.read_text())
    del collection["simulated"]
    path.write_text(json.dumps(collection))
    assert not reader.open_raw(root).simulated


def feature(tile, kind, coordinates):
    return {"properties": {"ID_PATCH": tile}, "geometry": {"type": kind, "coordinates": coordinates}}


LAMBERT = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}


def test_locations_are_centres_in_degrees():
    # Lambert-93 has its origin of easting 700 km, northing 6,600 km at 3 degrees east, 46.5 degrees north.
    square = [[[699_000, 6_599_000], [701_000, 6_599_000], [701_000, 6_601_000], [699_000, 6_601_000], [699_000, 6_599_000]]]
    lambert = {"crs": LAMBERT, "features": [feature(1, "Polygon", square), feature(2, "MultiPolygon", [square])]}
    for place in centres(lambert, "x").values():
        np.testing.assert_allclose(place, [3.0, 46.5], atol=1e-4)
    plain = centres({"features": [feature(7, "Point", [5.5, 44.1])]}, "x")
    np.testing.assert_allclose(plain["7"], [5.5, 44.1], atol=1e-5)


def test_unknown_places_are_left_out():
    nowhere = {"properties": {"ID_PATCH": 2}, "geometry": None}
    outside = feature(3, "Point", [700_000, 6_600_000])  # metres without a reference system
    assert list(centres({"features": [feature(1, "Point", [5, 44]), nowhere, outside]}, "x")) == ["1"]
    assert centres({"features": [nowhere]}, "x") == {}


def test_an_unknown_reference_system_is_named(root):
    path = root / "metadata.geojson"
    collection = json.loads(path.read_text())
    collection["crs"]["properties"]["name"] = "EPSG:999999"
    path.write_text(json.dumps(collection))
    with pytest.raises(DataError, match="metadata.geojson.*known coordinate reference system, found 'EPSG:999999'"):
        reader.open_raw(root)


def test_a_tile_without_geometry_has_no_location(root):
    path = root / "metadata.geojson"
    collection = json.loads(path.read_text())
    next(f for f in collection["features"] if str(f["properties"]["ID_PATCH"]) == TILE)["geometry"] = None
    path.write_text(json.dumps(collection))
    dataset = reader.open_raw(root)
    assert dataset.read(TILE)["location"]["values"].shape == (0, 2)
    assert dataset.read("10004")["location"]["values"].shape == (1, 2)
