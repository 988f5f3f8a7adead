"""Sampling: exact where grids agree, close to GDAL where they do not, and independent of the rectangle that is read."""

import pathlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject, transform

from omnisat_jax.rasters.grid import RasterError, RasterGrid
from omnisat_jax.rasters.sampling import Target, placement, sampler

UTM31, UTM32 = CRS.from_epsg(32631), CRS.from_epsg(32632)
LEFT, TOP = 700_000.0, 5_600_000.0


def raster(transform, side=64, crs=UTM31):
    return RasterGrid(pathlib.Path("a.tif"), crs, transform, side, side)


def target(row=0, column=0, height=48, width=48, pixel=10.0, crs=UTM31, left=LEFT, top=TOP):
    return Target(crs.to_wkt(), left, top, pixel, row, column, height, width)


def smooth(side=64):
    y, x = np.mgrid[:side, :side]
    return np.stack([100 + y + 2 * x, 50 * np.sin(y / 9) + 3 * np.cos(x / 7)]).astype(np.float32)


def sample(grid, place, values, known=None, nearest=False):
    plan = sampler(grid, place)
    assert plan.window is not None
    row, column, rows, columns = plan.window
    area = (slice(None), slice(row, row + rows), slice(column, column + columns))
    known = np.ones(values.shape, bool) if known is None else known
    return plan(values[area], known[area], nearest)


def test_equal_pixels_are_copied():
    values = np.random.default_rng(0).integers(0, 1000, (2, 64, 64), np.uint16)
    grid = raster(Affine(10, 0, LEFT - 30, 0, -10, TOP + 20))
    found, known = sample(grid, target(), values)
    assert found.dtype == np.uint16 and placement(grid, target()).exact
    assert (found == values[:, 2:50, 3:51]).all() and known.all()


ACROSS = CRS.from_epsg(32760)  # around 177 degrees east; the map begins there, 4 km west of the 180th meridian


