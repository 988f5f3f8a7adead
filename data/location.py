"""Where on Earth tiles lie: the features of a GeoJSON collection, or georeferenced images."""

import numpy as np
import rasterio
from rasterio.errors import CRSError
from rasterio.warp import transform

from data.raw import DataError, absent, location_modality
from omnisat_jax.errors import UserError

LONGITUDE_LATITUDE = "EPSG:4326"
EARTH_RADIUS = 6_371_000.0  # m


def centres(collection, path) -> dict[str, np.ndarray]:
    """Centre of every feature's bounding box.

    Args:
      collection: a decoded GeoJSON FeatureCollection whose features have ID_PATCH.
      path: where it was read, for messages.

    Returns:
      {ID_PATCH: (2,) float32 longitude and latitude in degrees}. Features without a geometry, or with one that lies nowhere on Earth, are
      left out.

    Raises:
      UserError: a coordinate reference system that is not known.
    """
    # GeoJSON without a reference system is in longitude and latitude (RFC 7946).
    name = ((collection.get("crs") or {}).get("properties") or {}).get("name", LONGITUDE_LATITUDE)
    found = {}
    for feature in collection["features"]:
        points = np.array(list(_points((feature.get("geometry") or {}).get("coordinates", []))), float)
        if len(points) and np.isfinite(points).all():
            found[str(feature["properties"]["ID_PATCH"])] = (points.min(0) + points.max(0)) / 2
    if not found:
        return {}
    x, y = np.array(list(found.values())).T
    try:
        longitude, latitude = transform(name.replace("urn:ogc:def:crs:EPSG::", "EPSG:"), LONGITUDE_LATITUDE, x, y)
    except CRSError as error:
        raise UserError(f"{path}: expected a known coordinate reference system, found {name!r} ({error})") from error
    places = {}
    for tile, *place in zip(found, longitude, latitude):
        if abs(place[0]) <= 180 and abs(place[1]) <= 90:
            places[tile] = np.array(place, np.float32)
    return places


def geotiff_centre(path) -> np.ndarray | None:
    """Longitude and latitude (2,) of the centre of a GeoTIFF, degrees; None without a reference system."""
    with rasterio.open(path) as source:
        if source.crs is None:
            return None
        longitude, latitude = source.lnglat()
    return np.array([longitude, latitude])


def of_geotiff(path, tile: str) -> dict:
    """The location of a tile that has a GeoTIFF.

    Returns:
      {"values": (0|1, 2) float32}, longitude and latitude of its centre in degrees; none without a file or a reference system.

    Raises:
      DataError: an unreadable file.
    """
    try:
        centre = geotiff_centre(path) if path.is_file() else None
    except rasterio.errors.RasterioError as error:
        raise DataError(tile=tile, path=path, expected="a GeoTIFF", found=f"an unreadable file ({error})") from error
    return absent(location_modality()) if centre is None else {"values": centre[None].astype(np.float32)}


def metres_between(a, b) -> float:
    """Distance of two places (longitude, latitude) in degrees, on a sphere, for places that are close."""
    (x, y), (u, v) = np.radians(np.asarray(a, float)), np.radians(np.asarray(b, float))
    return float(EARTH_RADIUS * np.hypot((x - u) * np.cos((y + v) / 2), y - v))


def _points(coordinates):
    """The (x, y) inside nested GeoJSON coordinates."""
    if coordinates and not isinstance(coordinates[0], list | tuple):
        yield coordinates[:2]
        return
    for part in coordinates:
        yield from _points(part)
