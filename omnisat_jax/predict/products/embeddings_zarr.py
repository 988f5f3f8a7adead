"""Embeddings as a Zarr store (version 3) that xarray reads, with the conventions `geoemb:`, `proj:` and `spatial:`.

    embeddings  (time,band,y,x) int8      an embedding is embeddings * scales
    scales      (time,y,x) float32        NaN where no sensor has a known value under the token
    time, y, x                            the middle of the season, and the centers of the tokens
    spatial_ref                           the reference system as CF and GDAL describe it
"""

import importlib.metadata
import os
import pathlib
import re
import urllib.parse
from typing import Any

import numpy as np
import rasterio

from omnisat_jax import __version__
from omnisat_jax.dates import EPOCH
from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import sync_folder
from omnisat_jax.predict.folder import MapInfo
from omnisat_jax.predict.grid import MapGrid
from omnisat_jax.predict.products.embeddings_draft import Draft, Season

SHARD, CHUNK = 256, 64  # tokens per side of a file, and of the part that is decompressed at once
LEVEL = 3  # of Zstandard
_GITHUB, _RAW = "https://github.com/{}/blob/v1/README.md", "https://raw.githubusercontent.com/{}/refs/tags/v1/schema.json"
_CONVENTIONS = (
    ("geoemb:", "61c12cc5-0e28-4056-999a-480cf3fb7e4c", "geo-embeddings/embeddings-zarr-convention", "Geoembeddings convention for geospatial embedding arrays with model provenance"),
    ("proj:", "f17cb550-5864-4468-aeb7-f3180cfb622f", "zarr-experimental/geo-proj", "Coordinate reference system information for geospatial data"),
    ("spatial:", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "zarr-conventions/spatial", "Spatial coordinate information"),
)  # fmt: skip


def need_zarr() -> Any:
    """Returns the module zarr.

    Raises:
      UserError: the extra `cube` is not installed, or an older version.
    """
    try:
        import zarr
        import zarr.codecs
    except ImportError as error:
        raise UserError(f'embeddings as Zarr need {error.name}: pip install "omnisat-jax[cube]"') from error
    version = importlib.metadata.version("zarr")
    if int(version.partition(".")[0]) < 3:
        raise UserError(f'embeddings as Zarr need zarr 3 or later, found {version}: pip install "omnisat-jax[cube]"')
    return zarr


