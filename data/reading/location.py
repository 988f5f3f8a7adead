"""Where on Earth tiles lie, from the features of a GeoJSON collection or from georeferenced images, and whether the two agree."""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # pyright: ignore[reportMissingModuleSource]
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform

from data.reading import raw
from data.reading.raw import DataError, absent, location_modality
from omnisat_jax.earth import EARTH_RADIUS
from omnisat_jax.errors import Finding, reason
from omnisat_jax.files.geotiff import Footprint, open_geotiff
from omnisat_jax.files.json_file import Value
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

LONGITUDE_LATITUDE = CRS.from_epsg(4326)
# The default system of GeoJSON under its OGC name, and its older relatives; all in longitude and latitude.
OGC = {"CRS84": 4326, "CRS83": 4269, "CRS27": 4267}
FARTHEST = 20.0  # m between the centers of an image and of its tile
OTHER_SIZE = 0.05  # tolerated relative difference of the side of an image, or of its pixels, from the expected one
POINTS = 100_000  # per geometry, at most
COORDINATE = 1e9  # larger coordinates are not on Earth, whatever their unit


@dataclasses.dataclass(frozen=True)
class Place:
    """A place on Earth.

    Attributes:
      centre: (2,) float64 longitude and latitude of the center of the bounding box, degrees.
      side: side of a square of the same area, m; 0 if only the center is known.
    """

    centre: np.ndarray
    side: float = 0.0

    def __str__(self) -> str:
        return f"{self.centre[0]:.6f}, {self.centre[1]:.6f} (longitude, latitude)"