@pytest.mark.parametrize(
    ("crs", "west", "pixel", "width"),
    [
        (4326, 180 - 0.05, 1e-3, 100), (4326, -180 - 0.05, 1e-3, 100), (4326, -180, 1e-3, 50), (4326, 180 - 0.05, 1e-3, 50),
        (4326, 0, 0.36, 1000), (4326, -180, 0.36, 1000), (3857, -20037508.342789244, 4007.501668557849, 10_000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("nearest", [False, True])
def test_across_the_180th_meridian(crs, west, pixel, width, nearest):
    """Values are sines of the longitude, so that one from anywhere else shows."""
    grid = RasterGrid(pathlib.Path("a.tif"), CRS.from_epsg(crs), Affine(pixel, 0, west, 0, -pixel, -1.85e6 if crs == 3857 else -16.9), 90, width)
    turn = 360 if crs == 4326 else 40075016.685578488
    frequency = 2 * np.pi / (0.1 if width <= 100 else 360)
    longitude = (west + (np.arange(width) + 0.5) * pixel) * 360 / turn
    values = np.broadcast_to(np.sin(longitude * frequency), (1, 90, width)).copy()
    place = target(height=100, width=100, pixel=80.0, crs=ACROSS, left=818_000.0, top=8_128_000.0)
    found, known = sample(grid, place, values, nearest=nearest)
    x, y = np.meshgrid(818_000 + 80 * (np.arange(100) + 0.5), 8_128_000 - 80 * (np.arange(100) + 0.5))
    there = np.array(transform(ACROSS, CRS.from_epsg(4326), x.ravel().tolist(), y.ravel().tolist())[0]).reshape(x.shape)
    assert there.min() < -179.97 and there.max() > 179.97
    offset = (there - west * 360 / turn) % 360
    inside = offset < width * pixel * 360 / turn
    assert (known[0] == inside)[np.abs(offset - width * pixel * 360 / turn) > 1e-5].mean() > 0.999
    bound = 2.2 * frequency * pixel * 360 / turn
    assert known.any() and np.abs(found[0] - np.sin(there * frequency))[known[0]].max() < bound


def test_beyond_the_raster_nothing_is_known():
    values = np.ones((1, 64, 64), np.float32)
    found, known = sample(raster(Affine(10, 0, LEFT, 0, -10, TOP)), target(row=-5, column=-7, height=80, width=90), values)
    inside = np.zeros((80, 90), bool)
    inside[5:69, 7:71] = True
    assert (known[0] == inside).all() and (found[0] == inside).all()


def test_a_raster_elsewhere_has_no_window():
    assert sampler(raster(Affine(10, 0, LEFT + 5000, 0, -10, TOP)), target()).window is None
    assert sampler(raster(Affine(10, 0, LEFT + 50_000, 0, -10, TOP), crs=UTM32), target()).window is None


@pytest.mark.parametrize(
    "name, transform, crs",
    [
        ("half a pixel", Affine(10, 0, LEFT - 35, 0, -10, TOP + 25), UTM31),
        ("20 m", Affine(20, 0, LEFT - 100, 0, -20, TOP + 100), UTM31),
        ("rotated", Affine(12, 4, LEFT - 150, 4, -12, TOP + 50), UTM31),
        ("another zone", None, UTM32),
    ],
)
def test_interpolation_agrees_with_gdal(name, transform, crs):
    if transform is None:
        from rasterio.warp import transform as project

        (x,), (y,) = project(UTM31, UTM32, [LEFT], [TOP])[:2]
        transform = Affine(12, 0, x - 200, 0, -12, y + 200)
    values, place = smooth(), target()
    found, known = sample(raster(transform, crs=crs), place, values)
    expected = np.full((2, 48, 48), np.nan, np.float32)
    reproject(
        values, expected, src_transform=transform, src_crs=crs, dst_transform=Affine(10, 0, LEFT, 0, -10, TOP), dst_crs=UTM31,
        resampling=Resampling.bilinear, src_nodata=np.nan, dst_nodata=np.nan, tolerance=0,
    )  # fmt: skip
    both = known & np.isfinite(expected)
    assert both.mean() > 0.9, name
    assert np.abs(found - expected)[both].max() < 0.05, name


def test_finer_rasters_are_averaged():
    values = np.random.default_rng(0).normal(size=(1, 240, 240)).astype(np.float32)
    grid = RasterGrid(pathlib.Path("a.tif"), UTM31, Affine(2, 0, LEFT, 0, -2, TOP), 240, 240)
    found, known = sample(grid, target(), values)
    expected = values.reshape(1, 48, 5, 48, 5).mean((2, 4))
    assert known.all() and np.abs(found - expected).max() < 1e-6


def test_unknown_pixels_do_not_leak():
    values = np.full((1, 64, 64), 7.0, np.float32)
    known = np.random.default_rng(0).random((1, 64, 64)) > 0.3
    values[~known] = 1e9
    found, mask = sample(raster(Affine(10, 0, LEFT - 34, 0, -10, TOP + 26)), target(), values, known)
    assert 0.5 < mask.mean() < 0.9
    assert np.allclose(found[mask], 7) and (found[~mask] == 0).all()


def test_classes_are_taken_from_the_nearest_pixel():
    classes = np.random.default_rng(0).integers(0, 12, (1, 64, 64), np.uint8)
    found, _ = sample(raster(Affine(20, 0, LEFT, 0, -20, TOP)), target(), classes, nearest=True)
    assert (found == classes[:, :24, :24].repeat(2, 1).repeat(2, 2)).all()


@hypothesis.given(
    row=st.integers(-20, 40), column=st.integers(-20, 40), height=st.integers(1, 40), width=st.integers(1, 40), which=st.integers(0, 3)
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_a_pixel_does_not_depend_on_the_rectangle(row, column, height, width, which):
    transform, crs = [
        (Affine(10, 0, LEFT - 33, 0, -10, TOP + 21), UTM31),
        (Affine(9, 3, LEFT - 150, 3, -9, TOP + 50), UTM31),
        (Affine(3.3, 0, LEFT, 0, -3.3, TOP), UTM31),
        (Affine(0.0001, 0, 5.8205, 0, -0.0001, 50.5185), CRS.from_epsg(4326)),
    ][which]
    values, known = smooth(), np.random.default_rng(1).random((2, 64, 64)) > 0.1
    grid = raster(transform, crs=crs)
    whole, all_known = sample(grid, target(-20, -20, 100, 100), values, known)
    plan = sampler(grid, target(row, column, height, width))
    part = (slice(None), slice(row + 20, row + 20 + height), slice(column + 20, column + 20 + width))
    if plan.window is None:
        assert not all_known[part].any()
        return
    found, mask = sample(grid, target(row, column, height, width), values, known)
    assert (mask == all_known[part]).all() and found.tobytes() == whole[part].tobytes()


def test_coordinates_that_cannot_be_converted_are_named():
    polar = CRS.from_proj4("+proj=gnom +lat_0=-90 +lon_0=0")
    try:
        plan = sampler(raster(Affine(10, 0, 0, 0, -10, 0), crs=polar), target())
    except RasterError as error:
        assert "a.tif" in str(error) and "--crs" in str(error) or "domain" in str(error)
    else:
        assert plan.window is None


def test_what_is_done_is_said():
    assert placement(raster(Affine(10, 0, LEFT, 0, -10, TOP)), target()).words == ""
    assert "from pixels of 20 m to 10 m" in placement(raster(Affine(20, 0, LEFT, 0, -20, TOP)), target()).words
    assert "EPSG:32632" in placement(raster(Affine(10, 0, LEFT, 0, -10, TOP), crs=UTM32), target()).words
    assert "from a rotated grid" in placement(raster(Affine(9, 3, LEFT, 3, -9, TOP)), target()).words
    assert "part of a pixel" in placement(raster(Affine(10, 0, LEFT + 3, 0, -10, TOP)), target()).words
