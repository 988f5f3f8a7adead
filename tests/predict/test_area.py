"""The area of interest: which pixels of a map lie in it, whatever its reference system is."""

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.warp import transform

from omnisat_jax.predict.area import PIECES, Area, AreaMask
from omnisat_jax.predict.grid import Block, MapGrid

DEGREES, UTM = CRS.from_epsg(4326), CRS.from_epsg(32631)


def square(west, south, east, north):
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def grid_around(area, pixel):
    """A map of UTM pixels that reaches 20 pixels beyond an area."""
    left, bottom, right, top = area.project(UTM.to_wkt()).bounds
    first, above = (np.floor(left / pixel) - 20) * pixel, (np.ceil(top / pixel) + 20) * pixel
    return MapGrid(UTM.to_wkt(), first, above, pixel, 1, int((top - bottom) / pixel) + 40, int((right - left) / pixel) + 40, 4, 4, 512)


def degrees_of(grid):
    """Longitude and latitude of the centers of all pixels."""
    x, y = np.meshgrid(grid.left + (np.arange(grid.columns) + 0.5) * grid.ground, grid.top - (np.arange(grid.rows) + 0.5) * grid.ground)
    return (np.reshape(numbers, x.shape) for numbers in transform(UTM, DEGREES, x.ravel(), y.ravel())[:2])


@pytest.mark.parametrize("kind", ["Polygon", "MultiPolygon"])
def test_parallels_are_curved_on_the_map(kind):
    """The sides of GeoJSON are straight in degrees (RFC 7946, section 3.1.1). In UTM, the middle of these would be 250 m away from the straight line."""
    (west, south, east, north), hole = (2.0, 50.0, 3.5, 50.5), (2.5, 50.2, 3.0, 50.3)
    rings = [square(west, south, east, north), square(*hole)]
    area = Area(({"type": kind, "coordinates": rings if kind == "Polygon" else [rings]},), DEGREES, "area.geojson")
    grid = grid_around(area, 100.0)
    longitude, latitude = degrees_of(grid)

    def inside(west, south, east, north):
        return (longitude > west) & (longitude < east) & (latitude > south) & (latitude < north)

    found = AreaMask(area, grid)(Block(0, 0, 0, 0, grid.rows, grid.columns))
    wanted = inside(west, south, east, north) & ~inside(*hole)
    assert wanted.mean() > 0.7 and (found != wanted).sum() <= 5  # of half a million


def test_short_sides_stay_as_they_are():
    near = Area(({"type": "Polygon", "coordinates": [square(3.0, 50.0, 3.009, 50.009)]},), DEGREES, "area.geojson")
    (geometry,) = near.project(UTM.to_wkt()).geometries
    assert len(geometry["coordinates"][0]) == 5
    assert near.project(DEGREES.to_wkt()) is near


def test_the_number_of_points_is_limited():
    whole = Area(({"type": "Polygon", "coordinates": [square(-1e6, -1e6, 1e6, 1e6)] * 3},), UTM, "area.gpkg")
    (geometry,) = whole._in_pieces()
    assert PIECES / 10 < sum(map(len, geometry["coordinates"])) <= 1.1 * PIECES
    assert geometry["coordinates"][0][0] == [-1e6, -1e6] == geometry["coordinates"][0][-1]
