"""Reading and writing of polygons, with the packages of the extra `vector`, which are imported where they are used."""

import dataclasses
import errno
import os
import pathlib
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from omnisat_jax.errors import DataError, UserError, reason, system_reason
from omnisat_jax.files.atomic import is_full, publish
from omnisat_jax.files.paths import need_file
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

PARQUET = (".parquet", ".geoparquet")
NAMED = 5  # rows that a message names
NO_GEOMETRY, EMPTY = "no geometry", "an empty geometry"  # problems of rows without any ground
INVALID = "an invalid polygon"  # can be repaired
IN_THE_MAP = "polygons that can be brought to the map's reference system"
_POLYGON, _MULTIPOLYGON = 3, 6  # type numbers of shapely
_KINDS = {0: "points", 4: "points", 1: "lines", 2: "lines", 5: "lines"}  # of other type numbers


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


@dataclasses.dataclass(frozen=True)
class PolygonTable:
    """Polygons with their columns.

    Attributes:
      path: of their file.
      frame: a GeoDataFrame with rows numbered 0, 1, ... in the order of the file.
      problems: row -> what is wrong with its geometry, of those that are no valid polygon or multipolygon.
    """

    path: pathlib.Path
    frame: Any
    problems: Mapping[int, str]

    def need(self, allowed: Collection[str] = (), advice: str = "") -> None:
        """Refuses problems.

        Args:
          allowed: which of them are no reason to refuse the file: NO_GEOMETRY, EMPTY.
          advice: what else to do than repairing the polygons.

        Raises:
          DataError: there is another one. The message names the first row, and counts the others.
        """
        found = {row: text for row, text in self.problems.items() if text not in allowed}
        if found:
            invalid = [text for text in found.values() if text.startswith(INVALID)]
            repair = "Repair them (in QGIS: Fix geometries) or remove them" if invalid else "Remove them"
            others = f", and problems in {number_of(len(found) - 1, 'more row')}" if len(found) > 1 else ""
            raise _error(
                self.path, "a valid polygon in every row", f"{next(iter(found.values()))} in row {next(iter(found)) + 1}{others}",
                f"{repair}{advice}.",
            )  # fmt: skip

    @property
    def problems_text(self) -> str:
        """The problems in words; of many the first few."""
        some = [f"{text} in row {row + 1}" for row, text in list(self.problems.items())[:NAMED]]
        return ", ".join([*some, *(["..."] if len(self.problems) > NAMED else [])])


def read_polygons(source: StrPath, crs: str = "") -> PolygonTable:
    """Reads polygons. Rows keep their order.

    Args:
      source: GeoPackage, GeoJSON, GeoParquet, shapefile, or another format of GDAL; FILE:LAYER if the file has several layers.
      crs: the reference system to bring them to, as WKT; "" keeps their own. Geometries that it cannot express become missing.

    Raises:
      DataError: unreadable, empty, without a reference system or without geometries; several layers of polygons and none is named, or no such
        layer.
      UserError: a package of the extra is not installed.
    """
    path, layer = split_layer(source)
    path = need_file(path, what="a file of polygons", advice="Name an existing file.")
    geopandas, shapely = need_packages()
    frame = _read(geopandas, path, layer)
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise _no_column(path)
    if not len(frame):
        raise _error(path, "at least one polygon", "none", "Name another file.")
    if frame.crs is None:
        raise _error(path, "a coordinate reference system", "none", "Declare it (ogr2ogr -a_srs EPSG:CODE).")
    frame = frame.reset_index(drop=True)
    shapes = np.asarray(frame.geometry.values)
    _need_some_polygon(shapely, path, shapes)
    problems = _problems(shapely, shapes)
    if crs:
        frame, lost = _project(shapely, path, frame, crs)
        for row in lost:
            problems.setdefault(int(row), "a polygon that the reference system of the map cannot express")
        if len(lost) == len(frame):
            raise _error(path, IN_THE_MAP, "none", "Clip the file to the map.")
    return PolygonTable(path, frame, dict(sorted(problems.items())))


def split_layer(source: StrPath) -> tuple[pathlib.Path, str]:
    """Splits FILE:LAYER; the layer is "" where none is named. A colon may also be part of a path."""
    whole = os.fspath(source)
    file, colon, layer = whole.rpartition(":")
    if not colon or not layer or re.search(r"[/\\]", layer) or not pathlib.Path(file).suffix or pathlib.Path(whole).exists():
        return pathlib.Path(whole), ""
    return pathlib.Path(file), layer


