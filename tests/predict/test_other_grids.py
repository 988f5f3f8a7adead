"""Maps of the same ground from rasters on other grids: equal to the last bit where pixels are only moved, close where they are interpolated."""

import dataclasses
import json

import numpy as np
import pytest
from rasterio import Affine
from rasterio.warp import transform
from scipy.ndimage import maximum_filter, minimum_filter

from omnisat_jax import Model
from omnisat_jax.predict.area import read_area
from omnisat_jax.predict.folder import LEVELS, NO_DATA
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.region import Region
from omnisat_jax.predict.run import make_map
from tests.predict.models import BANDS, save_random_model
from tests.predict.region import LEFT, TOP
from tests.predict.test_run import joined, region
from tests.region import write

GROUND = 480  # meters per side of the map
CRS31, CRS32 = "EPSG:32631", "EPSG:32632"
MONTHS, PIXELS = (3, 6, 9), {"s1a": 10, "spot": 1}
PLAIN = Affine(1, 0, LEFT, 0, -1, TOP)  # to coordinates from meters eastwards and southwards
# From columns and rows of the stored raster, in meters, to meters eastwards and southwards; and how its pixels are made of those of the plain one.
MOVES = {
    "south up": (Affine(1, 0, 0, 0, -1, GROUND), lambda v: v[:, ::-1]),
    "rotated by 90 degrees": (Affine(0, -1, GROUND, 1, 0, 0), lambda v: np.rot90(v, 1, (1, 2))),
    "rotated by 90 degrees, up to rounding": (Affine(1e-13, -1, GROUND, 1, -1e-13, 0), lambda v: np.rot90(v, 1, (1, 2))),
    "rotated by 180 degrees": (Affine(-1, 0, GROUND, 0, -1, GROUND), lambda v: np.rot90(v, 2, (1, 2))),
    "rotated by 270 degrees": (Affine(0, 1, 0, -1, 0, GROUND), lambda v: np.rot90(v, 3, (1, 2))),
    "mirrored": (Affine(-1, 0, GROUND, 0, 1, 0), lambda v: v[:, :, ::-1]),
    "transposed": (Affine(0, 1, 0, 1, 0, 0), lambda v: v.swapaxes(1, 2)),
    "transposed and mirrored": (Affine(0, -1, GROUND, -1, 0, GROUND), lambda v: np.rot90(v, 2, (1, 2)).swapaxes(1, 2)),
}


def ground(name, month, x, y):
    """(3,H,W) measurements of a place that change smoothly, over about 200 m."""
    bands = np.arange(1, 4)[:, None, None] + month / 5 + (name == "spot")
    return 1.2 * np.sin((x - LEFT) / 61 * (0.7 + 0.1 * bands) + bands) + 1.2 * np.cos((y - TOP) / 53 + 2 * bands)


def centres(affine, height, width):
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return affine.a * columns + affine.b * rows + affine.c, affine.d * columns + affine.e * rows + affine.f


