"""Folders of tiles written by any program: values and places as the files declare them, or one DataError that names the file."""

import copy
import json
import shutil

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.transform import from_origin

from data.preparation.options import PreparationOptions
from data.preparation.preparing import prepare_folder
from data.reading import raw
from data.reading.datasets import open_dataset, reader_of
from data.reading.raw import DataError
from data.tiles.layout import DATES_TAG
from omnisat_jax.missing import NO_DATA_INT16, measured
from tests.region import TOP, write

SIDE, EAST = 16, 400_000
TILES = ("a", "b", "c", "d")
LABELS = (np.arange(SIDE**2).reshape(1, SIDE, SIDE) % 3).astype(np.uint8)
IMAGE = np.arange(3 * SIDE**2).reshape(3, SIDE, SIDE).astype(np.uint8) // 4 + 1
SERIES = (np.arange(4 * SIDE**2).reshape(4, SIDE, SIDE) / 7).astype(np.float32)  # two dates of two bands
DESCRIPTION = {
    "name": "made up",
    "citation": "nobody",
    "classes": ["A", "B", "C"],
    "ignore": 255,
    "modalities": {
        "im": {"kind": "image", "bands": ["R", "G", "B"], "dtype": "uint8"},
        "s1": {"kind": "series", "bands": ["VV", "VH"], "dtype": "float32", "scale": [1.0, 1.0], "offset": [0.0, 0.0]},
    },
    "parts": {"train": ["a", "b"], "test": ["c", "d"]},
    "background": 0,
    "colours": ["#ff0000", "#00ff00", "#0000ff"],
    "simulated": True,
}


def place(tile, pixel=10):
    return from_origin(EAST + 160 * TILES.index(tile), TOP, pixel, pixel)


def write_series(path, tile="a", values=SERIES, dates="20200105,20200630", **more):
    write(path, values, **({"transform": place(tile)} | more))
    with rasterio.open(path, "r+") as target:
        target.update_tags(**{DATES_TAG: dates})


def make(root):
    for tile in TILES:
        write(root / "labels" / f"{tile}.tif", LABELS, place(tile))
        write(root / "im" / f"{tile}.tif", IMAGE, place(tile))
        write_series(root / "s1" / f"{tile}.tif", tile)
    (root / "dataset.json").write_text(json.dumps(DESCRIPTION))
    return root


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return make(tmp_path_factory.mktemp("good") / "tiles")


@pytest.fixture
def root(good, tmp_path):
    """A copy of intact tiles, to damage."""
    return shutil.copytree(good, tmp_path / "tiles")


def describe(root, change):
    description = copy.deepcopy(DESCRIPTION)
    change(description)
    (root / "dataset.json").write_text(json.dumps(description))


def read(root, tile="a"):
    return open_dataset("tiles", root).read(tile)


def findings(root, tile="a"):
    """{modality or "labels": DataError} of one tile."""
    found = {}

    def keep(name, error):
        found[name] = error
        return {"values": ()} if name != "labels" else {"labels": ()}

    open_dataset("tiles", root).read(tile, keep)
    return found


def test_intact_tiles_are_read_unchanged(root):
    dataset, example = open_dataset("tiles", root), read(root)
    assert dataset.simulated and dataset.background == 0 and dataset.colours[0] == "#ff0000" and not example["remarks"]
    np.testing.assert_array_equal(example["labels"], LABELS[0])
    np.testing.assert_array_equal(example["im"]["values"][0], IMAGE.transpose(1, 2, 0))
    np.testing.assert_array_equal(example["s1"]["values"][1], SERIES[2:].transpose(1, 2, 0))
    longitude, latitude = example["location"]["values"][0]
    assert 7 < longitude < 8 and 53 < latitude < 54
    assert {path.parent.name for path in reader_of("tiles").raw_files(root)} == {"tiles", "im", "s1", "labels"}


# Where tiles lie.