def write_zarr(draft: Draft, season: Season, path: pathlib.Path, work: pathlib.Path) -> None:
    """Writes the store, in place of one that is there already.

    Args:
      draft: the embeddings.
      season: of the map.
      path: of the store, a folder.
      work: folder for the unfinished store, on the same disk.
    """
    zarr = need_zarr()
    info, grid, done = draft.info, draft.grid, work / path.name
    root = zarr.create_group(store=str(done), zarr_format=3, attributes=_attributes(info, season))
    zstd, width = zarr.codecs.ZstdCodec(level=LEVEL), info.embedding_width

    def make(name: str, shape: tuple[int, ...], dtype: str, axes: tuple[str, ...], **more: Any) -> Any:
        return root.create_array(name, shape=shape, dtype=dtype, compressors=zstd, dimension_names=axes, **more)

    about = {"grid_mapping": "spatial_ref", "long_name": "embedding of a token, in units of scales"}
    embeddings = make(
        "embeddings", (1, width, grid.height, grid.width), "int8", ("time", "band", "y", "x"), chunks=(1, width, CHUNK, CHUNK), shards=(1, width, SHARD, SHARD),
        fill_value=0, attributes=about,
    )  # fmt: skip
    about = {"grid_mapping": "spatial_ref", "long_name": "unit of embeddings; NaN where unknown"}
    scales = make(
        "scales", (1, grid.height, grid.width), "float32", ("time", "y", "x"), chunks=(1, CHUNK, CHUNK), shards=(1, SHARD, SHARD), fill_value=float("nan"),
        attributes=about,
    )  # fmt: skip
    for block, records in draft.pieces(SHARD):
        rows, columns = slice(block.top, block.top + block.height), slice(block.left, block.left + block.width)
        embeddings[0:1, :, rows, columns] = np.ascontiguousarray(records["embedding"].transpose(2, 0, 1))[None]
        scales[0:1, rows, columns] = np.ascontiguousarray(records["scale"])[None]
    days = np.array([(season.middle - EPOCH).days], np.int64)
    time = {"standard_name": "time", "units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "long_name": "middle of the season"}
    axes = {"time": (days, time)} | {
        name: (centres, {"standard_name": f"projection_{name}_coordinate", "units": "m", "axis": name.upper()}) for name, centres in _centres(grid).items()
    }
    for name, (values, attributes) in axes.items():
        array = make(name, values.shape, str(values.dtype), (name,), chunks=values.shape, attributes=attributes)
        array[:] = values
    root.create_array("spatial_ref", shape=(), dtype="int64", attributes=_reference(grid))[...] = 0
    _publish(done, path, work)


def _centres(grid: MapGrid) -> dict[str, np.ndarray]:
    """Coordinates of the centers of tokens, in meters."""
    x = grid.left + (np.arange(grid.width) + 0.5) * grid.ground
    return {"y": grid.top - (np.arange(grid.height) + 0.5) * grid.ground, "x": x}


def _reference(grid: MapGrid) -> dict[str, Any]:
    wkt = rasterio.CRS.from_wkt(grid.crs).to_wkt()
    ground = f"{grid.left!r} {grid.ground!r} 0.0 {grid.top!r} 0.0 {-grid.ground!r}"
    return {"crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": ground}


def _attributes(info: MapInfo, season: Season) -> dict[str, Any]:
    """Attributes of the store."""
    grid = info.grid.tokens
    crs = rasterio.CRS.from_wkt(grid.crs)
    code = crs.to_epsg()
    conventions = [
        {"name": name, "uuid": uuid, "spec_url": _GITHUB.format(place), "schema_url": _RAW.format(place), "description": text}
        for name, uuid, place, text in _CONVENTIONS
    ]
    scale = {"type": "array", "array_name": "scales", "nodata": "NaN"}
    return {
        "zarr_conventions": conventions,
        "geoemb:type": "pixel",
        "geoemb:dimensions": info.embedding_width,
        "geoemb:model": model_address(info),
        "geoemb:source_data": source_addresses(info),
        "geoemb:data_type": "int8",
        "geoemb:gsd": grid.ground,
        "geoemb:quantization": {"method": "per_pixel_scale", "original_dtype": "float32", "quantized_dtype": "int8", "scale": scale},
        "geoemb:build_version": f"omnisat_jax {__version__}",
        **({"proj:code": f"EPSG:{code}"} if code else {"proj:wkt2": crs.to_wkt(version="WKT2_2019")}),
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": list(grid.transform),
        "spatial:shape": [grid.height, grid.width],
        "spatial:bbox": list(grid.bounds),
        "time_coverage_start": season.start.isoformat(),
        "time_coverage_end": season.end.isoformat(),
        "sensors": [sensor.name for sensor in info.sensors],
        "model_checksum": str(info.model.get("checksum", "")),
        "citation": str(info.model.get("citation", "")),
        "simulated": info.model.get("simulated"),
    }


def model_address(info: MapInfo) -> str:
    """The model of a map as an address: that of the hub, or its checksum, as a folder of this machine means nothing elsewhere."""
    source = str(info.model.get("source", ""))
    if source.startswith("hf:"):
        name, _, revision = source.removeprefix("hf:").partition("@")
        return f"https://huggingface.co/{name}" + (f"/tree/{urllib.parse.quote(revision)}" if revision else "")
    if re.match(r"https?://", source):
        return source
    return f"urn:omnisat-jax:model:{info.model.get('checksum') or info.fingerprint}"


def source_addresses(info: MapInfo) -> list[str]:
    """The folders of the inputs of a map as addresses, each once."""
    found: dict[str, None] = {}
    for file in (file for sensor in info.sensors for file in sensor.files):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", file):
            found[file.rpartition("/")[0]] = None
        else:
            found[pathlib.Path(os.path.abspath(file)).parent.as_uri()] = None
    return list(found) or ["urn:omnisat-jax:unknown"]


def _publish(done: pathlib.Path, path: pathlib.Path, work: pathlib.Path) -> None:
    """Moves a finished folder to its place. An earlier one goes to the folder of unfinished files, which is removed."""
    for file in sorted(done.rglob("*")):
        if file.is_file():
            with open(file, "rb+") as content:
                os.fsync(content.fileno())
    if path.is_dir() and not path.is_symlink():
        path.rename(work / f"earlier_{path.name}")
    done.rename(path)
    sync_folder(path.parent)
