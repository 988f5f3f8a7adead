"""The area of interest: polygons in any reference system, and which pixels of a map lie in them.

Letters: H W label pixels.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import rasterize
from rasterio.warp import transform_geom

from omnisat_jax.errors import DataError, UserError, reason
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.predict.grid import Block, MapGrid
from omnisat_jax.predict.vector import EMPTY, NO_GEOMETRY, read_polygons, split_layer
from omnisat_jax.types import StrPath

CHUNK = 256  # label pixels per side of the squares in which polygons are rasterised, so that no edge depends on the blocks
EXCHANGED = "Latitude seems to come first: exchange the two numbers of every point, as longitude, or x, comes first."
POLYGONS = ("Polygon", "MultiPolygon")
# A side that is straight in one reference system is curved in another: a degree along a parallel in UTM by about 100 m, and a piece of this length by 1 cm.
PIECE_DEGREES, PIECE_METRES = 0.01, 1000.0
PIECES = 100_000  # of all sides together, about at most


@dataclasses.dataclass(frozen=True)
class Area:
    """Polygons.

    Attributes:
      geometries: as in GeoJSON.
      crs: their coordinate reference system.
      source: the file, for messages.
    """

    geometries: tuple[Mapping[str, Any], ...]
    crs: CRS
    source: str

    def project(self, crs: str) -> "Area":
        """The polygons in another reference system, given as WKT. Long sides get points in between, as they are straight in their own system.

        Raises:
          UserError: coordinates cannot be converted.
        """
        wanted = CRS.from_wkt(crs)
        if wanted == self.crs:
            return self
        try:
            found = transform_geom(self.crs, wanted, self._in_pieces())
        except Exception as error:  # of PROJ, which rasterio does not always convert
            raise UserError(f"{self.source}: expected coordinates that can be converted to {wanted.to_string()}, found others ({reason(error)})") from error
        return Area(tuple(found), wanted, self.source)

    def _in_pieces(self) -> list[Mapping[str, Any]]:
        """The geometries with points along their long sides."""
        step = math.radians(PIECE_DEGREES) / self.crs.units_factor[1] if self.crs.is_geographic else PIECE_METRES / self.crs.linear_units_factor[1]
        rings = [ring for geometry in self.geometries for ring in _rings(geometry["coordinates"])]
        step = max(step, sum(math.dist(a[:2], b[:2]) for ring in rings for a, b in itertools.pairwise(ring)) / PIECES)
        return [{**geometry, "coordinates": _cut_sides(geometry["coordinates"], step)} for geometry in self.geometries]

    @property
    def exchanged(self) -> "Area":
        """The polygons with the two numbers of every point the other way round."""

        def turn(coordinates: Any) -> Any:
            if coordinates and not isinstance(coordinates[0], list | tuple):
                return [coordinates[1], coordinates[0], *coordinates[2:]]
            return [turn(entry) for entry in coordinates]

        return dataclasses.replace(self, geometries=tuple({**geometry, "coordinates": turn(geometry["coordinates"])} for geometry in self.geometries))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top.

        Raises:
          UserError: coordinates that are not finite.
        """
        points = [point for geometry in self.geometries for point in _points(geometry["coordinates"])]
        xs, ys = [point[0] for point in points], [point[1] for point in points]
        if not all(map(math.isfinite, (*xs, *ys))):
            raise UserError(f"{self.source}: expected finite coordinates in the reference system of the map, found others")
        return min(xs), min(ys), max(xs), max(ys)


def read_area(source: StrPath) -> Area:
    """Reads polygons from GeoJSON, or from any other vector file with the extra `vector`.

    Args:
      source: the file, or FILE:LAYER if it has several layers.

    Raises:
      UserError: the file cannot be read, or has no polygon or no reference system.
    """
    path, layer = split_layer(source)
    if path.suffix.lower() in (".json", ".geojson") and not layer:
        content = read_json(path, what="an area: GeoJSON", advice="Check the path and the file.")
        geometries = tuple(_geometries(content))
        if not geometries:
            raise content.error("at least one polygon", "none")
        area = Area(geometries, _declared(content), str(path))
        left, bottom, right, top = area.bounds
        if area.crs == CRS.from_epsg(4326) and (max(abs(left), abs(right)) > 360 or max(abs(bottom), abs(top)) > 90):
            latitude_first = max(abs(left), abs(right)) <= 90 and max(abs(bottom), abs(top)) <= 360
            raise content.error(
                "longitude and latitude in degrees, as in GeoJSON", f"coordinates up to {max(map(abs, area.bounds)):.10g}",
                EXCHANGED if latitude_first else 'Store it in longitude and latitude, with a "crs" member, or as a GeoPackage.',
            )  # fmt: skip
        return area
    return _read_vector(source)