@pytest.mark.parametrize(
    "change",
    [
        {"transform": place("b")},
        {"transform": from_origin(EAST + 5000, TOP, 10, 10)},
        {"transform": from_origin(EAST + 5, TOP, 10, 10)},
        {"transform": from_origin(EAST, TOP, 20, 20)},
        {"transform": from_origin(EAST - 80, TOP + 80, 20, 20)},
        {"crs": "EPSG:32633"},
        {"crs": None},
        {"transform": Affine(10, 0, EAST, 0, -5, TOP)},
        {"transform": Affine(10, 1, EAST, 0, -10, TOP)},
        {"transform": Affine(-10, 0, EAST + 160, 0, -10, TOP)},
        {"transform": Affine(10, 0, float("nan"), 0, -10, TOP)},
    ],
    ids=["of another tile", "5 km away", "half a pixel", "larger", "larger around it", "system", "none", "flat", "sheared", "mirrored", "nan"],
)
@pytest.mark.parametrize("name", ["im", "s1"])
def test_a_misplaced_sensor_is_named(root, name, change):
    more = {"transform": place("a")} | change
    if name == "im":
        write(root / "im" / "a.tif", IMAGE, **more)
    else:
        write_series(root / "s1" / "a.tif", **more)
    found = findings(root)
    assert set(found) == {name} and found[name].finding.kind == "georeference" and found[name].path == str(root / name / "a.tif")
    assert found[name].expected != found[name].found and "like the labels" in found[name].expected or "square" in found[name].expected
    assert not findings(root, "b")


def test_a_shift_is_reported_in_full(root):
    write(root / "im" / "a.tif", IMAGE, from_origin(EAST + 5, TOP, 10, 10))
    error = findings(root)["im"]
    assert "x 400000 to 400160" in error.expected and "x 400005 to 400165" in error.found and "up to 5 away" in error.found


def test_finer_tiles_of_the_same_place_are_accepted(root):
    fine = IMAGE.repeat(4, 1).repeat(4, 2)
    for tile in TILES:
        write(root / "im" / f"{tile}.tif", fine, place(tile, 2.5))
    np.testing.assert_array_equal(read(root)["im"]["values"][0], fine.transpose(1, 2, 0))


def test_rows_that_run_to_the_north_are_flipped(root):
    turned = Affine(10, 0, EAST, 0, 10, TOP - 160)
    write(root / "im" / "a.tif", IMAGE[:, ::-1], turned)
    write_series(root / "s1" / "a.tif", values=SERIES[:, ::-1], transform=turned)
    write(root / "labels" / "a.tif", LABELS[:, ::-1], turned)
    for name, values in read(root, "b").items():
        if name in ("im", "s1"):
            np.testing.assert_array_equal(read(root)[name]["values"], values["values"])
    np.testing.assert_array_equal(read(root)["labels"], LABELS[0])


def test_labels_outside_the_earth_are_named(root):
    write(root / "labels" / "a.tif", LABELS, from_origin(0, 500, 10, 10), crs="EPSG:4326")
    assert findings(root)["location"].finding.kind == "georeference"


def test_unreadable_labels_do_not_affect_the_sensors(root):
    (root / "labels" / "a.tif").write_bytes(b"II*\0")
    assert set(findings(root)) == {"labels", "location"}


# Values.


@pytest.mark.parametrize("fill", [-3.4e38, np.inf, -9999.0])
def test_fill_values_are_unknown(root, fill):
    values = SERIES.copy()
    values[:, 0, 0] = fill
    write_series(root / "s1" / "a.tif", values=values, nodata=fill if fill == -9999 else None)
    found = read(root)["s1"]["values"]
    assert np.isnan(found[:, 0, 0]).all() and np.isfinite(found[:, 1:]).all()


def test_nodata_of_labels_becomes_the_ignored_label(root):
    write(root / "labels" / "a.tif", LABELS, place("a"), nodata=0)
    found = read(root)["labels"]
    assert (found[LABELS[0] == 0] == 255).all() and (found[LABELS[0] > 0] == LABELS[0][LABELS[0] > 0]).all()