def save(folder, change):
    """Writes the scene; `change(name, values, affine)` gives other values, affine and profile."""
    for name, pixel in PIXELS.items():
        affine, side = PLAIN @ Affine.scale(pixel), GROUND // pixel
        for month in MONTHS if name == "s1a" else (0,):
            values = ground(name, month, *centres(affine, side, side)).astype(np.float32)
            values[:, : side // 8, : side // 4] = np.nan  # no turn leaves the known area where it was
            stored, place, more = change(name, values, affine) if change else (values, affine, {})
            path = folder / "s1a" / f"x_2021{month:02d}05.tif" if name == "s1a" else folder / "spot.tif"
            write(path, stored, transform=place, descriptions=BANDS[name], **({"crs": CRS31, "nodata": np.nan} | more))
    return region(f"s1a={folder / 's1a'}", images=[f"spot={folder / 'spot.tif'}"])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model.from_pretrained(save_random_model(tmp_path_factory.mktemp("model") / "model", seed=15))


OPTIONS = PredictOptions(block=20, batch=4, probabilities=True, any_radiometry=True)
ARRAYS = ("class", "confidence", "used", "dates", "probabilities")


@pytest.fixture(scope="module")
def plain(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return make_map(model, save(folder, None), folder / "out", OPTIONS)


@pytest.mark.parametrize("how", [name if number < 3 else pytest.param(name, marks=pytest.mark.exhaustive) for number, name in enumerate(MOVES)])
def test_pixels_that_are_only_moved_give_the_same_map_to_the_last_bit(model, plain, tmp_path, how):
    move, turn = MOVES[how]

    def change(name, values, affine):
        pixel = PIXELS[name]
        return np.ascontiguousarray(turn(values)), PLAIN @ move @ Affine.scale(pixel), {}

    found = make_map(model, save(tmp_path, change), tmp_path / "out", OPTIONS)
    assert found.info.grid == plain.info.grid and not any("warped" in text for text in found.info.remarks)
    assert len(np.unique(joined(plain))) == 4
    for name in ARRAYS:
        assert joined(found, name).tobytes() == joined(plain, name).tobytes(), name


def in_zone_32(name):
    """The grid of the neighboring zone, whose axes are turned by about 3 degrees here."""
    pixel = PIXELS[name]
    xs, ys = transform(CRS31, CRS32, [LEFT, LEFT + GROUND, LEFT, LEFT + GROUND], [TOP, TOP, TOP - GROUND, TOP - GROUND])[:2]
    width, height = (int((max(numbers) - min(numbers)) // pixel) + 2 for numbers in (xs, ys))
    return Affine(pixel, 0, min(xs) - 0.3 * pixel, 0, -pixel, max(ys) + 0.4 * pixel), height, width, CRS32


def rotated_by_30_degrees(name):
    pixel, side = PIXELS[name], int(1.4 * GROUND / PIXELS[name])
    centre = Affine.translation(LEFT + GROUND / 2, TOP - GROUND / 2)
    return centre @ Affine.rotation(30) @ Affine.scale(pixel, -pixel) @ Affine.translation(-side / 2, -side / 2), side, side, CRS31


def twice_as_coarse(name):
    return PLAIN @ Affine.scale(2 * PIXELS[name]), GROUND // PIXELS[name] // 2, GROUND // PIXELS[name] // 2, CRS31


def interior(classes):
    """Pixels whose eight neighbors are known and have the same class."""
    same = minimum_filter(classes, 3) == maximum_filter(classes, 3)
    same[[0, -1]] = same[:, [0, -1]] = False
    return same & (classes != NO_DATA)


@pytest.mark.parametrize("grid, words", [(in_zone_32, "from EPSG:32632"), (rotated_by_30_degrees, "from a rotated grid"), (twice_as_coarse, "from pixels of 20 m to 10 m")])
def test_interpolated_pixels_give_nearly_the_same_map(model, plain, tmp_path, grid, words):
    """Values between pixels are interpolated, which flattens the ground a little, and the unknown corner has another edge; the attention of a window
    carries both to all of its pixels. Classes change where two of them are about equally likely: at their borders, and not inside. Here, 0 to 0.7 % of
    the pixels change, none of them away from borders, and the probabilities there by 0.0003 in the mean."""

    def change(name, values, affine):
        affine, height, width, crs = grid(name)
        x, y = centres(affine, height, width)
        if crs != CRS31:
            x, y = (np.reshape(numbers, x.shape) for numbers in transform(crs, CRS31, x.ravel(), y.ravel())[:2])
        right, down = (x - LEFT) / GROUND, (TOP - y) / GROUND
        unknown = (right < 0) | (right > 1) | (down < 0) | (down > 1) | ((right < 1 / 4) & (down < 1 / 8))
        month = 0 if name == "spot" else MONTHS[next(months)]
        return np.where(unknown, np.nan, ground(name, month, x, y)).astype(np.float32), affine, {"crs": crs}

    months = iter(range(3))
    square = [[LEFT, TOP], [LEFT + GROUND, TOP], [LEFT + GROUND, TOP - GROUND], [LEFT, TOP - GROUND], [LEFT, TOP]]
    area = {"type": "Polygon", "crs": {"type": "name", "properties": {"name": CRS31}}, "coordinates": [square]}
    (tmp_path / "area.geojson").write_text(json.dumps(area))
    there = Region(save(tmp_path, change).sensors, read_area(tmp_path / "area.geojson"))
    found = make_map(model, there, tmp_path / "out", dataclasses.replace(OPTIONS, crs=CRS31))
    assert found.info.grid == plain.info.grid and any(words in text for text in found.info.remarks)
    before, after = joined(plain), joined(found)
    inside = interior(before) & (after != NO_DATA)
    differs = (before != after) & (after != NO_DATA)
    assert inside.mean() > 0.4 and len(np.unique(before[inside])) > 1
    assert differs.mean() < 0.02 and differs[inside].mean() < 0.002
    difference = np.abs(joined(found, "probabilities").astype(int) - joined(plain, "probabilities"))[:, inside] / LEVELS
    assert difference.mean() < 0.001 and difference.max() < 0.05
    assert ((before == NO_DATA) != (after == NO_DATA)).mean() < 0.02
