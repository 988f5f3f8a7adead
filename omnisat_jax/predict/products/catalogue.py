"""Catalog entries (STAC 1.1 items) of a map, and of the model that made it in the terms of the Machine Learning Model extension (MLM).

Written as plain values: nothing beside rasterio is needed.
"""

import importlib.metadata
import os
import pathlib
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import rasterio
import rasterio.warp

from omnisat_jax import __version__
from omnisat_jax.predict.folder import NO_DATA, RUN, MapFolder, MapInfo
from omnisat_jax.predict.grid import MapGrid
from omnisat_jax.predict.products.rasters import Raster

STAC = "1.1.0"
_EXTENSIONS = "https://stac-extensions.github.io/{}/schema.json"
PROJECTION, RASTER, CLASSIFICATION, PROCESSING, MLM = (
    _EXTENSIONS.format(name) for name in ("projection/v2.0.0", "raster/v2.0.0", "classification/v2.0.0", "processing/v1.2.0", "mlm/v1.5.2")
)
MAP, MODEL = "map.json", "model.json"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
JSON, GEOJSON = "application/json", "application/geo+json"
MEDIA = {".parquet": "application/vnd.apache.parquet", ".gpkg": "application/geopackage+sqlite3", ".qml": "application/xml", ".png": "image/png"}
MEDIA |= {".tif": COG, ".zarr": "application/vnd.zarr; version=3"}
_ROLES, _SUFFIX_WORDS = {".qml": "style", ".png": "overview"}, {"qml": "style"}
_EDGE = 20  # points per side of the footprint, whose sides are curved in degrees
_DECIMALS = 7  # of degrees, about 1 cm


def map_item(folder: MapFolder, rasters: Sequence[Raster], others: Mapping[str, pathlib.Path], created: str) -> dict[str, Any]:
    """The item of a map.

    Args:
      folder: of the map.
      rasters: that were made.
      others: {name: path} of the other products.
      created: when the map was made, in UTC.
    """
    info, grid = folder.info, folder.info.grid
    geometry, bbox = footprint(grid)
    code = rasterio.CRS.from_wkt(grid.crs).to_epsg()
    dates = sorted(date for sensor in info.sensors for date in sensor.dates)
    properties: dict[str, Any] = {
        "title": "Map of " + ", ".join(info.classes[:3]) + (" and more" if len(info.classes) > 3 else ""),
        "description": " ".join([*(() if dates else ("No input has a date: datetime is when the map was made.",)), *info.remarks]) or "A map of classes.",
        "created": created,
        **_times(dates, created),
        "proj:code": f"EPSG:{code}" if code else None,
        **({} if code else {"proj:wkt2": grid.crs}),
        "proj:bbox": list(grid.bounds),
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform),
        "processing:level": "L4",
        "processing:lineage": f"Predicted from {', '.join(sensor.name for sensor in info.sensors)}.",
        "processing:software": {"omnisat_jax": __version__},
    }
    assets = {raster.array: _raster_asset(info, raster) for raster in rasters}
    assets |= {
        _key(name): {"href": _href(path, folder.path), "type": MEDIA[path.suffix.lower()], "roles": [_ROLES.get(path.suffix, "data")]}
        for name, path in others.items()
        if path.suffix.lower() in MEDIA
    }
    assets["record"] = {"href": f"./{RUN}", "type": JSON, "roles": ["metadata"]}
    model = {"rel": "derived_from", "href": f"./{MODEL}", "type": GEOJSON, "mlm:name": _model_name(info), "processing:level": "L4"}
    inputs = _unique(_href(file, folder.path) for sensor in info.sensors for file in sensor.files)
    return {
        "type": "Feature",
        "stac_version": STAC,
        "stac_extensions": [PROJECTION, RASTER, CLASSIFICATION, PROCESSING],
        "id": f"map-{info.fingerprint[:16]}",
        "geometry": geometry,
        "bbox": bbox,
        "properties": properties,
        "links": [model, *({"rel": "derived_from", "href": href} for href in inputs)],
        "assets": assets,
    }


