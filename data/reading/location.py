"""Where on Earth tiles lie: the features of a GeoJSON collection, or georeferenced images, and whether the two agree."""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.warp import transform

from data.reading import raw
from data.reading.raw import DataError, absent, location_modality
from omnisat_jax.errors import Finding, reason
from omnisat_jax.files.geotiff import Footprint, open_geotiff
from omnisat_jax.files.json_file import Value

LONGITUDE_LATITUDE = CRS.from_epsg(4326)
# GeoJSON's own system under the names of the OGC, and the older ones beside it; all in longitude and latitude.
OGC = {"CRS84": 4326, "CRS83": 4269, "CRS27": 4267}
EARTH_RADIUS = 6_371_000.0  # m
FARTHEST = 20.0  # m between the centres of an image and of its tile
OTHER_SIZE = 0.05  # relative difference of the sides of an image, or of its pixels, from what they should be
POINTS = 100_000  # of a geometry
COORDINATE = 1e9  # beyond it nothing lies on Earth, in whatever unit


@dataclasses.dataclass(frozen=True)
class Place:
    """Where something lies.

    Attributes:
      centre: (2,) float64 longitude and latitude of the centre of its bounding box, degrees.
      side: of a square of the same area, m; 0 where only the centre is known.
    """

    centre: np.ndarray
    side: float = 0.0

    def __str__(self):
        return f"{self.centre[0]:.6f}, {self.centre[1]:.6f} (longitude, latitude)"


def places(collection: Value, tiles: dict[str, Value]) -> tuple[dict[str, Place], dict[str, str]]:
    """Places of the tiles of a GeoJSON collection, and why those lack one that have a geometry.

    Args:
      collection: of which the reference system is taken.
      tiles: id -> feature.

    Returns:
      ({id: Place}, {id: what is wrong with its geometry}). Tiles without a geometry are in neither.

    Raises:
      DataError: a reference system that is not known.
    """
    system = reference_system(collection)
    rings, wrong = {}, {}
    for tile, feature in tiles.items():
        geometry = feature.items().get("geometry")
        if geometry is None or geometry.value is None:
            continue
        try:
            rings[tile] = _points(geometry)
        except DataError as error:
            wrong[tile] = error.found
    if not rings:
        return {}, wrong
    # The points of each tile with the centre of their box, all in one call.
    points = [np.vstack([ring, (ring.min(0) + ring.max(0)) / 2]) for ring, _ in rings.values()]
    degrees = np.split(_degrees(system, np.concatenate(points)), np.cumsum([len(part) for part in points])[:-1])
    found = {}
    for (tile, (ring, is_outline)), here in zip(rings.items(), degrees, strict=True):
        if _on_earth(here):
            found[tile] = Place(here[-1], _side(here[:-1]) if is_outline else 0.0)
        else:
            wrong[tile] = f"x {ring[0, 0]:.10g}, y {ring[0, 1]:.10g} in {system.to_string()}, which is nowhere on Earth"
    return found, wrong


def reference_system(collection: Value) -> CRS:
    """That of a GeoJSON collection: longitude and latitude unless an old `crs` member says otherwise. No link is followed.

    Raises:
      DataError: another one, or a form, that is not known.
    """
    crs = collection.find("crs")
    if crs.value is None:
        return LONGITUDE_LATITUDE
    name = crs.value
    if isinstance(name, dict):
        about = crs.find("properties", {})
        code = about.find("code").value
        name = f"EPSG:{code}" if type(code) in (int, str) else about.find("name", about.find("href").value).value
    code, known = _epsg(name), "a known coordinate reference system, such as urn:ogc:def:crs:EPSG::2154"
    if code is None:
        raise crs.error(known, repr(name) if isinstance(name, str) else None)
    try:
        with rasterio.Env():
            return CRS.from_epsg(code)
    except rasterio.errors.CRSError as error:
        raise crs.error(known, f"{name!r} ({reason(error)})") from error


def _epsg(name) -> int | None:
    """The EPSG code in a name, URN or address of a reference system."""
    if not isinstance(name, str) or len(name) > 200:
        return None
    text = name.strip()
    if match := re.fullmatch(r"(?:.*[:/])?(CRS(?:84|83|27))", text, re.IGNORECASE):
        return OGC[match[1].upper()]
    # EPSG:2154, urn:ogc:def:crs:EPSG:9.8.15:2154, http://www.opengis.net/def/crs/EPSG/0/2154, .../gml/srs/epsg.xml#4326
    match = re.fullmatch(r"(?:.*[:/])?EPSG(?:\.xml)?[:/#](?:[0-9.]*[:/])?([0-9]{4,6})/?", text, re.IGNORECASE)
    return int(match[1]) if match else None


def of_geotiff(path, tile: str, root=None) -> dict:
    """The location of a tile that has a GeoTIFF.

    Args:
      path: of the image.
      tile: for messages.
      root: see `need_file`.

    Returns:
      {"values": (0|1, 2) float32}, longitude and latitude of its centre in degrees; none without a file or a reference system.

    Raises:
      DataError: an unreadable file, or one that lies nowhere on Earth.
    """
    if not os.path.lexists(path):
        return absent(location_modality())
    footprint = footprint_of(path, tile, root)
    return absent(location_modality()) if footprint is None else {"values": of_footprint(footprint, tile, path).centre[None].astype(np.float32)}


def are_placed(images: Mapping[str, pathlib.Path], root=None) -> bool:
    """Whether any of a few images says where it lies. images: tile id -> path."""
    for tile, path in raw.spread(images.items()):
        with contextlib.suppress(DataError):  # of the tile, when it is read
            if footprint_of(path, tile, root) is not None:
                return True
    return False


