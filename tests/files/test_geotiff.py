"""GeoTIFF files are read north up, with everything they declare about their values."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin

from omnisat_jax.errors import DataError
from omnisat_jax.files.geotiff import Footprint, ImageForm, is_geotiff, open_geotiff, read_image
from tests.region import write

RAMP = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)


def read(path, **options):
    with open_geotiff(path, tile="7", **options) as source:
        return source.read()


def test_rows_that_run_north_are_turned(tmp_path):
    south = write(tmp_path / "south.tif", RAMP[:, ::-1], transform=Affine(10, 0, 0, 0, 10, 0))
    north = write(tmp_path / "north.tif", RAMP, transform=from_origin(0, 40, 10, 10))
    with open_geotiff(south) as one, open_geotiff(north) as other:
        np.testing.assert_array_equal(one.read()[0], other.read()[0])
        np.testing.assert_array_equal(one.read((1, 2, 2, 1))[0], RAMP[:, 1:3, 2:3])
        assert one.transform == other.transform and one.footprint == other.footprint


def test_unknown_pixels_are_not_known(tmp_path):
    values = np.array([[[1, -9999], [np.nan, np.inf]], [[1, 2], [3, -3.4e38]]], np.float32)
    found, known = read(write(tmp_path / "a.tif", values, nodata=-9999))
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(known, [[[True, False], [False, False]], [[True, True], [True, False]]])


def test_masks_and_alpha_hide_pixels(tmp_path):
    mask = np.array([[255, 0], [255, 255]], np.uint8)
    path = write(tmp_path / "mask.tif", np.ones((2, 2, 2), np.uint8), mask=mask)
    np.testing.assert_array_equal(read(path)[1], np.broadcast_to(mask > 0, (2, 2, 2)))
    path = write(tmp_path / "alpha.tif", np.concatenate([np.ones((3, 2, 2), np.uint8), mask[None]]), photometric="rgb", alpha="yes")
    with open_geotiff(path) as source:
        assert source.has_alpha and source.bands == (1, 2, 3) and source.declares_unknown
        np.testing.assert_array_equal(source.read()[1], np.broadcast_to(mask > 0, (3, 2, 2)))
    # Four expected bands are four bands of values.
    with open_geotiff(path, bands=4) as source:
        assert not source.has_alpha and source.read()[0].shape == (4, 2, 2) and source.read()[1].all()


@pytest.mark.parametrize(("dtype", "nodata", "declares"), [("uint8", 255, True), ("uint8", None, False), ("float32", -1e38, True)])
def test_a_declared_nodata_value_is_reported(tmp_path, dtype, nodata, declares):
    with open_geotiff(write(tmp_path / "a.tif", RAMP.astype(dtype), nodata=nodata)) as source:
        assert source.declares_unknown is declares


def test_images_are_checked_before_they_are_read(tmp_path):
    path = write(tmp_path / "a.tif", np.concatenate([RAMP] * 3), transform=from_origin(0, 40, 10, 10))
    image, footprint = read_image(path, ImageForm(bands=3, side=4), tile="7", what="an image")
    np.testing.assert_array_equal(image, np.stack([RAMP[0]] * 3, -1))
    assert footprint is not None and footprint.bounds == (0, 0, 40, 40) and footprint.pixel == 10
    middle, whole = read_image(path, ImageForm(bands=3, crop=2), tile="7", what="an image")
    np.testing.assert_array_equal(middle, image[1:3, 1:3])
    assert whole == footprint
    for form, message in (
        (ImageForm(bands=4), "expected an image 4 bands uint8 a square image, found 3 bands of uint8, 4x4 px"),
        (ImageForm(bands=3, side=5), "5x5 px, found 3 bands of uint8, 4x4 px"),
        (ImageForm(bands=3, crop=6), "expected an image of at least 6x6 px"),
    ):
        with pytest.raises(DataError, match=f"tile 7: .*a.tif: .*{message}"):
            read_image(path, form, tile="7", what="an image")


def test_scales_are_refused_where_they_are_not_applied(tmp_path):
    with open_geotiff(write(tmp_path / "a.tif", RAMP, scales=[0.1])) as source, pytest.raises(DataError, match="found scale 0.1 and offset 0"):
        source.need_plain()


def test_every_band_may_have_a_mask_of_its_own(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((2, 4, 4), np.uint8))
    masks = np.full((2, 4, 4), 255, np.uint8)
    masks[0, 1], masks[1, :, 2] = 0, 0
    with rasterio.open(f"{path}.msk", "w", driver="GTiff", count=2, height=4, width=4, dtype="uint8") as target:
        target.write(masks)
        target.update_tags(INTERNAL_MASK_FLAGS_1="0", INTERNAL_MASK_FLAGS_2="0")
    with open_geotiff(path) as source:
        assert source.declares_unknown and (source.read()[1] == (masks > 0)).all()


@pytest.mark.parametrize("value", ["nan", "-9999", "256"])
def test_a_nodata_value_beyond_the_type_marks_nothing(tmp_path, value):
    path = write(tmp_path / "a.tif", np.arange(16, dtype=np.uint8).reshape(1, 4, 4))
    (tmp_path / "a.tif.aux.xml").write_text(f'<PAMDataset><PAMRasterBand band="1"><NoDataValue>{value}</NoDataValue></PAMRasterBand></PAMDataset>')
    with open_geotiff(path) as source:
        assert not source.declares_unknown and source.read()[1].all()


def test_grids_must_be_square_and_north_up(tmp_path):
    for name, options, message in (
        ("turned", {"transform": Affine(10, 1, 0, 1, -10, 0)}, "rotated by 1, 1"),
        ("oblong", {"transform": from_origin(0, 0, 10, 20)}, "pixels of 10 x -20"),
        ("nowhere", {"crs": None}, "a coordinate reference system and a position in it, found a position only"),
    ):
        with open_geotiff(write(tmp_path / f"{name}.tif", RAMP, **options)) as source, pytest.raises(DataError, match=message) as raised:
            source.need_grid("an image")
        assert raised.value.finding.kind == "georeference"


def test_footprints_are_compared_with_a_tolerance():
    utm = rasterio.crs.CRS.from_epsg(32631)
    here = Footprint(utm, (500_000, 5_000_000, 501_000, 5_001_000), 10)
    moved = Footprint(utm, (500_003, 5_000_000, 501_003, 5_001_000), 10)
    assert here.differs(moved, 3) == "" and here.differs(moved, 2).endswith("up to 3 away")
    assert "another reference system" in here.differs(Footprint(rasterio.crs.CRS.from_epsg(32632), here.bounds, 10), 1e9)


def test_other_formats_and_damaged_files_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", RAMP)
    vrt = tmp_path / "vrt.tif"
    vrt.write_text(f'<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand><SimpleSource><SourceFilename>{path}</SourceFilename>')
    (tmp_path / "empty.tif").touch()
    for name in ("vrt.tif", "empty.tif"):
        with pytest.raises(DataError, match=f"{name}: expected a GeoTIFF, found an unreadable file"):
            read(tmp_path / name)
    (tmp_path / "a.tif.msk").write_text("<VRTDataset/>")
    with pytest.raises(DataError, match="a.tif.msk: expected a mask that is a TIFF, found another format"):
        read(path)
    (tmp_path / "a.tif.msk").unlink()
    (tmp_path / "a.tif.aux.xml").write_text("<PAM")
    with pytest.raises(DataError, match="a.tif.aux.xml: expected metadata of an image in XML"):
        read(path)


def test_names_of_geotiffs():
    assert all(is_geotiff(name) for name in ("a.tif", "b.TIFF", "c/d.Tif")) and not any(map(is_geotiff, ("a", "a.tif.msk", "tif")))
