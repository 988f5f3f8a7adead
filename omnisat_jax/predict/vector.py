"""Reading and writing of polygons, with the packages of the extra `vector`, which are imported where they are used."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from omnisat_jax.errors import DataError, UserError, reason
from omnisat_jax.files.atomic import publish
from omnisat_jax.files.paths import need_file

PARQUET = (".parquet", ".geoparquet")
NAMED = 5  # rows that a message names
_POLYGON, _MULTIPOLYGON = 3, 6  # type numbers of shapely


def need_packages() -> tuple[Any, Any]:
    """Returns the modules geopandas and shapely.

    Raises:
      UserError: a package of the extra is not installed.
    """
    try:
        import geopandas
        import pyarrow  # noqa: F401
        import pyogrio  # noqa: F401
        import shapely
    except ImportError as error:
        raise UserError(f'parcels and polygons need {error.name}: pip install "omnisat-jax[vector]"') from error
    return geopandas, shapely


def read_polygons(path: pathlib.Path, crs: str = "") -> Any:
    """Reads polygons. Rows keep their order; a row may lack a geometry.

    Args:
      path: GeoPackage, GeoJSON, GeoParquet, shapefile, or another format of GDAL.
      crs: the reference system to bring them to, as WKT; "" keeps their own.

    Returns:
      A GeoDataFrame with rows numbered 0, 1, ... whose geometries are polygons, multipolygons or missing.

    Raises:
      DataError: unreadable, empty, without a reference system, with geometries that are invalid or no polygons, or that the reference
        system of the map cannot express.
      UserError: a package of the extra is not installed.
    """
    path = need_file(path, what="a file of polygons", advice="Name an existing file.")
    geopandas, shapely = need_packages()

    def error(expected, found, advice):
        return DataError(tile="-", path=path, expected=expected, found=found, advice=advice)

    try:
        frame = geopandas.read_parquet(path) if path.suffix.lower() in PARQUET else geopandas.read_file(path, engine="pyogrio")
    except Exception as problem:  # of GDAL, Arrow and pandas, which share no type
        advice = "Restore it, or convert it with ogr2ogr."
        raise error("a GeoPackage, GeoJSON, GeoParquet or shapefile", f"an unreadable file ({reason(problem)})", advice) from problem
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise error("a table with geometries", "a table without", "Name the layer of polygons in a file of its own.")
    if not len(frame):
        raise error("at least one polygon", "none", "Name another file.")
    if frame.crs is None:
        raise error("a coordinate reference system", "none", "Declare it (ogr2ogr -a_srs EPSG:CODE).")
    frame = frame.reset_index(drop=True)
    shapes = np.asarray(frame.geometry.values)
    kinds, present = shapely.get_type_id(shapes), ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    other = present & ~np.isin(kinds, (_POLYGON, _MULTIPOLYGON))
    if other.any():
        found = f"{shapes[other][0].geom_type} in {rows_text(np.flatnonzero(other))}"
        raise error("polygons", found, "Keep polygons only.")
    invalid = present & ~shapely.is_valid(shapes)
    if invalid.any():
        found = f"invalid ones in {rows_text(np.flatnonzero(invalid))} ({shapely.is_valid_reason(shapes[invalid][0])})"
        raise error("valid polygons", found, "Repair them (in QGIS: Fix geometries).")
    if not crs:
        return frame
    try:
        frame = frame.to_crs(crs)
    except Exception as problem:  # of PROJ
        raise error("polygons that can be brought to the map's reference system", f"others ({reason(problem)})", "Clip the file to the map.") from problem
    bounds = shapely.bounds(np.asarray(frame.geometry.values))
    lost = present & ~np.isfinite(bounds).all(1)
    if lost.any():
        found = f"others in {rows_text(np.flatnonzero(lost))}"
        raise error("polygons that can be brought to the map's reference system", found, "Clip the file to the map.")
    return frame


def rows_text(rows: Sequence[int] | np.ndarray) -> str:
    """Names rows of a table, counted from 1; of many the first few."""
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(str(int(row) + 1) for row in rows[:NAMED])}{more}"


def write_polygons(frame: Any, path: pathlib.Path, work: pathlib.Path) -> None:
    """Writes a GeoDataFrame as GeoParquet or GeoPackage, whole or not at all.

    Args:
      frame: to write.
      path: whose suffix says the format.
      work: folder for the unfinished file.

    Raises:
      UserError: the file cannot be written, or the format cannot hold a column.
    """
    draft = work / path.name
    try:
        if path.suffix.lower() in PARQUET:
            frame.to_parquet(draft, index=False)
        else:
            frame.to_file(draft, driver="GPKG", engine="pyogrio", layer=path.stem, index=False)
    except Exception as error:  # of GDAL, Arrow and pandas, which share no type
        raise UserError(f"{path}: cannot be written ({reason(error)}); rename or remove the column, or choose the other format") from error
    publish(draft, path)