def _key(name: str) -> str:
    """The key of a product among the assets; embeddings have one file per format."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}_{_SUFFIX_WORDS.get(suffix, suffix)}" if suffix in _SUFFIX_WORDS or stem == "embeddings" else stem


def model_item(folder: MapFolder, created: str) -> dict[str, Any]:
    """The item of the model that made a map.

    Args:
      folder: of the map.
      created: when the map was made, in UTC, for models that do not say when they were made.
    """
    info = folder.info
    model, names = info.model, [sensor.name for sensor in info.sensors]
    classes, source = len(info.classes), str(model.get("source", ""))
    bands = [{"name": f"{sensor.name}_{band}"} for sensor in info.sensors for band in sensor.bands]
    lines = [f"{title}: {model[key]}." for key, title in (("citation", "Citation"), ("version", "Version")) if model.get(key)]
    if model.get("simulated"):
        lines.append("It was trained on simulated data.")
    properties = {
        "title": _model_name(info),
        "description": " ".join(lines) or "A model of omnisat_jax.",
        "datetime": str(model.get("created") or created),
        "mlm:name": _model_name(info),
        "mlm:architecture": str(model.get("architecture", "OmniSat")),
        "mlm:framework": "JAX",
        "mlm:framework_version": importlib.metadata.version("jax"),
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:input": [_model_input(sensor) for sensor in info.sensors],
        "mlm:output": [
            {
                "name": "class probabilities",
                "tasks": ["semantic-segmentation"],
                "bands": [],
                "result": {"shape": [-1, -1, -1, classes], "dim_order": ["batch", "height", "width", "class"], "data_type": "float32"},
                "classification:classes": _class_list(info, info.colours),
            }
        ],
        "bands": bands,
    }
    asset: dict[str, Any] = {
        "href": _href(source, folder.path) if source else f"./{RUN}",
        "title": "Weights" if source else "Description of the map, as the source of the model is not known",
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": "safetensors.flax.save_file",
        "bands": bands,  # MLM looks for them in the properties, which STAC allows only if an asset has them too
        "description": f"Modalities used: {', '.join(names)}. Checksum: {model.get('checksum', 'unknown')}.",
    }
    return {
        "type": "Feature",
        "stac_version": STAC,
        "stac_extensions": [MLM, CLASSIFICATION],
        "id": f"model-{_identifier(str(model.get('checksum') or info.fingerprint))[:16]}",
        "geometry": None,  # a model lies nowhere
        "properties": properties,
        "links": [],
        "assets": {"model": asset},
    }


def _model_input(sensor) -> dict[str, Any]:
    time = ["time"] if sensor.kind == "series" else []
    order = ["batch", *time, "height", "width", "bands"]
    return {
        "name": sensor.name,
        "bands": [f"{sensor.name}_{band}" for band in sensor.bands],
        "input": {"shape": [-1] * (len(order) - 1) + [len(sensor.bands)], "dim_order": order, "data_type": "float32"},
        "pre_processing_function": None,
    }


def footprint(grid: MapGrid) -> tuple[dict[str, Any], list[float]]:
    """Geometry and bounding box of a map in degrees of EPSG:4326. A map across the 180th meridian is cut there, and west exceeds east."""
    left, bottom, right, top = grid.bounds
    steps = [step / _EDGE for step in range(_EDGE)]
    xs = [left] * _EDGE + [left + (right - left) * step for step in steps] + [right] * _EDGE + [right + (left - right) * step for step in steps]
    ys = [top + (bottom - top) * step for step in steps] + [bottom] * _EDGE + [bottom + (top - bottom) * step for step in steps] + [top] * _EDGE
    longitude, latitude = rasterio.warp.transform(rasterio.CRS.from_wkt(grid.crs), "EPSG:4326", xs, ys)[:2]
    if max(longitude) - min(longitude) > 180:  # across the 180th meridian
        longitude = [x % 360 for x in longitude]
    ring = list(zip(longitude, latitude, strict=True))
    parts = [part for part in (_beyond(ring, 180, -1), [(x - 360, y) for x, y in _beyond(ring, 180, 1)]) if part]
    rings = [[[round(x, _DECIMALS), round(y, _DECIMALS)] for x, y in [*part, part[0]]] for part in parts]
    west, east = min(x for x, _ in rings[0]), max(x for x, _ in rings[-1])
    bbox = [west, min(y for ring in rings for _, y in ring), east, max(y for ring in rings for _, y in ring)]
    if len(rings) > 1:
        return {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}, bbox
    return {"type": "Polygon", "coordinates": rings}, bbox


def _beyond(ring: Sequence[tuple[float, float]], limit: float, sign: int) -> list[tuple[float, float]]:
    """The part of a ring where sign * x >= sign * limit. The ring crosses the limit at most twice."""
    out = []
    for (x, y), (next_x, next_y) in zip(ring, [*ring[1:], ring[0]], strict=True):
        inside, next_inside = sign * x >= sign * limit, sign * next_x >= sign * limit
        if inside:
            out.append((x, y))
        if inside != next_inside:
            out.append((limit, y + (next_y - y) * (limit - x) / (next_x - x)))
    return out if any(x != limit for x, _ in out) else []


def _times(dates: Sequence[str], created: str) -> dict[str, Any]:
    """First and last day of the series; the map itself dates from the day it was made if no input has a date."""
    if not dates:
        return {"datetime": created}
    return {"datetime": None, "start_datetime": f"{dates[0]}T00:00:00Z", "end_datetime": f"{dates[-1]}T23:59:59Z"}


def _raster_asset(info: MapInfo, raster: Raster) -> dict[str, Any]:
    bands = []
    for name in raster.bands:
        band: dict[str, Any] = {"name": name, "data_type": raster.dtype}
        if raster.nodata is not None:
            band["nodata"] = raster.nodata
        if raster.scale != 1:
            band["raster:scale"] = raster.scale
        bands.append(band | {"raster:spatial_resolution": info.grid.pixel})
    asset: dict[str, Any] = {"href": f"./{raster.file}", "type": COG, "title": raster.title, "roles": ["data"], "bands": bands}
    if raster.array == "class":
        unknown = {"value": NO_DATA, "name": "unknown", "nodata": True}
        asset["classification:classes"] = [*_class_list(info, raster.colours), unknown]
    if raster.array == "used":
        asset["classification:bitfields"] = [
            {
                "name": sensor.name, "offset": bit, "length": 1,
                "classes": [{"value": 0, "name": "absent"}, {"value": 1, "name": "used"}],
            }
            for bit, sensor in enumerate(info.sensors)
        ]  # fmt: skip
    return asset


def _class_list(info: MapInfo, colours: Sequence[str]) -> list[dict[str, Any]]:
    """Classes in the terms of the classification extension, whose names have letters, digits, - and _ only."""
    names: list[str] = []
    for name in info.classes:
        plain = _identifier(name) or "class"
        while plain in names:
            plain += "_"
        names.append(plain)
    hints = [{"color_hint": colour[1:].upper()} for colour in colours] or [{}] * len(names)
    return [
        {"value": value, "name": plain, "description": title} | hint
        for value, (plain, title, hint) in enumerate(zip(names, info.classes, hints, strict=True))
    ]


def _identifier(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]+", "-", text).strip("-")


def _model_name(info: MapInfo) -> str:
    """A name that the MLM extension accepts."""
    found = _identifier(str(info.model.get("name") or info.model.get("source") or ""))
    return f"omnisat-{found}" if found else "omnisat-model"


def _href(file: str | pathlib.Path, folder: pathlib.Path) -> str:
    """A file as a reference from the folder of the map; addresses stay as they are."""
    text = str(file)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", text) or text.startswith("/vsi"):
        return text
    relative = pathlib.PurePath(os.path.relpath(text, folder)).as_posix()
    return urllib.parse.quote(relative if relative.startswith("../") else f"./{relative}")


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
