"""Simulated PASTIS-HD: the layout and file formats of the real dataset, filled by a documented generative model.

The assumptions are stated where they are made: `data/simulation/landscape.py` (parcels), `data/simulation/crops.py`
(phenology, spectra, radar structure, texture; which sensor separates what) and `data/simulation/sensors.py` (mixing, clouds,
speckle). Nothing here is measured: every result that comes from it must be called simulated.
"""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

from data.simulation import crops, landscape, sensors
from data.simulation.folder import need_sizes
from omnisat_jax.files.atomic import new_folder
from omnisat_jax.types import StrPath

START = datetime.date(2018, 9, 1)
SPOT_DAY = 305  # 3 July
REGIONS = 4
VERSION = 2  # of the generative model and the files that it writes; part of the cache key


def simulate(
    root: StrPath, *, tiles: int, tile_size: int, seed: int, progress: Callable[[int], None] | None = None
) -> pathlib.Path:
    """Writes a simulated PASTIS-HD to `root`, whole or not at all. Does nothing if `root` exists.

    The same arguments give the same bytes. Tiles are assigned to folds 1 to 5 in turn.

    Args:
      root: folder to create.
      tiles: number of tiles.
      tile_size: pixels of 10 m per side.
      seed: of the generative model.
      progress: called with the number of finished tiles.

    Raises:
      UserError: impossible sizes.
    """
    root = pathlib.Path(root)
    if root.exists():
        return root
    need_sizes(tiles, tile_size, 8)
    with new_folder(root) as work:
        for folder in ("DATA_S2", "DATA_S1A", "DATA_S1D", "DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019", "ANNOTATIONS"):
            (work / folder).mkdir(parents=True)
        regions = [_draw_region(np.random.default_rng([seed, 1, region])) for region in range(REGIONS)]
        features, sums = [], {}
        for index in range(tiles):
            features.append(_write_tile(work, index, tile_size, seed, regions, sums))
            if progress:
                progress(index + 1)
        collection = {
            "type": "FeatureCollection",
            "name": "metadata",
            "simulated": True,  # so that every reader of the folder knows
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}},
            "features": features,
        }
        (work / "metadata.geojson").write_text(json.dumps(collection))
        for sensor, folds in sums.items():
            table = {f"Fold_{fold}": _norm(moments) for fold, moments in sorted(folds.items())}
            (work / f"NORM_{sensor}_patch.json").write_text(json.dumps(table))
    return root


@dataclasses.dataclass(frozen=True)
class _Region:
    """What the tiles of a region share.

    Attributes:
      days: sensor -> (T,) days since START.
      wetness: (441,) soil moisture of each day, in [0, 1].
      mix: (18,) share of each crop.
      shift: of the season, days.
    """

    days: Mapping[str, np.ndarray]
    wetness: np.ndarray
    mix: np.ndarray
    shift: float


def _draw_region(rng: np.random.Generator) -> _Region:
    s2 = np.arange(rng.integers(14, 19), 440, 5)
    s2 = np.sort(rng.choice(s2, rng.integers(42, 56), replace=False))
    days = {"S2": s2, "S1A": np.arange(rng.integers(1, 6), 440, 6), "S1D": np.arange(rng.integers(1, 6), 440, 6)}
    days["S1A"] = np.delete(days["S1A"], rng.choice(len(days["S1A"]), 3, replace=False))
    wetness = sensors.moisture(rng, np.arange(0, 441))
    mix = crops.MIX * np.exp(rng.normal(0, 0.35, len(crops.MIX)))
    return _Region(days, wetness, mix / mix.sum(), rng.uniform(-9, 9))


def _write_tile(work: pathlib.Path, index: int, size: int, seed: int, regions: list[_Region], sums: dict) -> dict[str, Any]:
    """Writes one tile, adds its moments to `sums` ({sensor: {fold: (3, C)}}), and returns its GeoJSON feature."""
    rng = np.random.default_rng([seed, 2, index])
    number, fold, name = index // 5 % REGIONS, index % 5 + 1, 10_000 + index
    region = regions[number]
    days, wetness = region.days, region.wetness
    land = landscape.make_landscape(rng, size, region.mix)
    growths = [crops.grow(rng, cover, region.shift) for cover in land.covers]
    series = {
        "S2": sensors.sentinel2(rng, land, growths, days["S2"], wetness[days["S2"]]),
        "S1A": sensors.sentinel1(rng, land, growths, days["S1A"], wetness[days["S1A"]], descending=False),
        "S1D": sensors.sentinel1(rng, land, growths, days["S1D"], wetness[days["S1D"]], descending=True),
    }
    for sensor, values in series.items():
        np.save(work / f"DATA_{sensor}" / f"{sensor}_{name}.npy", values)
        flat = values.astype(np.float64).transpose(1, 0, 2, 3).reshape(values.shape[1], -1)
        moments = sums.setdefault(sensor, {}).setdefault(fold, np.zeros((3, values.shape[1])))
        moments += np.stack([np.full(len(flat), flat.shape[1]), flat.sum(1), (flat**2).sum(1)])
    easting, northing = 700_000 + 1_000_000 // REGIONS * number, 6_600_000 + size * landscape.PIXEL * (index // 20)
    side = size * landscape.PIXEL
    profile: dict[str, Any] = dict(
        driver="GTiff", count=3, height=side, width=side, dtype="uint8", crs="EPSG:2154", compress="deflate",
        transform=from_origin(easting, northing + side, 1, 1),
    )  # fmt: skip
    path = work / "DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019" / f"SPOT6_RVB_1M00_2019_{name}.tif"
    with rasterio.open(path, "w", **profile) as target:
        target.write(sensors.spot(rng, land, growths, SPOT_DAY, wetness[SPOT_DAY]))
    target = np.zeros((3, size, size), np.uint8)
    target[0] = land.labels
    np.save(work / "ANNOTATIONS" / f"TARGET_{name}.npy", target)
    # Parcel numbers are unique over the whole simulation, as tiles share no parcel.
    np.save(work / "ANNOTATIONS" / f"ParcelIDs_{name}.npy", np.where(land.parcels > 0, land.parcels + 1000 * index, 0))
    corners = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
    properties = {
        "ID_PATCH": name,
        "Fold": fold,
        "TILE": f"sim{number + 1}",
        "N_Parcel": int(len(np.unique(land.parcels[land.parcels > 0]))),
        "Parcel_Cover": float((land.parcels > 0).mean()),
        **{f"dates-{sensor}": {str(i): _integer(day) for i, day in enumerate(days[sensor])} for sensor in series},
    }
    geometry = {"type": "Polygon", "coordinates": [[[easting + x, northing + y] for x, y in corners]]}
    return {"type": "Feature", "id": str(name), "properties": properties, "geometry": geometry}


def _integer(day: int) -> int:
    """YYYYMMDD as an integer, as in the metadata of PASTIS."""
    return int((START + datetime.timedelta(int(day))).strftime("%Y%m%d"))


def _norm(moments: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation from moments (3, C): count, sum, sum of squares."""
    count, total, squares = moments
    mean = total / count
    return {"mean": mean.tolist(), "std": np.sqrt(squares / count - mean**2).tolist()}
