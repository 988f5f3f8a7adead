"""Cutting series: dates, band names, scale and offset, Sentinel-2 baselines, and the options."""

import os

import numpy as np
import pytest
from rasterio.transform import from_origin

from data.reading.datasets import open_dataset
from omnisat_jax.errors import UserError
from omnisat_jax.rasters.sources import parse_source
from tests.region import FIELDS, GRADIENT, LEFT, SIDE, TOP, cut, described, make_region, refused, tile, write


@pytest.fixture
def here(tmp_path):
    return make_region(tmp_path)


def flat(value, bands=2, dtype=np.uint16):
    return np.full((bands, SIDE, SIDE), value, dtype)


def values_by_date(here, name):
    """(T, C) of values that are the same in all pixels."""
    found = tile(here, name)["values"]
    assert (found == found[:, :1, :1]).all()
    return found[:, 0, 0]


# Files and dates.


def test_hidden_files_are_skipped_and_upper_case_suffixes_read(here):
    for month in range(1, 7):
        name = f"s1_2021-{month:02d}-03.{('tif', 'TIF', 'tiff', 'TIFF', 'Tif', 'tif')[month - 1]}"
        write(here / "s" / name, flat(month, dtype=np.float32))
        (here / "s" / f"._{name}").write_bytes(b"\0\x05\x16\x07" + bytes(200))
    for name in (".DS_Store", "Thumbs.db", "s1_2021-01-03.tif.aux.xml~"):
        (here / "s" / name).write_bytes(b"x")
    assert cut(here, "--series", f"s={here / 's'}:VV,VH") == 0
    np.testing.assert_array_equal(values_by_date(here, "s")[:, 0], np.arange(1, 7))


def test_other_files_of_a_folder_are_counted(here, capsys):
    write(here / "s" / "2021-01-03.tif", flat(1))
    (here / "s" / "2021-02-03.jp2").write_bytes(b"x")
    assert cut(here, "--series", f"s={here / 's'}") == 0
    assert "not GeoTIFFs: 1 file in" in (shown := capsys.readouterr().out) and "2021-02-03.jp2" in shown


def test_the_date_that_covers_the_fewest_tiles_is_named(here, capsys):
    write(here / "s" / "2021-01-01.tif", flat(1))
    write(here / "s" / "2021-01-02.tif", flat(2)[:, :, :20])
    write(here / "s" / "2021-01-03.tif", flat(3)[:, :20])
    assert cut(here, "--series", f"s={here / 's'}") == 0
    assert len(list((here / "out" / "s").iterdir())) == 4
    assert "s: 12 tiles without it, which not every date covers completely" in (shown := capsys.readouterr().out)
    assert "2021-01-02.tif (20210102) covers the fewest: 8" in shown


def test_dates_of_two_resolutions_are_refused(here, capsys):
    write(here / "s" / "2021-01-01.tif", flat(1))
    write(here / "s" / "2021-01-02.tif", flat(2)[:, ::2, ::2], from_origin(LEFT, TOP, 20, 20))
    refused(here, capsys, "2021-01-02.tif (20210102)", "expected pixels of 10", "found 20")("--series", f"s={here / 's'}")


@pytest.mark.parametrize("make", ["fifo", "link", "folder", "empty", "vrt"])
def test_a_file_that_is_not_a_geotiff_is_named(here, capsys, make):
    write(here / "s" / "2021-01-01.tif", flat(1))
    path = here / "s" / "2021-01-02.tif"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "link":
        path.symlink_to(here / "nothing")
    elif make == "folder":
        path.mkdir()
    else:
        path.write_text("<VRTDataset/>" if make == "vrt" else "")
    refused(here, capsys, "2021-01-02.tif", "a raster: a GeoTIFF")("--series", f"s={here / 's'}")


# Names of bands.


def test_bands_are_ordered_by_their_descriptions(here, capsys):
    for month, names in ((1, ("VV", "VH")), (2, ("VH", "VV")), (3, ("vv ", "vh"))):
        pair = [flat(10 * month + (name.strip().upper() == "VH"), 1)[0] for name in names]
        write(here / "s" / f"2021-{month:02d}-03.tif", np.stack(pair), descriptions=names)
    assert cut(here, "--series", f"s={here / 's'}") == 0
    np.testing.assert_array_equal(values_by_date(here, "s"), [[10, 11], [20, 21], [30, 31]])
    assert described(here, "s")["bands"] == ["VV", "VH"]
    assert "bands of 1 of 3 files were put in the order VV, VH" in capsys.readouterr().out


