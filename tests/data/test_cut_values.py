"""Cutting honors what each file declares about its place and values, or refuses it."""

import os
import resource

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from data.reading.datasets import open_dataset
from data.tiles import cutting
from omnisat_jax.missing import NO_DATA_INT16
from tests.region import FIELDS, GRADIENT, LEFT, SIDE, SIZE, TOP, cut, cut_image, described, make_region, refused, tile, write


@pytest.fixture
def here(tmp_path):
    return make_region(tmp_path)


# Georeference.


def assert_tiles_lie_at_their_place(folder, source):
    """Checks that every pixel of every tile is that of the source at the same place on the ground."""
    paths = sorted(folder.glob("*.tif"))
    with rasterio.open(source) as raster:
        full, inverse = raster.read(1), ~raster.transform
    for path in paths:
        with rasterio.open(path) as found:
            rows, columns = np.mgrid[: found.height, : found.width]
            x, y = rasterio.transform.xy(found.transform, rows.ravel(), columns.ravel())
            column, row = inverse @ (np.array(x), np.array(y))
            np.testing.assert_array_equal(found.read(1).ravel(), full[np.floor(row).astype(int), np.floor(column).astype(int)])
    return len(paths)


@pytest.mark.parametrize("south_up", [False, True])
@pytest.mark.parametrize("per_pixel", [1, 2, 4])
@pytest.mark.parametrize("away", [0, 3])
def test_every_tile_is_the_source_at_its_place(here, south_up, per_pixel, away):
    """Rasters of both orientations, whose pixels nest, and which begin with the labels or before them."""
    side, pixel = (SIDE + away) * per_pixel, 10 / per_pixel
    values = np.arange(side**2).reshape(side, side).astype(np.int32) % 32_003
    top = TOP + 10 * away
    north_up = write(here / "north_up.tif", values[None].astype(np.int16), from_origin(LEFT - 10 * away, top, pixel, pixel))
    flipped = Affine(pixel, 0, LEFT - 10 * away, 0, pixel, top - side * pixel)
    path = write(here / "south_up.tif", values[None, ::-1].astype(np.int16), flipped) if south_up else north_up
    assert cut_image(here, path) == 0
    assert assert_tiles_lie_at_their_place(here / "out" / "im", north_up) == 16
    assert assert_tiles_lie_at_their_place(here / "out" / "labels", here / "labels.tif") == 16


def test_labels_whose_rows_run_to_the_north_are_flipped(here):
    write(here / "turned.tif", FIELDS[None, ::-1].astype(np.uint8), Affine(10, 0, LEFT, 0, 10, TOP - 10 * SIDE))
    write(here / "im.tif", GRADIENT[None])
    assert cut(here, "--image", f"im={here / 'im.tif'}", labels="turned.tif") == 0
    assert assert_tiles_lie_at_their_place(here / "out" / "labels", here / "labels.tif") == 16


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, LEFT, 0, -20, TOP),
        Affine(10, 0, LEFT, 0, -5, TOP),
        Affine(10, 1, LEFT, 0, -10, TOP),
        Affine(10, 0, LEFT, 1, -10, TOP),
        Affine(-10, 0, LEFT + 320, 0, -10, TOP),
        Affine(0, 10, LEFT, -10, 0, TOP),
    ],
    ids=["tall", "flat", "sheared", "rotated", "mirrored", "on its side"],
)
def test_pixels_that_are_not_square_and_north_up_are_refused(here, capsys, transform):
    path = write(here / "im.tif", GRADIENT[None], transform)
    attempt = refused(here, capsys, ".tif: ", "square pixels, north up", "found pixels of")
    attempt("--image", f"im={path}")
    attempt("--series", f"s={write(here / 's' / '2021-01-01.tif', GRADIENT[None], transform).parent}")


def test_a_raster_without_a_reference_system_is_refused(here, capsys):
    path = write(here / "im.tif", GRADIENT[None], crs=None)
    refused(here, capsys, "im.tif", "coordinate reference system", "found a position only")("--image", f"im={path}")


def test_a_small_shift_is_reported_in_full(here, capsys):
    path = write(here / "im.tif", GRADIENT[None], from_origin(LEFT, TOP + 5, 10, 10))
    refused(here, capsys, "(400000, 5900000)", "(400000, 5900005)")("--image", f"im={path}")


# Unknown pixels.


