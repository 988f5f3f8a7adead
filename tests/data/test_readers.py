"""Faults of a raw PASTIS folder, each made for real: an error that names the tile and the file, or a masked value."""

import json
import shutil

import numpy as np
import pytest
import rasterio

from data.pastis import reader
from data.reading.datasets import open_dataset
from data.reading.raw import DataError
from omnisat_jax.files.json_file import Value
from omnisat_jax.missing import NO_DATA_INT16
from tests.faults import LABEL, S1A, SPOT, TILE, change_array, change_metadata, pickled, truncate
from tests.faults.breaking import link_out
from tests.faults.pastis import METADATA, PARCELS, change_collection


def s2(root):
    return root / "DATA_S2" / f"S2_{TILE}.npy"


def feature_of(collection):
    return next(f for f in collection["features"] if str(f["properties"]["ID_PATCH"]) == TILE)


def write_spot(root, crs="EPSG:2154", values=None, **changes):
    """Rewrites the SPOT image of the tile; changes: members of its transform."""
    with rasterio.open(root / SPOT) as source:
        image, profile = source.read(), source.profile
    image = image if values is None else values
    t = profile["transform"]
    place = {"a": t.a, "b": t.b, "c": t.c, "d": t.d, "e": t.e, "f": t.f} | changes
    height, width = image.shape[1:]
    profile |= {"crs": crs, "transform": rasterio.Affine(*place.values()), "height": height, "width": width}
    with rasterio.open(root / SPOT, "w", **profile) as target:
        target.write(image)


def spot_of(root):
    with rasterio.open(root / SPOT) as source:
        return source.read(), source.transform


def header_only(path, shape, dtype="<i2"):
    """A .npy file of a few bytes that declares a large `shape`."""
    with open(path, "wb") as target:
        np.lib.format.write_array_header_1_0(target, {"descr": dtype, "fortran_order": False, "shape": shape})


def wrap(array):
    array = array.astype(np.uint16)
    array[1, 2, 3, 4] = 40_000
    return array


def set_dates(value):
    return lambda r: change_metadata(r, lambda p: p.update({"dates-S2": value}))