def test_scale_and_offset_follow_their_bands(here):
    for month, names in ((1, ("a", "b")), (2, ("b", "a"))):
        pair = np.stack([flat({"a": 100, "b": 200}[name], 1)[0] for name in names])
        scales, offsets = [tuple({"a": x, "b": y}[name] for name in names) for x, y in ((0.5, 0.25), (1.0, 0.0))]
        write(here / "s" / f"2021-{month:02d}-03.tif", pair, descriptions=names, scales=scales, offsets=offsets)
    assert cut(here, "--series", f"s={here / 's'}") == 0
    np.testing.assert_array_equal(values_by_date(here, "s"), [[102, 200], [102, 200]])
    assert described(here, "s")["scale"] == [0.5, 0.25] and described(here, "s")["offset"] == [0, 0]


def test_given_names_order_bands(here):
    image = np.stack([GRADIENT, GRADIENT + 1, GRADIENT + 2])
    write(here / "im.tif", image, descriptions=("B", "G", "R"))
    assert cut(here, "--image", f"im={here / 'im.tif'}:R,G,B") == 0
    np.testing.assert_array_equal(tile(here, "im")["values"][0, 0, 0], [2, 1, 0])


def test_given_names_rename_bands(here):
    for month, names in ((1, ("Sigma0_VV", "Sigma0_VH")), (2, ("Sigma0_VH", "Sigma0_VV"))):
        pair = np.stack([flat(1 + name.endswith("VH"), 1)[0] for name in names])
        write(here / "s" / f"2021-{month:02d}-03.tif", pair, descriptions=names)
    assert cut(here, "--series", f"s={here / 's'}:VV,VH") == 0
    np.testing.assert_array_equal(values_by_date(here, "s"), [[1, 2], [1, 2]])


@pytest.mark.parametrize(
    "dates, given, message",
    [
        ([("VV", "VH"), ("VV", "HH")], "", "expected the bands VV, VH, found VV, HH"),
        ([("VV", "HH")], ":VV,VH", "expected the bands VV, VH, found VV, HH"),
        ([("VV", "VH"), ("VH", "")], "", "expected the bands VV, VH"),
        ([("VV", "VH"), ("VH", "VV"), ()], "", "expected descriptions of its bands"),
        ([("a", "a")], "", "each band once"),
        ([("a", "a"), ("b", "a")], ":VV,VH", "expected the bands a, a"),
        ([("VV", "VH")], ":VV", "expected 1 band (VV), found 2"),
        ([("VV", "VH")], ":VV,VV", "each band once"),
        ([("VV", "VH")], ":V\x1b[2J,H", "printable text"),
    ],
)
def test_bands_of_other_names_are_refused(here, capsys, dates, given, message):
    for month, names in enumerate(dates, 1):
        write(here / "s" / f"2021-{month:02d}-03.tif", flat(1), descriptions=names)
    refused(here, capsys, message, str(here / "s"))("--series", f"s={here / 's'}{given}")


# Scale and offset.


def sentinel_2(here, days, baseline="", reflectance=1500, tags=(), folder="s2"):
    """Files whose values are reflectance, plus 1,000 from baseline 04.00 on or where the tag declares an offset."""
    for day in days:
        more = dict(zip(("scales", "offsets"), ((number,) * 2 for number in tags)))
        added = 1000 if (tags and tags[1]) or baseline >= "N0400" else 0
        values = flat(reflectance + added)
        values[:, :3, :3] = 0
        name = f"S2A_MSIL2A_{day}T105421{'_' * bool(baseline)}{baseline}.tif"
        write(here / folder / name, values, nodata=0, **more)


def test_offsets_of_the_files_are_harmonised_exactly(here, capsys):
    sentinel_2(here, ["20211110", "20211220"], tags=(1e-4, 0.0))
    sentinel_2(here, ["20220208", "20220315"], tags=(1e-4, -0.1))
    assert cut(here, "--series", f"s2={here / 's2'}:B03,B04") == 0
    found = tile(here, "s2", "r0001_c0001")["values"]
    assert found.dtype == np.int16 and (found == 1500).all()
    assert (tile(here, "s2")["values"][:, :3, :3] == -32768).all()
    assert described(here, "s2")["scale"] == [1e-4, 1e-4] and described(here, "s2")["offset"] == [0, 0]
    assert "offsets of the files were added" in capsys.readouterr().out


def test_offsets_without_a_scale_are_harmonised_too(here):
    sentinel_2(here, ["20211110"])
    sentinel_2(here, ["20220208"], tags=(1.0, -1000.0))
    assert cut(here, "--series", f"s2={here / 's2'}:B03,B04") == 0
    assert (tile(here, "s2", "r0001_c0001")["values"] == 1500).all()