def test_dates_of_integers_and_floats_are_combined_with_their_unknown_pixels(here):
    for month, dtype, nodata in ((1, np.int16, -9999), (2, np.float32, np.nan), (3, np.uint8, 0), (4, np.float64, -3.4e38)):
        values = np.full((1, SIDE, SIDE), 100 + month).astype(dtype)
        values[:, :2, :2] = nodata
        write(here / "s" / f"2021-{month:02d}-03.tif", values, nodata=None if month == 4 else nodata)
    assert cut(here, "--series", f"s={here / 's'}:ndvi") == 0
    values = tile(here, "s")["values"]
    assert values.dtype == np.float32 and np.isnan(values[:, :2, :2]).all()
    np.testing.assert_array_equal(values[:, 2:, :, 0], np.broadcast_to(np.arange(101, 105)[:, None, None], (4, 6, 8)))


def _nodata(path, values, known):
    write(path, np.where(known, values, 7), nodata=7)


def _internal_mask(path, values, known):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, values, mask=known)
    assert not path.with_name(path.name + ".msk").exists()


def _mask_beside(path, values, known):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        write(path, values, mask=known)
    assert path.with_name(path.name + ".msk").exists()


def _write_rgba(path):
    values = np.stack([GRADIENT % 199, GRADIENT % 198, GRADIENT % 197, GRADIENT % 3]).astype(np.uint8)
    write(path, values, photometric="RGB", alpha="YES")
    with rasterio.open(path) as source:
        assert source.colorinterp[3] == ColorInterp.alpha
    return values


def test_a_named_fourth_band_of_uint8_is_measured(here, capsys):
    """Near infrared beside red, green and blue: most programs call it alpha."""
    values = _write_rgba(here / "im.tif")
    assert cut(here, "--image", f"im={here / 'im.tif'}:R,G,B,NIR") == 0
    assert "alpha" not in capsys.readouterr().out
    dataset = open_dataset("tiles", here / "out")
    assert dataset.modalities["im"].dtype == "uint8" and dataset.modalities["im"].bands == ("R", "G", "B", "NIR")
    np.testing.assert_array_equal(dataset.read("r0000_c0001")["im"]["values"][0], values[:, :SIZE, SIZE : 2 * SIZE].transpose(1, 2, 0))
    # The same holds for tiles of other programs.
    path = here / "out" / "im" / "r0000_c0001.tif"
    with rasterio.open(path) as source:
        profile, tile_values = source.profile, source.read()
        assert source.colorinterp[3] != ColorInterp.alpha
    write(path, tile_values, profile["transform"], photometric="RGB", alpha="YES")
    np.testing.assert_array_equal(dataset.read("r0000_c0001")["im"]["values"][0], tile_values.transpose(1, 2, 0))


def test_an_alpha_channel_is_reported(here, capsys):
    values = _write_rgba(here / "im.tif")
    assert cut(here, "--image", f"im={here / 'im.tif'}") == 0
    assert "its alpha channel marks unknown pixels; if that band was measured, name all bands" in capsys.readouterr().out
    found = open_dataset("tiles", here / "out").read("r0000_c0000")["im"]["values"][0, :, :, 0]
    expected = np.where(values[3], values[0].astype(int), NO_DATA_INT16)[:SIZE, :SIZE]
    np.testing.assert_array_equal(found, expected)


def test_four_bands_of_a_uint8_series_are_kept(here):
    """Two dates of two bands: four uint8 bands, none of which is alpha."""
    for day, add in (("20210103", 0), ("20210203", 7)):
        write(here / "s" / f"s_{day}.tif", np.stack([GRADIENT % 100 + add, GRADIENT % 3]).astype(np.uint8))
    assert cut(here, "--series", f"s={here / 's'}") == 0
    series = open_dataset("tiles", here / "out").read("r0000_c0000")["s"]
    assert series["valid"].all() and series["values"].shape == (2, SIZE, SIZE, 2)
    np.testing.assert_array_equal(series["values"][1, :, :, 0], (GRADIENT % 100 + 7)[:SIZE, :SIZE])
    np.testing.assert_array_equal(series["values"][1, :, :, 1], (GRADIENT % 3)[:SIZE, :SIZE])


def test_a_file_of_two_images_is_refused(here, capsys):
    path = write(here / "im.tif", GRADIENT[None])
    write(path, GRADIENT[None] + 7, APPEND_SUBDATASET="YES")
    refused(here, capsys, "expected one image, found 2 in one file")("--image", f"im={path}")


def test_overviews_are_not_separate_images(here):
    path = write(here / "im.tif", GRADIENT[None], tiled=True, blockxsize=16, blockysize=16, mask=np.ones((SIDE, SIDE), bool))
    with rasterio.open(path, "r+") as target:
        target.build_overviews([2, 4])
    assert cut_image(here, path) == 0
    np.testing.assert_array_equal(tile(here, "im")["values"][0, :, :, 0], GRADIENT[:SIZE, :SIZE])