def test_a_wholly_unknown_sensor_is_absent_with_a_remark(root):
    write(root / "im" / "a.tif", 0 * IMAGE, place("a"), nodata=0)
    write_series(root / "s1" / "a.tif", values=np.nan * SERIES)
    example = read(root)
    assert example["im"]["values"].shape == (0, SIDE, SIDE, 3) and len(example["s1"]["dates"]) == 0
    assert set(example["remarks"]) == {"im", "s1"} and "a.tif has no known pixel" in example["remarks"]["im"]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_band_is_unknown_by_itself(root, dtype):
    """As in images and in prediction; a whole pixel would lose what the other bands measured."""
    describe(root, lambda d: d["modalities"]["s1"].update(dtype=dtype))
    values = np.full((4, SIDE, SIDE), 7, dtype)  # two dates of two bands
    values[0, 2, 3] = values[2:] = -9999
    for tile in TILES:
        write_series(root / "s1" / f"{tile}.tif", tile, values=values, nodata=-9999)
    entry = open_dataset("tiles", root).read("a")["s1"]
    expected = np.full((2, SIDE, SIDE, 2), True)
    expected[0, 2, 3, 0] = expected[1] = False
    np.testing.assert_array_equal(measured(entry["values"]), expected)
    assert entry["values"].dtype == dtype and entry["valid"].tolist() == [True, False]


def test_the_helper_of_readers_takes_both_masks():
    modality, days = raw.RawModality("series", (2, 2, 2), "int16", ("a", "b")), np.array([3, 1])
    values, known = np.arange(16).reshape(2, 2, 2, 2), np.ones((2, 2, 2, 2), bool)
    known[0, 1, 0, 1] = False
    entry = raw.series(modality, values, days, tile="a", path="a.npy", known=known)
    assert measured(entry["values"]).sum() == 15 and entry["values"][1, 1, 0].tolist() == [4, NO_DATA_INT16]
    entry = raw.series(modality, values, days, tile="a", path="a.npy", known=known.all(-1))
    assert measured(entry["values"]).sum() == 14


def test_unknown_pixels_of_uint8_need_int16(root):
    write(root / "im" / "a.tif", IMAGE, place("a"), nodata=1)
    assert '"dtype": "int16"' in findings(root)["im"].advice
    describe(root, lambda d: d["modalities"]["im"].update(dtype="int16"))
    found = read(root)["im"]["values"][0]
    np.testing.assert_array_equal(found, np.where(IMAGE == 1, NO_DATA_INT16, IMAGE.astype(np.int16)).transpose(1, 2, 0))
    np.testing.assert_array_equal(read(root, "b")["im"]["values"][0], IMAGE.transpose(1, 2, 0))


@pytest.mark.parametrize(
    "more", [{"scales": (2.0,) * 4}, {"offsets": (1.0,) * 4}, {"scales": (1.0, 1.0, 1.0, 2.0)}, {"offsets": (float("nan"), 0, 0, 0)}]
)
def test_scales_that_contradict_dataset_json_are_named(root, more):
    write_series(root / "s1" / "a.tif", **more)
    error = findings(root)["s1"]
    assert "as in dataset.json" in error.expected and next(iter(more)).removesuffix("s") in error.expected


def test_scales_of_dataset_json_are_accepted(root):
    for tile in TILES:
        write_series(root / "s1" / f"{tile}.tif", tile, scales=(0.5, 2.0) * 2, offsets=(1.0, 0.0) * 2)
    describe(root, lambda d: d["modalities"]["s1"].update(scale=[0.5, 2], offset=[1, 0]))
    np.testing.assert_array_equal(read(root)["s1"]["values"][0], SERIES[:2].transpose(1, 2, 0))