def places(collection: Value, tiles: dict[str, Value]) -> tuple[dict[str, Place], dict[str, str]]:
    """Places of the tiles of a GeoJSON collection, and the tiles whose geometry gives none.

    Args:
      collection: declares the reference system.
      tiles: id -> feature.

    Returns:
      ({id: Place}, {id: what is wrong with its geometry}). Tiles without a geometry are in neither.

    Raises:
      DataError: an unknown reference system.
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
    # The points of each tile and the center of their bounding box, all in one call.
    points = [np.vstack([ring, (ring.min(0) + ring.max(0)) / 2]) for ring, _ in rings.values()]
    degrees = np.split(_degrees(system, np.concatenate(points)), np.cumsum([len(part) for part in points])[:-1])
    found = {}
    for (tile, (ring, is_outline)), here in zip(rings.items(), degrees, strict=True):
        if _on_earth(here):
            found[tile] = Place(here[-1], _side(here[:-1]) if is_outline else 0.0)
        else:
            wrong[tile] = f"x {ring[0, 0]:.10g}, y {ring[0, 1]:.10g} in {system.to_string()}, which is not on Earth"
    return found, wrong


def reference_system(collection: Value) -> CRS:
    """The reference system of a GeoJSON collection: longitude and latitude, unless a legacy `crs` member says otherwise.

    Links to definitions elsewhere are not followed.

    Raises:
      DataError: an unknown system, or an unknown form of the member.
    """
    crs = collection.find("crs")
    if crs.value is None:
        return LONGITUDE_LATITUDE
    name = crs.value
    if isinstance(name, dict):
        properties = crs.find("properties", {})
        code = properties.find("code").value
        name = f"EPSG:{code}" if type(code) in (int, str) else properties.find("name", properties.find("href").value).value
    code, known = _epsg(name), "a known coordinate reference system, such as urn:ogc:def:crs:EPSG::2154"
    if code is None:
        raise crs.error(known, repr(name) if isinstance(name, str) else None)
    try:
        with rasterio.Env():
            return CRS.from_epsg(code)
    except CRSError as error:
        raise crs.error(known, f"{name!r} ({reason(error)})") from error


def _epsg(name: object) -> int | None:
    """The EPSG code in the name, URN or URL of a reference system."""
    if not isinstance(name, str) or len(name) > 200:
        return None
    text = name.strip()
    if match := re.fullmatch(r"(?:.*[:/])?(CRS(?:84|83|27))", text, re.IGNORECASE):
        return OGC[match[1].upper()]
    # EPSG:2154, urn:ogc:def:crs:EPSG:9.8.15:2154, http://www.opengis.net/def/crs/EPSG/0/2154, .../gml/srs/epsg.xml#4326
    match = re.fullmatch(r"(?:.*[:/])?EPSG(?:\.xml)?[:/#](?:[0-9.]*[:/])?([0-9]{4,6})/?", text, re.IGNORECASE)
    return int(match[1]) if match else None


def location_of_geotiff(path: StrPath, tile: str, root: StrPath | None = None) -> raw.Entry:
    """The location entry of a tile, from one of its GeoTIFFs.

    Args:
      path: the image.
      tile: for messages.
      root: see `need_file`.

    Returns:
      {"values": (0|1, 2) float32}, longitude and latitude of the center in degrees; empty without a file or a reference system.

    Raises:
      DataError: an unreadable file, or one that is not on Earth.
    """
    if not os.path.lexists(path):
        return absent(location_modality())
    footprint = footprint_of(path, tile, root)
    return absent(location_modality()) if footprint is None else {"values": place_of(footprint, tile, path).centre[None].astype(np.float32)}


def any_georeferenced(images: Mapping[str, pathlib.Path], root: StrPath | None = None) -> bool:
    """Whether any of a sample of images (tile id -> path) is georeferenced."""
    for tile, path in raw.sample_evenly(images.items()):
        with contextlib.suppress(DataError):  # reported when the tile is read
            if footprint_of(path, tile, root) is not None:
                return True
    return False


def usual_pixel(images: Mapping[str, pathlib.Path], root: StrPath | None = None) -> float:
    """The median ground side of a pixel, m, of a sample of images (tile id -> path) that are georeferenced; 0 if none is."""
    found = []
    for tile, path in raw.sample_evenly(images.items()):
        with contextlib.suppress(DataError):  # reported when the tile is read
            if (footprint := footprint_of(path, tile, root)) is not None:
                left, _, right, _ = footprint.bounds
                found.append(place_of(footprint, tile, path).side * footprint.pixel / (right - left))
    return float(np.median(found)) if found else 0.0


def footprint_of(path: StrPath, tile: str, root: StrPath | None = None) -> Footprint | None:
    """The footprint of a GeoTIFF, from its header; None without a reference system.

    Raises:
      DataError: an unreadable file, or pixels that are not square or not north up.
    """
    with open_geotiff(path, tile=tile, root=root) as source:
        return source.footprint


def inspect_image(path: StrPath | None, tile: str, root: StrPath | None = None) -> Iterator[Finding]:
    """A finding if a readable image is not georeferenced."""
    with contextlib.suppress(DataError):
        if path is not None and footprint_of(path, tile, root) is None:
            yield Finding("georeference", tile, str(path), "a coordinate reference system and a transform", "none")


def place_of(footprint: Footprint, tile: str, path: StrPath) -> Place:
    """The place of an image on Earth.

    Raises:
      DataError: it is not on Earth.
    """
    left, bottom, right, top = footprint.bounds
    x, y = [left, right, right, left, (left + right) / 2], [bottom, bottom, top, top, (bottom + top) / 2]
    degrees = _degrees(footprint.crs, np.array([x, y]).T)
    if not _on_earth(degrees):
        raise DataError(tile=tile, path=path, expected="an image on Earth", found=f"{footprint}", kind="georeference")
    return Place(degrees[-1], _side(degrees[:-1]))


def need_place(footprint: Footprint | None, place: Place | None, *, tile: str, path: StrPath) -> None:
    """Checks that an image covers the ground of its tile, as far as both are known.

    Raises:
      DataError: its center is more than FARTHEST away, or it covers ground of another size.
    """
    if footprint is None or place is None:
        return
    found = place_of(footprint, tile, path)
    if (away := metres_between(found.centre, place.centre)) > FARTHEST:
        raise DataError(
            tile=tile, path=path, expected=f"an image whose center is within {FARTHEST:.0f} m of its tile's, {place}",
            found=f"{away:,.0f} m away, {found}: {footprint}", kind="georeference",
            advice="It belongs to another tile, or declares a wrong reference system: restore it from the archive.",
        )  # fmt: skip
    if place.side and abs(found.side - place.side) > OTHER_SIZE * place.side:
        raise DataError(
            tile=tile, path=path, expected=f"an image with the tile's side of {place.side:,.0f} m", found=f"{found.side:,.0f} m: {footprint}",
            kind="georeference",
        )  # fmt: skip


def need_pixel(footprint: Footprint | None, pixel: float, *, tile: str, path: StrPath) -> None:
    """Checks that the pixels of a georeferenced image measure `pixel` m on the ground.

    Raises:
      DataError: they are larger or smaller.
    """
    if footprint is None:
        return
    left, _, right, _ = footprint.bounds
    found = place_of(footprint, tile, path).side * footprint.pixel / (right - left)
    if abs(found - pixel) > OTHER_SIZE * pixel:
        raise DataError(tile=tile, path=path, expected=f"pixels of {pixel:g} m", found=f"{found:.2g} m: {footprint}", kind="georeference")


def metres_between(a: np.ndarray, b: np.ndarray) -> float:
    """Distance on a sphere between two places that are close; (longitude, latitude) each, degrees."""
    (x, y), (u, v) = np.radians(np.asarray(a, float)), np.radians(np.asarray(b, float))
    return float(EARTH_RADIUS * np.hypot((x - u) * np.cos((y + v) / 2), y - v))


def _degrees(system, points):
    """Longitude and latitude (N,2) of points (N,2); not finite for points outside the projection."""
    try:
        with rasterio.Env():
            return np.array(transform(system, LONGITUDE_LATITUDE, *points.T)).T
    except (RasterioError, CPLE_BaseError):
        if len(points) == 1:
            return np.full((1, 2), np.nan)
        return np.concatenate([_degrees(system, half) for half in np.array_split(points, 2)])


def _on_earth(degrees):
    return bool((np.abs(degrees) <= (180, 90)).all())


def _side(ring):
    """Side of a square of the same area as a ring (N,2) in degrees, m."""
    x, y = EARTH_RADIUS * np.radians(ring - ring[0]).T
    x = x * np.cos(np.radians(ring[:, 1].mean()))
    return math.sqrt(abs(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2)


def _points(geometry: Value) -> tuple[np.ndarray, bool]:
    """The points (N,2) of a geometry, and whether they are the outline of one polygon, in order.

    Raises:
      DataError: no points, too many, or coordinates that are not plausible numbers.
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
                raise geometry.error("coordinates x, y", f"a point of {number_of(len(part), 'entry')} that are not such numbers")
            found.append(x_y)
        else:
            waiting += reversed(part)
    if not found:
        raise geometry.error("coordinates", "no coordinates")
    return np.array(found, float), kind == "Polygon"