def _read(geopandas: Any, path: pathlib.Path, layer: str) -> Any:
    try:
        if path.suffix.lower() in PARQUET:
            if layer:
                raise _error(path, f"a file with layers, as {layer} is named after its name", "one table", f"Name it without :{layer}.")
            return _read_parquet(geopandas, path)
        return geopandas.read_file(path, engine="pyogrio", layer=_choose_layer(path, layer))
    except DataError:
        raise
    except Exception as problem:  # of GDAL, Arrow and pandas, which share no type
        advice = "Check that it opens in QGIS, or convert it with ogr2ogr."
        raise _error(path, "a GeoPackage, GeoJSON, GeoParquet or shapefile", f"an unreadable file ({reason(problem)})", advice) from problem


def _read_parquet(geopandas: Any, path: pathlib.Path) -> Any:
    from pyarrow import parquet

    if b"geo" not in (parquet.read_schema(path).metadata or {}):
        raise _no_column(path)
    return geopandas.read_parquet(path)


def _no_column(path: pathlib.Path) -> DataError:
    return _error(path, "polygons", "a table without a geometry column", "Name a file of polygons, such as a GeoPackage.")


def _need_some_polygon(shapely: Any, path: pathlib.Path, shapes: np.ndarray) -> None:
    """Refuses a file of points or lines. A few of them beside polygons are problems of their rows."""
    types = shapely.get_type_id(shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))])
    if len(types) and not np.isin(types, (_POLYGON, _MULTIPOLYGON)).any():
        kinds = dict.fromkeys(_KINDS.get(int(kind), "collections of geometries") for kind in types)
        raise _error(path, "polygons", " and ".join(kinds), "Name a file or a layer of polygons.")


def _choose_layer(path: pathlib.Path, layer: str) -> str:
    """The layer that is named, or else the only one that can hold polygons; the first one if none can, which is then refused for what it holds."""
    import pyogrio

    layers = {str(name): kind for name, kind in pyogrio.list_layers(path).tolist()}
    if layer:
        if layer not in layers:
            raise _error(path, f"a layer {layer}", f"the layers {', '.join(layers)}", f"Name one of them: {path.name}:LAYER.")
        return layer
    found = [name for name, kind in layers.items() if kind is not None and not any(word in kind for word in ("Point", "Line"))]
    if len(found) > 1:
        advice = f"Name one of them after a colon, such as {path.name}:{found[0]}."
        raise _error(path, "one layer of polygons", f"{len(found)}: {', '.join(found)}", advice)
    return (found or list(layers))[0]


def _problems(shapely: Any, shapes: np.ndarray) -> dict[int, str]:
    missing, empty = shapely.is_missing(shapes), shapely.is_empty(shapes)
    other = ~missing & ~np.isin(shapely.get_type_id(shapes), (_POLYGON, _MULTIPOLYGON))
    invalid = ~(missing | empty | other) & ~shapely.is_valid(shapes)
    found = {int(row): NO_GEOMETRY for row in np.flatnonzero(missing)}
    found |= {int(row): EMPTY for row in np.flatnonzero(empty)}
    found |= {int(row): f"a {shapes[row].geom_type}" for row in np.flatnonzero(other & ~empty)}
    return found | {int(row): f"{INVALID} ({shapely.is_valid_reason(shapes[row])})" for row in np.flatnonzero(invalid)}


def _project(shapely: Any, path: pathlib.Path, frame: Any, crs: str) -> tuple[Any, np.ndarray]:
    """The polygons in another reference system, and which of them it cannot express; these become missing."""
    try:
        frame = frame.to_crs(crs)
    except Exception as problem:  # of PROJ
        raise _error(path, IN_THE_MAP, f"others ({reason(problem)})", "Clip the file to the map.") from problem
    shapes = np.asarray(frame.geometry.values)
    points, row = shapely.get_coordinates(shapes, return_index=True)
    lost = np.unique(row[~np.isfinite(points).all(1)])
    if len(lost):
        shapes = shapes.copy()
        shapes[lost] = None
        frame = frame.set_geometry(type(frame.geometry)(shapes, crs=frame.crs, index=frame.index))
    return frame, lost


def _error(path: pathlib.Path, expected: str, found: str, advice: str) -> DataError:
    return DataError(tile="-", path=path, expected=expected, found=found, advice=advice)


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
        full = is_full(work) or "disk is full" in str(error)  # of SQLite
        problem = OSError(errno.ENOSPC, "") if full else error
        if isinstance(problem, OSError) and problem.errno:
            raise UserError(f"{path}: cannot be written ({system_reason(problem)})") from error
        if "commit" in str(error):  # SQLite, which has removed what it wrote by now
            raise UserError(f"{path}: cannot be written ({reason(error)}); see whether the disk is full") from error
        raise UserError(f"{path}: cannot be written ({reason(error)}); rename or remove the column, or choose the other format") from error
    publish(draft, path)