def test_declared_scales_are_kept_in_the_records(root, tmp_path, console):
    test_scales_of_dataset_json_are_accepted(root)
    options = PreparationOptions()
    info = prepare_folder("tiles", root, tmp_path / "records", "", options, console)
    assert info.modalities["s1"].scale == (0.5, 2.0) and info.modalities["s1"].offset == (1.0, 0.0)
    assert info.modalities["location"].scale == ()


@pytest.mark.parametrize(
    "names, wrong", [(("VH", "VV", "VH", "VV"), ""), (("20200105 VH", "20200105 VV", "20200630 VH", "20200630 VV"), ""),
                     (("VV", "HH", "VV", "HH"), "HH"), (("20200630 VV", "20200630 VH", "20200105 VV", "20200105 VH"), "20200630 VV")],
)  # fmt: skip
def test_bands_of_tiles_are_ordered_by_their_descriptions(root, names, wrong):
    write_series(root / "s1" / "a.tif", descriptions=names)
    if wrong:
        assert wrong in findings(root)["s1"].found
    else:
        np.testing.assert_array_equal(read(root)["s1"]["values"], read(root, "b")["s1"]["values"][..., ::-1])


@pytest.mark.parametrize("dates", ["", "20200105", "20200105,20201301", "20200105,00010101", "20200105,21500101", "20200105,x", "1,2,3"])
def test_dates_are_checked(root, dates):
    write_series(root / "s1" / "a.tif", dates=dates)
    assert set(findings(root)) == {"s1"}


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("name, values", [("im", IMAGE[:, :8, :8]), ("im", IMAGE[:2]), ("im", IMAGE.astype(np.int16)), ("im", IMAGE[:, :8])])
def test_only_the_odd_tile_is_named(root, tile, name, values):
    write(root / name / f"{tile}.tif", values, place(tile))
    assert {other: set(findings(root, other)) for other in TILES} == {other: {name} if other == tile else set() for other in TILES}
    error = findings(root, tile)[name]
    assert "16x16" in error.expected and error.path.endswith(f"{tile}.tif")


@pytest.mark.parametrize("tile", TILES)
def test_only_the_odd_labels_are_named(root, tile):
    write(root / "labels" / f"{tile}.tif", LABELS[:, :8, :8], place(tile, 20))
    assert {other for other in TILES if findings(root, other)} == {tile} and set(findings(root, tile)) == {"labels"}


def test_upper_case_suffixes_are_found_and_twins_refused(root):
    (root / "im" / "a.tif").rename(root / "im" / "a.TIF")
    assert len(read(root)["im"]["values"]) == 1
    shutil.copy(root / "im" / "a.TIF", root / "im" / "a.tiff")
    with pytest.raises(DataError, match="one GeoTIFF per tile"):
        open_dataset("tiles", root)


# Files that refer to other files.