FAULTS = {
    "truncated": (lambda r: truncate(s2(r)), "found .* bytes.*truncated"),
    "empty file": (lambda r: s2(r).write_bytes(b""), "unreadable file of 0 bytes"),
    "pickled objects": (lambda r: pickled(s2(r)), "Python objects"),
    "nine bands": (lambda r: change_array(s2(r), lambda a: a[:, :9]), r"expected a series of shape \(N, 10, 16, 16\)"),
    "empty series": (lambda r: change_array(s2(r), lambda a: a[:0]), "found 0 images"),
    "one image too many": (lambda r: change_array(s2(r), lambda a: np.concatenate([a, a[:1]])), "one for each date"),
    "floats for integers": (lambda r: change_array(s2(r), lambda a: a.astype(np.float64)), "integers.*found float64"),
    "integers for floats": (lambda r: change_array(r / S1A, lambda a: a.astype(np.int16)), "floating point.*found int16"),
    "numbers beyond int16": (lambda r: change_array(s2(r), wrap), r"-32,767 to 32,767, found 40,000 in image 1"),
    "a huge declared size": (lambda r: header_only(s2(r), (50, 10, 10**5, 10**5)), r"found shape \(50, 10, 100000, 100000\)"),
    "more declared than there is": (lambda r: header_only(s2(r), (9_000, 10, 16, 16)), r"expected .*46,080,\d+ bytes"),
    "a pointer of Git LFS": (lambda r: s2(r).write_text("version https://git-lfs.github.com/spec/v1\n"), "unreadable file of"),
    "a folder": (lambda r: (s2(r).unlink(), s2(r).mkdir()), "found a folder"),
    "a link out of the dataset": (lambda r: link_out(s2(r)), "inside the dataset, found a link to"),
    "a link to nothing": (lambda r: (s2(r).unlink(), s2(r).symlink_to("nothing")), "a broken link"),
    "missing label": (lambda r: (r / LABEL).unlink(), "no such file"),
    "label 255": (lambda r: change_array(r / LABEL, lambda a: np.full_like(a, 255)), "integer classes 0 to 19"),
    "labels without planes": (lambda r: change_array(r / LABEL, lambda a: a[:0]), "integer classes 0 to 19, found no plane"),
    "labels that are not numbers": (lambda r: change_array(r / LABEL, lambda a: a * np.float32("nan")), "integers.*found float32"),
    "label of another size": (lambda r: change_array(r / LABEL, lambda a: a[:, :8, :8]), r"labels of shape \(N, 16, 16\)"),
    "parcels that are not numbers": (lambda r: change_array(r / PARCELS, lambda a: a * np.nan), "whole parcel numbers"),
    "impossible date": (set_dates({"0": 20181399}), "dates-S2 as.*month must be in"),
    "a date of the year 1": (set_dates({"0": "00010101"}), "the year 1 is not between 1970"),
    "an infinite date": (set_dates({"0": float("inf")}), "'inf' is not a date"),
    "a huge date": (set_dates({"0": 10**30}), "is not a date"),
    "a date that is a list": (set_dates({"0": [20180901]}), "list instead of a date"),
    "dates that are a list": (set_dates([20180901]), "list instead of a mapping"),
    "dates of other positions": (set_dates({"0": 20180901, "2": 20180906}), "positions 1, 2 are missing or extra"),
    "dates that are not JSON": (set_dates("{"), "dates-S2 as"),
    "missing dates": (lambda r: change_metadata(r, lambda p: p.pop("dates-S2")), "a key 'dates-S2'"),
    "broken SPOT": (lambda r: (r / SPOT).write_bytes(b"II*\0"), "an unreadable file"),
    "SPOT of 8 px": (lambda r: write_spot(r, values=np.ones((3, 8, 8), np.uint8)), "160x160 px, found .* 8x8 px"),
    "SPOT 5 km away": (lambda r: write_spot(r, c=705_000), "within 20 m of its tile's.*found .* m away"),
    "SPOT 30 m away": (lambda r: write_spot(r, f=spot_of(r)[1].f + 30), "found 30 m away"),
    "SPOT in another zone": (lambda r: write_spot(r, crs="EPSG:32632"), "m away"),
    "SPOT of other ground": (lambda r: write_spot(r, a=1.2, e=-1.2, c=spot_of(r)[1].c - 16, f=spot_of(r)[1].f + 16), "side of 160 m, found 192 m"),
    "SPOT of other pixels": (lambda r: write_spot(r, a=2.0), "square pixels, north up"),
    "SPOT rotated": (lambda r: write_spot(r, b=0.1, d=0.1), "square pixels, north up"),
    "SPOT that is a VRT": (lambda r: (r / SPOT).write_text("<VRTDataset/>"), "an unreadable file"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named(root, name):
    fault, message = FAULTS[name]
    fault(root)
    with pytest.raises(DataError, match=message) as error:
        open_dataset("pastis", root).read(TILE)
    assert f"tile {TILE}" in str(error.value) and str(root) in str(error.value)
    assert (error.value.finding.kind == "georeference") == (" away" in message or "side of" in message or "north up" in message)
    # The other tiles are still read.
    assert open_dataset("pastis", root).read("10004")["spot"]["values"].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"features": [', "bytes that are not valid JSON"),
        ('{"features": []}', "at least one tile"),
        ("[]", "expected an object"),
        ('{"features": {}}', "features: a list"),
        ('{"features": [3]}', r"features\[0\]: an object"),
        ('{"features": [{"properties": {"ID_PATCH": "../../etc"}}]}', "begins with a letter or digit"),
        ('{"features": [{"properties": {"ID_PATCH": null}}]}', "ID_PATCH"),
        ("[" * 100_000, "nested too deeply"),
        ('{"features": [], "features": []}', "more than once"),
    ],
)
def test_metadata_fault_is_named(root, text, message):
    (root / METADATA).write_text(text)
    with pytest.raises(DataError, match=message) as error:
        reader.open_raw(root)
    assert METADATA in str(error.value)


@pytest.mark.parametrize("fold", [0, 6, 1.5, "1", True, None, [1]])
def test_a_fold_is_a_number_from_1_to_5(root, fold):
    change_metadata(root, lambda p: p.update({"Fold": fold}))
    with pytest.raises(DataError, match=f"tile {TILE}.*Fold: a whole number from 1 to 5"):
        reader.open_raw(root)


def test_a_repeated_tile_is_refused(root):
    change_collection(root, lambda c: c["features"].append(c["features"][0]))
    with pytest.raises(DataError, match="each ID_PATCH once, found 10000 again"):
        reader.open_raw(root)


def test_missing_folder_and_metadata(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        reader.open_raw(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no such file.*holds a complete metadata.geojson"):
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


def test_no_data_is_masked(root):
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


def test_a_tile_may_lack_a_modality(root):
    s2(root).unlink()
    (root / SPOT).unlink()
    example = reader.open_raw(root).read(TILE)
    assert example["s2"]["values"].shape == (0, 16, 16, 10) and example["spot"]["values"].shape == (0, 160, 160, 3)


def test_folder_with_one_modality_only(root):
    for folder in ("DATA_S1A", "DATA_S1D", "DATA_SPOT"):
        shutil.rmtree(root / folder)
    assert list(reader.open_raw(root).modalities) == ["s2", "location"]


def test_the_simulation_is_deterministic_and_has_the_layout(simulated, tmp_path):
    from data.pastis.simulated import simulate

    again = simulate(tmp_path / "again", tiles=10, tile_size=16, seed=0)
    for path in simulated.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(simulated)).read_bytes(), path
    series = np.load(simulated / "DATA_S2" / f"S2_{TILE}.npy")
    assert series.dtype == np.int16 and series.shape[1:] == (10, 16, 16) and 38 <= len(series) <= 61
    with rasterio.open(simulated / SPOT) as image:
        assert image.read().shape == (3, 160, 160) and image.crs.to_epsg() == 2154


def test_a_simulated_folder_declares_it_wherever_it_is(root):
    assert reader.open_raw(root).simulated
    path = root / "metadata.geojson"
    collection = json.loads(path.read_text())
    del collection["simulated"]
    path.write_text(json.dumps(collection))
    assert not reader.open_raw(root).simulated


def test_a_tile_without_geometry_has_no_location(root):
    change_collection(root, lambda c: feature_of(c).update({"geometry": None}))
    dataset = reader.open_raw(root)
    assert dataset.read(TILE)["location"]["values"].shape == (0, 2)
    assert dataset.read("10004")["location"]["values"].shape == (1, 2)


def test_a_geometry_outside_the_earth_is_reported(root):
    change_collection(root, lambda c: c.pop("crs") and None)  # meters, which count as degrees without a reference system
    dataset = reader.open_raw(root)
    assert "location" not in dataset.modalities
    (finding,) = dataset.inspect(TILE)
    assert (finding.kind, finding.tile) == ("georeference", TILE) and "not on Earth" in finding.found
    assert dataset.read(TILE)["spot"]["values"].shape == (1, 160, 160, 3)  # nothing to compare it with


def test_an_image_without_reference_system_is_read_and_reported(root):
    write_spot(root, crs=None)
    dataset = open_dataset("pastis", root)
    assert dataset.read(TILE)["spot"]["values"].shape == (1, 160, 160, 3)
    (finding,) = dataset.inspect(TILE)
    assert finding.kind == "georeference" and finding.path.endswith(SPOT) and not list(dataset.inspect("10004"))


def test_an_image_in_another_reference_system_is_compared_on_the_ground(root):
    image, t = spot_of(root)
    place = rasterio.warp.transform("EPSG:2154", "EPSG:3035", [t.c + 80], [t.f - 80])
    write_spot(root, crs="EPSG:3035", c=place[0][0] - 80, f=place[1][0] + 80)
    np.testing.assert_array_equal(open_dataset("pastis", root).read(TILE)["spot"]["values"][0], image.transpose(1, 2, 0))


def test_an_image_whose_rows_run_to_the_north_is_flipped(root):
    image, t = spot_of(root)
    write_spot(root, values=image[:, ::-1], e=1.0, f=t.f - 160)
    np.testing.assert_array_equal(open_dataset("pastis", root).read(TILE)["spot"]["values"][0], image.transpose(1, 2, 0))


def test_a_wholly_unknown_image_or_series_is_absent_with_a_remark(root):
    write_spot(root, values=np.zeros((3, 160, 160), np.uint8))
    change_array(s2(root), np.zeros_like)
    change_array(root / S1A, lambda a: np.full_like(a, -3.4e38))
    example = open_dataset("pastis", root).read(TILE)
    assert {name: len(example[name]["values"]) for name in ("spot", "s2", "s1a", "s1d")} == {"spot": 0, "s2": 0, "s1a": 0, "s1d": 73}
    assert sorted(example["remarks"]) == ["s1a", "s2", "spot"] and "no known pixel" in example["remarks"]["s2"]


def test_undeclared_fill_values_are_unknown(root):
    def fill(array):
        array[1, 0, 2, 3] = -3.4e38
        return array

    change_array(root / S1A, fill)
    values = open_dataset("pastis", root).read(TILE)["s1a"]["values"]
    assert np.isnan(values[1, 2, 3, 0]) and np.nanmin(values) > -1e3


def test_negative_reflectance_is_kept(root):
    def darken(array):
        array[1, :, 2, 3] = -250
        return array.astype(np.int64)

    change_array(s2(root), darken)
    assert (open_dataset("pastis", root).read(TILE)["s2"]["values"][1, 2, 3] == -250).all()


@pytest.mark.parametrize("tile", ["10000", "10009"])
def test_only_the_label_file_of_another_size_is_named(root, tile):
    change_array(root / f"ANNOTATIONS/TARGET_{tile}.npy", lambda a: a[:, :8, :8])
    dataset = open_dataset("pastis", root)
    wrong = {}
    for tiles in dataset.parts.values():
        for each in tiles:
            dataset.read(each, lambda name, error, each=each: wrong.setdefault((each, name), error) and {})
    assert dataset.label_side == 16 and list(wrong) == [(tile, "labels")]


def test_each_broken_image_is_one_finding(root):
    folder = (root / SPOT).parent
    names = {"10000": b"", "10005": b"<html>503</html>"}
    for tile, content in names.items():
        (folder / f"SPOT6_RVB_1M00_2019_{tile}.tif").write_bytes(content)
    dataset = open_dataset("pastis", root)
    for tile in names:
        with pytest.raises(DataError, match=f"{tile}.*unreadable file of {len(names[tile])} bytes"):
            dataset.read(tile)
        assert list(dataset.inspect(tile)) == []  # reading reports it


def test_stray_files_are_ignored(root):
    before = sorted(reader.raw_files(root))
    for name in ("DATA_S2/.DS_Store", "DATA_S2/._S2_10000.npy", "ANNOTATIONS/Thumbs.db", "DATA_S1A/desktop.ini", ".DS_Store"):
        (root / name).write_bytes(b"x")
    assert sorted(reader.raw_files(root)) == before and len(before) == 10 * 6 + 1
    assert len(open_dataset("pastis", root).read(TILE)["s2"]["values"])


def test_upper_case_suffixes_and_linked_folders_are_read(root, tmp_path):
    spot = root / SPOT
    spot.rename(spot.with_suffix(".TIF"))
    (root / "DATA_S2").rename(tmp_path / "elsewhere")
    (root / "DATA_S2").symlink_to(tmp_path / "elsewhere")
    example = open_dataset("pastis", root).read(TILE)
    assert example["spot"]["values"].shape == (1, 160, 160, 3) and len(example["s2"]["values"])


def test_two_files_that_differ_in_case_are_refused(root):
    path = root / "DATA_S2" / f"S2_{TILE}.npy"
    path.with_suffix(".NPY").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="one file of that name, in upper or lower case, found .* as well"):
        open_dataset("pastis", root)


class Compared(str):
    """A string that counts how often it is compared."""

    count = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        Compared.count += 1
        return super().__eq__(other)

    def __str__(self):
        return self


def test_places_are_numbered_without_comparing_each_with_each(tmp_path):
    places = [Compared(f"place {index:03d}") for index in range(500)]
    features = {place[6:]: Value({"properties": {"location_id": place}}, tmp_path) for place in places}
    assert reader._Reader(tmp_path, features, {}, {}, {}).numbering == {f"{index:03d}": index + 1 for index in range(500)}
    assert Compared.count < 5 * len(places)


def test_parcel_numbers_that_restart_at_each_place_are_kept_apart(root):
    change_collection(root, lambda c: [f["properties"].update({"location_id": "b"}) for f in c["features"]] and None)
    change_metadata(root, lambda p: p.update({"location_id": "a"}))
    dataset = open_dataset("pastis", root)
    a, b = (dataset.read(tile)["parcels"] for tile in (TILE, "10004"))
    assert a[a > 0].min() > 10**9 and a.max() < 2 * 10**9 < b[b > 0].min()
    change_array(root / PARCELS, lambda array: array + 10**9)
    with pytest.raises(DataError, match="whole parcel numbers below 1,000,000,000"):
        dataset.read(TILE)