def footprint_of(path, tile: str, root=None) -> Footprint | None:
    """Where a GeoTIFF lies, from its header.

    Raises:
      DataError: an unreadable file, or one whose pixels are not square or not north up.
    """
    with open_geotiff(path, tile=tile, root=root) as source:
        return source.footprint


def inspect_image(path, tile: str, root=None) -> Iterator[Finding]:
    """A finding where an image does not say where it lies. Without a file, or an unreadable one, there is none."""
    with contextlib.suppress(DataError):
        if path is not None and footprint_of(path, tile, root) is None:
            yield Finding("georeference", tile, str(path), "a coordinate reference system, and a place in it", "none")


def of_footprint(footprint: Footprint, tile: str, path) -> Place:
    """The place of an image.

    Raises:
      DataError: it lies nowhere on Earth.
    """
    left, bottom, right, top = footprint.bounds
    x, y = [left, right, right, left, (left + right) / 2], [bottom, bottom, top, top, (bottom + top) / 2]
    degrees = _degrees(footprint.crs, np.array([x, y]).T)
    if not _on_earth(degrees):
        raise DataError(tile=tile, path=path, expected="an image on Earth", found=f"{footprint}", kind="georeference")
    return Place(degrees[-1], _side(degrees[:-1]))


def need_place(footprint: Footprint | None, place: Place | None, *, tile: str, path) -> None:
    """Shows that an image lies on the ground of its tile, as far as both are known.

    Raises:
      DataError: its centre is more than FARTHEST away, or it covers another size of ground.
    """
    if footprint is None or place is None:
        return
    found = of_footprint(footprint, tile, path)
    if (away := metres_between(found.centre, place.centre)) > FARTHEST:
        raise DataError(
            tile=tile, path=path, expected=f"an image whose centre is within {FARTHEST:.0f} m of its tile's, {place}",
            found=f"{away:,.0f} m away, {found}: {footprint}", kind="georeference",
            advice="Another tile's image, or another reference system than it says: restore it from the archive.",
        )  # fmt: skip
    if place.side and abs(found.side - place.side) > OTHER_SIZE * place.side:
        raise DataError(
            tile=tile, path=path, expected=f"an image of the tile's {place.side:,.0f} m a side", found=f"{found.side:,.0f} m: {footprint}",
            kind="georeference",
        )  # fmt: skip


def need_pixel(footprint: Footprint | None, pixel: float, *, tile: str, path) -> None:
    """Shows that the pixels of an image are of `pixel` m on the ground, as far as it is known where it lies.

    Raises:
      DataError: they are larger or smaller.
    """
    if footprint is None:
        return
    left, _, right, _ = footprint.bounds
    found = of_footprint(footprint, tile, path).side * footprint.pixel / (right - left)
    if abs(found - pixel) > OTHER_SIZE * pixel:
        raise DataError(tile=tile, path=path, expected=f"pixels of {pixel:g} m", found=f"{found:.2g} m: {footprint}", kind="georeference")


def metres_between(a, b) -> float:
    """Distance of two places (longitude, latitude) in degrees, on a sphere, for places that are close."""
    (x, y), (u, v) = np.radians(np.asarray(a, float)), np.radians(np.asarray(b, float))
    return float(EARTH_RADIUS * np.hypot((x - u) * np.cos((y + v) / 2), y - v))


def _degrees(system, points):
    """(N,2) longitude and latitude of points (N,2), not finite where there is none."""
    try:
        with rasterio.Env():
            return np.array(transform(system, LONGITUDE_LATITUDE, *points.T)).T
    except (rasterio.errors.RasterioError, CPLE_BaseError):
        if len(points) == 1:
            return np.full((1, 2), np.nan)
        return np.concatenate([_degrees(system, half) for half in np.array_split(points, 2)])


def _on_earth(degrees):
    return bool((np.abs(degrees) <= (180, 90)).all())


def _side(ring):
    """Of a square as large as a ring (N,2) in degrees, m."""
    x, y = EARTH_RADIUS * np.radians(ring - ring[0]).T
    x = x * np.cos(np.radians(ring[:, 1].mean()))
    return math.sqrt(abs(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2)


def _points(geometry: Value) -> tuple[np.ndarray, bool]:
    """(N,2) of a geometry, and whether they are the outline of one polygon, in order.

    Raises:
      DataError: no points, too many, or other values than numbers of a plausible size.
    """
    kind, coordinates = geometry.find("type").value, geometry.find("coordinates", []).value
    if kind == "MultiPolygon" and isinstance(coordinates, list) and len(coordinates) == 1:
        kind, coordinates = "Polygon", coordinates[0]
    if kind == "Polygon" and isinstance(coordinates, list):
        coordinates = coordinates[:1]  # without holes
    found, waiting = [], [coordinates]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, list) or len(found) > POINTS:
            raise Value(part, geometry.path, f"{geometry.key}.coordinates").error(f"lists of numbers, of at most {POINTS:,} points")
        if part and not isinstance(part[0], list):
            x_y = part[:2]
            if len(x_y) < 2 or any(type(n) not in (int, float) or not -COORDINATE < n < COORDINATE for n in x_y):
                raise geometry.error("coordinates x, y", f"a point of {len(part)} entries that are no such numbers")
            found.append(x_y)
        else:
            waiting += reversed(part)
    if not found:
        raise geometry.error("coordinates", "no coordinates")
    return np.array(found, float), kind == "Polygon"