def test_ground_control_points_are_not_enough(here, capsys):
    path = write(here / "im.tif", GRADIENT[None], Affine.identity(), crs=None)
    with rasterio.open(path, "r+") as target:
        corners = [rasterio.control.GroundControlPoint(row, column, LEFT + 10 * column, TOP - 10 * row) for row, column in ((0, 0), (0, 64), (64, 0))]
        target.gcps = corners, rasterio.crs.CRS.from_epsg(32632)
    refused(here, capsys, "found ground control points only. Warp it first")("--image", f"im={path}")


def _alpha(path, values, known):
    profile = dict(driver="GTiff", count=2, height=SIDE, width=SIDE, dtype=values.dtype, crs="EPSG:32632")
    with rasterio.open(path, "w", transform=from_origin(LEFT, TOP, 10, 10), **profile) as target:
        target.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
        target.write(np.concatenate([values, 255 * known[None].astype(values.dtype)]))


@pytest.mark.parametrize("declare", [_nodata, _internal_mask, _mask_beside, _alpha])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_way_to_declare_unknown_pixels_is_honoured(here, declare, dtype, capsys):
    known = np.ones((SIDE, SIDE), bool)
    known[:3, :5] = False
    known[8:16, 8:16] = False  # a whole tile
    values = (GRADIENT % 200 + 10).astype(dtype)[None]
    declare(here / "im.tif", values, known)
    assert cut_image(here, here / "im.tif") == 0
    found = tile(here, "im")["values"][0, :, :, 0]
    unknown = found == NO_DATA_INT16 if dtype == np.uint8 else np.isnan(found)
    np.testing.assert_array_equal(unknown, ~known[:SIZE, :SIZE])
    np.testing.assert_array_equal(found[~unknown], values[0, :SIZE, :SIZE][~unknown])
    # An image without a known pixel is absent, and counted.
    assert tile(here, "im", "r0001_c0001")["values"].shape == (0, SIZE, SIZE, 1)
    assert "im: 1 tile without it, for lack of a known pixel" in capsys.readouterr().out


def test_an_image_without_a_known_pixel_is_refused(here, capsys):
    path = write(here / "im.tif", np.zeros((3, SIDE, SIDE), np.uint8), nodata=0)
    refused(here, capsys, "im.tif", "a known pixel")("--image", f"im={path}")


def test_unknown_labels_become_the_ignored_label(here, capsys):
    write(here / "im.tif", GRADIENT[None])
    fields = FIELDS + 1
    fields[:, 20:] = 0
    write(here / "crops.tif", fields[None].astype(np.uint8), nodata=0)
    assert cut(here, "--image", f"im={here / 'im.tif'}", "--ignore", "250", labels="crops.tif", classes="none,A,B,C") == 0
    found = open_dataset("tiles", here / "out").read("r0000_c0002")["labels"]
    assert (found[:, 4:] == 250).all() and (found[:, :4] == fields[:8, 16:20]).all()
    shown = capsys.readouterr().out
    assert "labels: 37.50 % unknown" in shown and "labels: no pixel of none" in shown


def test_labels_of_wider_integers_are_read(here):
    write(here / "im.tif", GRADIENT[None])
    fields = FIELDS.astype(np.int16)
    fields[:2] = -9999
    write(here / "wide.tif", fields[None], nodata=-9999)
    assert cut(here, "--image", f"im={here / 'im.tif'}", labels="wide.tif") == 0
    found = open_dataset("tiles", here / "out").read("r0000_c0000")["labels"]
    assert found.dtype == np.uint8 and (found[:2] == 255).all() and (found[2:] == FIELDS[2:8, :8]).all()


def test_labels_beyond_8_bits_do_not_wrap(here, capsys):
    write(here / "im.tif", GRADIENT[None])
    write(here / "wide.tif", FIELDS[None].astype(np.int32) + 256)  # 0, 1, 2 in 8 bits
    refused(here, capsys, "wide.tif", "classes 0 to 2", "found 256", labels="wide.tif")("--image", f"im={here / 'im.tif'}")


@pytest.mark.parametrize("classes, ignore", [("A,B,C", "0"), ("A,B,C", "2"), ("A,B,C", "-1"), ("A,B,C", "256")])
def test_the_ignored_label_is_beyond_the_classes(here, capsys, classes, ignore):
    write(here / "im.tif", GRADIENT[None])
    attempt = refused(here, capsys, "--ignore", f"found {ignore}", classes=classes)
    attempt("--image", f"im={here / 'im.tif'}", "--ignore", ignore)