def test_links_and_formats_that_refer_to_other_files_are_refused(root, tmp_path):
    secret = write(tmp_path / "secret.tif", IMAGE, place("a"))
    (root / "im" / "a.tif").unlink()
    (root / "im" / "a.tif").symlink_to(secret)
    (root / "im" / "b.tif").write_text(
        f'<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{secret}'
        "</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    shutil.copy(root / "im" / "b.tif", root / "im" / "c.tif.msk")
    assert "a link to" in findings(root, "a")["im"].found
    assert "unreadable" in findings(root, "b")["im"].found
    assert "another format" in findings(root, "c")["im"].found


def test_metadata_beside_a_tile_is_honoured_or_refused(root):
    """GDAL keeps nodata, scale and offset there, and silently ignores what it cannot read."""
    beside = root / "im" / "a.tif.aux.xml"
    band = '<PAMDataset><PAMRasterBand band="1">{}</PAMRasterBand></PAMDataset>'
    beside.write_text(band.format("<Scale>2</Scale>"))
    assert findings(root, "a")["im"].found == "2"
    beside.write_text(band.format("<Scale>2</Scale>")[:-9])
    assert findings(root, "a")["im"].path == str(beside) and "metadata of an image in XML" in findings(root, "a")["im"].expected
    beside.write_text(band.format("<Description>R</Description>"))
    assert findings(root, "a") == {}


# The description.

WRONG = {
    "name": [None, 3, "", [], {}, "\x1b[2J", "x" * 5000],
    "citation": [None, 3, "", "\ud800"],
    "classes": [None, "Grass,Maize", [], ["A"], ["A", "A", "B"], ["A", "B", 3], ["A", "B", ""], {"A": 1}, [str(n) for n in range(256)], ["A", "B", "A "]],
    "ignore": [None, "255", 255.0, True, -1, 0, 2, 256, 1e400, [255]],
    "background": ["0", 0.0, 3, -2, [0], True],
    "simulated": ["no", 0, 1, [], {}],
    "colours": [[], ["#ff0000", "#00ff00"], ["#ff0000"] * 4, ["#ff0000", "#00ff00", "grass green"], "#ff0000", ["#ff0000", "#00ff00", "#ff0000\n"], [1, 2, 3]],
    "parts": [
        None, [], {}, {"train": []}, {"train": "a"}, {"train": ["a", "a"]}, {"train": ["a"], "test": ["a"]}, {"../x": ["a"]}, {"/tmp/x": ["a"]},
        {"2019/20": ["a"]}, {"": ["a"]}, {"dataset": ["a"]}, {".hidden": ["a"]}, {"train": ["../a"]}, {"train": ["/etc/passwd"]}, {"train": [["a"]]},
        {"train": ["a"], "Train": ["b"]}, {"train": [None]}, {"a\x1b[2J": ["a"]}, {"train": ["\ud800"]}, {"train": ["a" * 300]},
    ],
    "modalities": [
        None, [], {}, {"im": None}, {"im": []}, {"im": {"kind": "image"}}, {"labels": DESCRIPTION["modalities"]["im"]}, {"location": DESCRIPTION["modalities"]["im"]},
        {"../im": DESCRIPTION["modalities"]["im"]}, {"/tmp": DESCRIPTION["modalities"]["im"]}, {"i m": DESCRIPTION["modalities"]["im"]}, {"": DESCRIPTION["modalities"]["im"]},
        {"other": DESCRIPTION["modalities"]["im"]}, *({"im": DESCRIPTION["modalities"]["im"] | change} for change in (
            {"kind": "video"}, {"kind": ["image"]}, {"dtype": "float64"}, {"dtype": None}, {"bands": []}, {"bands": "RGB"}, {"bands": ["R", "R", "B"]},
            {"bands": ["R", "G", 3]}, {"bands": None}, {"scale": 1}, {"scale": [1, 1]}, {"scale": [0, 1, 1]}, {"offset": ["0", 0, 0]}, {"sclae": [1, 1, 1]},
        )),
    ],
}  # fmt: skip


@pytest.mark.parametrize("key, value", [(key, value) for key, values in WRONG.items() for value in values])
def test_every_key_is_typed_and_checked(root, key, value):
    describe(root, lambda d: d.update({key: value}))
    with pytest.raises(DataError) as raised:
        open_dataset("tiles", root)
    error = raised.value
    assert "dataset.json" in error.path or error.path == str(root / "other")
    assert error.expected and error.found and error.expected != error.found and str(error).isprintable()


@pytest.mark.parametrize("key", ["name", "citation", "classes", "ignore", "modalities", "parts"])
def test_every_key_is_needed(root, key):
    describe(root, lambda d: d.pop(key))
    with pytest.raises(DataError, match=f"found no {key}"):
        open_dataset("tiles", root)


def test_unknown_keys_are_refused_with_the_nearest(root):
    describe(root, lambda d: d.update(colors=[]))
    with pytest.raises(DataError, match="Did you mean " + "colours"):
        open_dataset("tiles", root)