def test_different_scales_are_applied(here, capsys):
    write(here / "s" / "2021-01-01.tif", flat(1500), scales=(1e-4, 1e-4), offsets=(0.0, 0.0))
    write(here / "s" / "2021-01-02.tif", flat(150), scales=(1e-3, 1e-3), offsets=(-0.0005, 0.0))
    write(here / "s" / "2021-01-03.tif", flat(0.15, dtype=np.float32))
    assert cut(here, "--series", f"s={here / 's'}") == 0
    np.testing.assert_allclose(values_by_date(here, "s"), [[0.15, 0.15], [0.1495, 0.15], [0.15, 0.15]], rtol=1e-6)
    assert described(here, "s")["scale"] == [1, 1] and described(here, "s")["dtype"] == "float32"
    assert "scale and offset of the files were applied" in capsys.readouterr().out


def test_integers_without_a_scale_beside_scaled_ones_are_refused(here, capsys):
    write(here / "s" / "2021-01-01.tif", flat(1500))
    write(here / "s" / "2021-01-02.tif", flat(1500), scales=(1e-4, 1e-4))
    refused(here, capsys, "2021-01-01.tif", "expected a scale of its bands")("--series", f"s={here / 's'}")


@pytest.mark.parametrize("scale, offset", [(0.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_meaningless_scales_are_refused(here, capsys, scale, offset):
    write(here / "im.tif", flat(1), scales=(scale, 1.0), offsets=(offset, 0.0))
    refused(here, capsys, "im.tif", "a finite scale")("--image", f"im={here / 'im.tif'}")


def test_harmonised_values_do_not_wrap(here, capsys):
    write(here / "im.tif", flat(32_000), offsets=(1000.0, 0.0))
    refused(here, capsys, "im.tif", "from -33767 to 31767", "found 32000")("--image", f"im={here / 'im.tif'}")


# Baselines of Sentinel-2 in the names of products.


def test_the_offset_of_later_baselines_is_subtracted(here, capsys):
    sentinel_2(here, ["20211110"], "N0301")
    sentinel_2(here, ["20220208"], "N0400")
    sentinel_2(here, ["20180101"], "N0510")
    assert cut(here, "--series", f"s2={here / 's2'}:B03,B04") == 0
    found = tile(here, "s2", "r0001_c0001")["values"]
    assert found.dtype == np.int16 and (found == 1500).all()
    shown = capsys.readouterr().out
    assert "N0301: 1, N0400 -1,000: 1, N0510 -1,000: 1" in shown and "1,000 was subtracted from the values of 2 of 3 files" in shown


def test_zero_is_unknown_where_an_offset_was_added(here):
    values = flat(2500)
    values[:, :3, :3] = 0  # not declared by the file
    write(here / "s2" / "S2A_MSIL2A_20220208T105421_N0400.tif", values)
    assert cut(here, "--series", f"s2={here / 's2'}") == 0
    found = tile(here, "s2")["values"][0]
    assert (found[:3, :3] == -32768).all() and (found[3:] == 1500).all()


def test_unknown_baselines_are_reported(here, capsys):
    sentinel_2(here, ["20211110", "20211120"])
    assert cut(here, "--series", f"s2={here / 's2'}") == 0
    assert "unknown: 2" in capsys.readouterr().out and (tile(here, "s2", "r0001_c0001")["values"] == 1500).all()


def test_an_offset_is_not_subtracted_twice(here):
    sentinel_2(here, ["20220208"], "N0400", tags=(1e-4, -0.1))
    assert cut(here, "--series", f"s2={here / 's2'}") == 0
    assert (tile(here, "s2", "r0001_c0001")["values"] == 1500).all()


@pytest.mark.parametrize(
    "files, message",
    [
        ([("20220208", "N0400", 300, ())], "as if they were harmonized already"),
        ([("20220208", "N0400", 1500, ()), ("20220308", "", 1500, ())], "expected a processing baseline in the name"),
        ([("20220208", "N0400", 1500, ()), ("20220308", "N9999", 1500, ())], "expected a processing baseline in the name"),
        ([("20211110", "", 1500, ()), ("20220308", "", 1500, ())], "the series has dates before and after"),
        ([("20220208", "N0400", 1500, (1e-4, 0.0))], "expected an offset beside the scale"),
    ],
    ids=["harmonised", "unknown beside known", "of the user's own", "before and after", "a scale alone"],
)
def test_unclear_offsets_are_refused(here, capsys, files, message):
    for day, baseline, reflectance, tags in files:
        sentinel_2(here, [day], baseline, reflectance - 1000 * (reflectance < 1000), tags)
    refused(here, capsys, message, "--s2_offset s2=")("--series", f"s2={here / 's2'}:B03,B04")


@pytest.mark.parametrize("word, expected", [("none", [1500, 2500, 1500]), ("subtract", [1500, 1500, 500]), ("from_2022", [1500, 1500, 500])])
def test_the_users_statement_about_the_offset_decides(here, word, expected):
    sentinel_2(here, ["20211110"], "N0301")
    sentinel_2(here, ["20220208"], "N0400")
    sentinel_2(here, ["20220308"])
    assert cut(here, "--series", f"s2={here / 's2'}:B03,B04", "--s2_offset", f"s2={word}") == 0
    np.testing.assert_array_equal(tile(here, "s2", "r0001_c0001")["values"][:, 0, 0, 0], expected)


def test_other_sensors_are_not_harmonised(here):
    write(here / "s" / "L8_20211110_N0400.tif", flat(300))
    write(here / "s" / "L8_20220308.tif", flat(300))
    assert cut(here, "--series", f"s={here / 's'}") == 0
    np.testing.assert_array_equal(values_by_date(here, "s"), [[300, 300], [300, 300]])


@pytest.mark.parametrize("text", ["s2=maybe", "other=none", "s2"])
def test_words_for_the_offset_are_checked(here, capsys, text):
    sentinel_2(here, ["20211110"])
    refused(here, capsys, "--s2_offset")("--series", f"s2={here / 's2'}", "--s2_offset", text)


# Options.


@pytest.mark.parametrize("name", ["labels", "location", "dataset", "tile_id", "Radar", "../x", "/x", "a-b", "a b", "", "a.b", "\x1b[2J"])
def test_names_of_sensors_are_checked(here, capsys, name):
    write(here / "im.tif", GRADIENT[None])
    refused(here, capsys, "sensor")("--image", f"{name}={here / 'im.tif'}")


def test_two_sensors_of_one_name_are_refused(here, capsys):
    write(here / "im.tif", GRADIENT[None])
    refused(here, capsys, "im more than once")("--image", f"im={here / 'im.tif'}", "--image", f"im={here / 'im.tif'}")


def test_colons_may_be_part_of_a_path(here):
    path = write(here / "a:b" / "im.tif", np.stack([GRADIENT, GRADIENT]))
    assert parse_source(f"im={path}", "image").bands == ("band1", "band2")
    assert parse_source(f"im={path}:VV,VV/VH", "image").bands == ("VV", "VV/VH")
    with pytest.raises(UserError, match=r"C:\\data\\im.tif: expected a raster"):
        parse_source("im=C:\\data\\im.tif", "image")
    with pytest.raises(UserError, match=r"C:\\data\\im.tif: expected a raster"):
        parse_source("im=C:\\data\\im.tif:VV,VH", "image")
    with pytest.raises(UserError, match="names of bands"):
        parse_source(f"im={path}:VV,", "image")


@pytest.mark.parametrize("folds", [2, 10, 16])
def test_any_number_of_folds_uses_every_tile(here, folds):
    write(here / "im.tif", GRADIENT[None])
    assert cut(here, "--image", f"im={here / 'im.tif'}", "--folds", str(folds)) == 0
    parts = open_dataset("tiles", here / "out").parts
    assert set(parts) == {f"fold_{n + 1}" for n in range(folds)} and len({tile for tiles in parts.values() for tile in tiles}) == 16


# What is no raster of this kind.


@pytest.mark.parametrize(
    "name, content, advice",
    [
        ("fields.gpkg", b"SQLite format 3\0", "Rasterize it first (gdal_rasterize)"),
        ("mosaic.vrt", b"<VRTDataset/>", "Convert it first (gdal_translate)"),
    ],
)
def test_other_formats_come_with_what_to_do(here, capsys, name, content, advice):
    (here / name).write_bytes(content)
    refused(here, capsys, advice, labels=name)("--image", f"im={here / 'labels.tif'}")
    refused(here, capsys, advice)("--image", f"im={here / name}")
    (here / "s").mkdir()
    (here / name).rename(here / "s" / name)
    refused(here, capsys, f"found {name}", advice)("--series", f"s={here / 's'}")


def test_a_folder_is_no_image(here, capsys):
    refused(here, capsys, "expected one GeoTIFF of the image im, found a folder", "--series")("--image", f"im={here}")


def test_degrees_are_refused(here, capsys):
    place = from_origin(8, 53, 1e-4, 1e-4)
    write(here / "degrees.tif", FIELDS[None].astype(np.uint8), transform=place, crs="EPSG:4326")
    write(here / "im.tif", GRADIENT[None], transform=place, crs="EPSG:4326")
    refused(here, capsys, "degrees.tif: expected a projected reference system", "EPSG:4326", labels="degrees.tif")("--image", f"im={here / 'im.tif'}")


def test_labels_without_a_known_pixel_are_refused(here, capsys):
    write(here / "void.tif", np.full((1, SIDE, SIDE), 255, np.uint8))
    write(here / "im.tif", GRADIENT[None])
    refused(here, capsys, "void.tif: expected known labels that cover a tile, found none", labels="void.tif")("--image", f"im={here / 'im.tif'}")
