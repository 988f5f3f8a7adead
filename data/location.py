"""Where on Earth the features of a GeoJSON collection lie."""

import numpy as np
from rasterio.errors import CRSError
from rasterio.warp import transform

LONGITUDE_LATITUDE = "EPSG:4326"


def centres(collection, path) -> dict[str, np.ndarray]:
    """Centre of every feature's bounding box.

    Args:
      collection: a decoded GeoJSON FeatureCollection whose features have ID_PATCH.
      path: where it was read, for messages.

    Returns:
      {ID_PATCH: (2,) float32 longitude and latitude in degrees}. Features without a geometry, or with one that lies nowhere on Earth, are
      left out.

    Raises:
      ValueError: a coordinate reference system that is not known.
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
        raise ValueError(f"{path}: expected a known coordinate reference system, found {name!r} ({error})") from error
    places = {}
    for tile, *place in zip(found, longitude, latitude):
        if abs(place[0]) <= 180 and abs(place[1]) <= 90:
            places[tile] = np.array(place, np.float32)
    return places


def _points(coordinates):
    """The (x, y) inside nested GeoJSON coordinates."""
    if coordinates and not isinstance(coordinates[0], list | tuple):
        yield coordinates[:2]
        return
    for part in coordinates:
        yield from _points(part)