@pytest.mark.parametrize("classes", ["A,,C", "A,B,A", "A", "A, A,B", ",".join(map(str, range(255)))])
def test_classes_are_two_or_more_distinct_names(here, capsys, classes):
    write(here / "im.tif", GRADIENT[None])
    refused(here, capsys, "class", classes=classes)("--image", f"im={here / 'im.tif'}")


@pytest.mark.parametrize("option", ["--size", "--folds", "--block"])
@pytest.mark.parametrize("number", ["0", "-3"])
def test_counts_start_at_one(here, capsys, option, number):
    write(here / "im.tif", GRADIENT[None])
    refused(here, capsys, f"{option}: expected 1 or more, found {number}")("--image", f"im={here / 'im.tif'}", option, number)


# Values.


@pytest.mark.parametrize(
    "values, found",
    [
        (np.full((1, SIDE, SIDE), 40_000, np.uint16), "40000"),
        (np.full((1, SIDE, SIDE), -40_000, np.int32), "-40000"),
        (np.full((1, SIDE, SIDE), 2**32 - 1, np.uint32), "4294967295"),
        (np.full((1, SIDE, SIDE), 2**63 + 5, np.uint64), "9223372036854775813"),
        (np.full((1, SIDE, SIDE), -(2**40), np.int64), "-1099511627776"),
    ],
    ids=["uint16", "int32", "uint32", "uint64", "int64"],
)
def test_integers_that_do_not_fit_are_refused_with_file_and_date(here, capsys, values, found):
    write(here / "s" / "a_2021-01-01.tif", GRADIENT[None])
    write(here / "s" / "b_2021-02-03.tif", values)
    attempt = refused(here, capsys, "b_2021-02-03.tif (20210203)", "values from -32767 to 32767", f"found {found}")
    attempt("--series", f"s={here / 's'}:x")


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integers_that_fit_are_kept(here, dtype):
    write(here / "im.tif", (GRADIENT % 120).astype(dtype)[None])
    assert cut_image(here, here / "im.tif") == 0
    np.testing.assert_array_equal(tile(here, "im")["values"][0, :, :, 0], GRADIENT[:8, :8] % 120)
    assert described(here, "im")["dtype"] == "int16"


def test_integers_that_float32_would_round_are_refused(here, capsys):
    write(here / "s" / "2021-01-01.tif", np.full((1, SIDE, SIDE), 2**24 + 1, np.int32))
    write(here / "s" / "2021-01-02.tif", np.ones((1, SIDE, SIDE), np.float32))
    refused(here, capsys, "2021-01-01.tif (20210101)", "16,777,216", "16777217")("--series", f"s={here / 's'}:x")


def test_complex_numbers_are_refused(here, capsys):
    path = write(here / "im.tif", np.ones((1, SIDE, SIDE), np.complex64))
    refused(here, capsys, "im.tif", "real numbers", "complex")("--image", f"im={path}")


# Many files.


def test_more_dates_than_files_may_be_open(here):
    for day in range(120):
        name = np.datetime_as_string(np.datetime64("2021-01-01") + day)
        write(here / "s" / f"{name}.tif", np.full((1, SIDE, SIDE), day, np.uint8))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    now = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (now + 40, hard))
    try:
        assert cut(here, "--series", f"s={here / 's'}:x") == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    np.testing.assert_array_equal(tile(here, "s", "r0003_c0003")["values"][:, 5, 5, 0], np.arange(120))


def test_few_tiles_at_a_time_give_the_same(here, monkeypatch):
    for day in (1, 2):
        write(here / "s" / f"2021-01-0{day}.tif", GRADIENT[None] + day)
    monkeypatch.setattr(cutting, "BUFFER", 1)
    assert cut(here, "--series", f"s={here / 's'}:x") == 0
    found = tile(here, "s", "r0002_c0001")["values"]
    np.testing.assert_array_equal(found[..., 0], np.stack([GRADIENT[16:24, 8:16] + day for day in (1, 2)]))


def test_pixels_left_over_at_the_edges_are_reported(here, capsys):
    write(here / "im.tif", GRADIENT[None])
    assert cut(here, "--image", f"im={here / 'im.tif'}", size=9) == 0
    assert "5 rows at the bottom and 5 columns at the right do not fill a tile" in capsys.readouterr().out


@pytest.mark.parametrize("fill", [-9999, NO_DATA_INT16])
def test_a_fill_value_that_is_not_declared_is_refused(here, capsys, fill):
    values = GRADIENT[None].astype(np.int16)
    values[0, :3, :3] = fill
    write(here / "im.tif", values)
    refused(here, capsys, "im.tif", f"expected measurements, found {fill} in 9 pixels of band 1")("--image", f"im={here / 'im.tif'}")