def _read_vector(source: StrPath) -> Area:
    table = read_polygons(source)
    table.need(allowed=(NO_GEOMETRY, EMPTY))  # which cover no ground
    shapes = [shape for row, shape in enumerate(table.frame.geometry) if row not in table.problems]
    if not shapes:
        raise DataError(tile="-", path=table.path, expected="an area: at least one polygon", found="rows without a geometry", advice="Name another file.")
    return Area(tuple(shape.__geo_interface__ for shape in shapes), CRS.from_wkt(table.frame.crs.to_wkt()), str(table.path))


def _declared(content: Value) -> CRS:
    """GeoJSON has longitude and latitude; the older "crs" member is honored."""
    if content.find("crs").value is None:
        return CRS.from_epsg(4326)
    name = content.get("crs").get("properties").get("name").text()
    if name.endswith("CRS84"):
        return CRS.from_epsg(4326)
    try:
        return CRS.from_user_input(name)
    except CRSError as error:
        raise content.get("crs").error("a known coordinate reference system", repr(name)) from error


def _geometries(value: Value) -> Iterator[Mapping[str, Any]]:
    kind = value.get("type").choice(("FeatureCollection", "Feature", "GeometryCollection", *POLYGONS))
    if kind in POLYGONS:
        points = list(_points(value.get("coordinates").value))
        if len(points) < 4 or not all(len(point) >= 2 and all(isinstance(x, int | float) and math.isfinite(x) for x in point) for point in points):
            raise value.error("rings of at least four points with finite coordinates", "others")
        yield {"type": kind, "coordinates": value.get("coordinates").value}
    elif kind == "Feature":
        if value.find("geometry").value is not None:
            yield from _geometries(value.get("geometry"))
    else:
        for entry in value.get("features" if kind == "FeatureCollection" else "geometries").list():
            yield from _geometries(entry)


def _points(coordinates: Any) -> Iterator[Any]:
    if isinstance(coordinates, list | tuple) and coordinates and not isinstance(coordinates[0], list | tuple):
        yield coordinates
    elif isinstance(coordinates, list | tuple):
        for entry in coordinates:
            yield from _points(entry)


def _is_ring(coordinates: Any) -> bool:
    """Whether these are the points of a ring, and not rings or polygons."""
    return bool(coordinates) and bool(coordinates[0]) and not isinstance(coordinates[0][0], list | tuple)


def _rings(coordinates: Any) -> Iterator[Any]:
    if _is_ring(coordinates):
        yield coordinates
    else:
        for entry in coordinates:
            yield from _rings(entry)


def _cut_sides(coordinates: Any, step: float) -> Any:
    """Coordinates with evenly spaced points on every side that is longer than `step`; the points that there are stay as they are."""
    if not _is_ring(coordinates):
        return [_cut_sides(entry, step) for entry in coordinates]
    out = [coordinates[0]]
    for a, b in itertools.pairwise(coordinates):
        count = math.ceil(math.dist(a[:2], b[:2]) / step)
        out += [[a[0] + (b[0] - a[0]) * part / count, a[1] + (b[1] - a[1]) * part / count] for part in range(1, count)]
        out.append(b)
    return out


class AreaMask:
    """Which pixels of a map lie in an area."""

    def __init__(self, area: Area, grid: MapGrid):
        self._grid, self._shapes = grid, list(area.project(grid.crs).geometries)
        self._chunk = functools.lru_cache(64)(self._rasterise)

    def __call__(self, block: Block) -> np.ndarray:
        """(H,W) bool of a block: pixels whose center lies in the area."""
        out = np.empty((block.height, block.width), bool)
        for row in range(block.top // CHUNK, -(-(block.top + block.height) // CHUNK)):
            for column in range(block.left // CHUNK, -(-(block.left + block.width) // CHUNK)):
                top, left = row * CHUNK - block.top, column * CHUNK - block.left
                into = slice(max(0, top), top + CHUNK), slice(max(0, left), left + CHUNK)
                part = out[into]
                first = max(0, -top), max(0, -left)
                out[into] = self._chunk(row, column)[first[0] : first[0] + part.shape[0], first[1] : first[1] + part.shape[1]]
        return out

    def _rasterise(self, row: int, column: int) -> np.ndarray:
        pixel = self._grid.pixel
        place = Affine(pixel, 0, self._grid.left + column * CHUNK * pixel, 0, -pixel, self._grid.top - row * CHUNK * pixel)
        return np.asarray(rasterize(self._shapes, out_shape=(CHUNK, CHUNK), transform=place, fill=0, default_value=1, dtype="uint8"), bool)
