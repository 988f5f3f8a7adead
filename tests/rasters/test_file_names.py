"""Names of image files: the day of sensing is never guessed, and other formats come with the command that converts them."""

import pathlib

import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.rasters.file_names import ADVICE, date_of, format_advice, series_dates


@pytest.mark.parametrize(
    "name, day",
    [
        ("S2A_MSIL2A_20220208T105421_N0400_R051_T31UFS_20220209T140000.tif", "20220208"),
        ("a_2020-02-29.tif", "20200229"),
        ("12345678_20210101.tif", "20210101"),
        ("2021-02-29.tif", None),
        ("0001-01-01.tif", None),
        ("21010101.tif", None),
        ("a.tif", None),
        ("120210101.tif", None),
    ],
)
def test_dates_of_names(name, day):
    assert date_of(name) == day


def days(*names, one_file_per_date=False):
    return [day for day, _ in series_dates([pathlib.Path(name) for name in names], one_file_per_date)]


@pytest.mark.parametrize(
    "names, expected",
    [
        (("20210101_20210131.tif", "20210201_20210228.tif"), ["20210101", "20210201"]),  # composites
        (("LC08_L2SP_197023_20210103_20210110_02_T1.tif",), ["20210103"]),
        (("a_20210103.tif", "b_20210103.tif"), ["20210103"] * 2),  # parts of an image
        (("S2A_MSIL2A_20210103T1_20210104T2.tif", "S2A_MSIL2A_20210103T1_20210105T2.tif"), ["20210103"] * 2),
        (("31UFS_20210103_20210104.tif", "31UFT_20210103_20210104.tif", "31UFT_20210108_20210109.tif"), ["20210103", "20210103", "20210108"]),
    ],
)
def test_the_first_date_is_that_of_sensing(names, expected):
    assert days(*names) == expected


@pytest.mark.parametrize(
    "names, message",
    [
        (("a.tif",), "a.tif: expected a date in the file's name"),
        (("export_20230501_20210103.tif",), "found 20230501 before 20210103, as if it were the day of an export; rename the files"),
        (("20111231_20210103.tif", "20111231_20210203.tif"), "found 20111231, as in 20111231_20210103.tif, while other dates in the names differ"),
    ],
)
@pytest.mark.parametrize("one_file_per_date", [False, True])
def test_dates_that_may_be_others_are_refused(names, message, one_file_per_date):
    with pytest.raises(UserError, match=message):
        days(*names, one_file_per_date=one_file_per_date)


def test_files_of_one_date_are_joined_by_a_named_command():
    with pytest.raises(UserError, match="expected one file per date, found 20210103_B02.tif .* bands by gdal_merge.py -separate"):
        days("20210103_B02.tif", "20210103_B03.tif", one_file_per_date=True)


def test_other_formats_come_with_their_conversion():
    assert "gdal_translate" in format_advice("a/mosaic.VRT") and "gdal_translate" in format_advice("b02.jp2")
    assert "gdal_rasterize" in format_advice("fields.gpkg") and "gdal_rasterize" in format_advice("fields.shp")
    assert format_advice("a.tif") == ADVICE
