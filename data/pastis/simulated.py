"""Simulated PASTIS-HD: the real dataset's layout, byte for byte in form, from a documented generative model.

The assumptions are stated where they are made: `data/simulation/landscape.py` (parcels), `data/simulation/crops.py`
(phenology, spectra, radar structure, texture; which sensor separates what) and `data/simulation/sensors.py` (mixing, clouds,
speckle). Nothing here is measured imagery: every number that comes from it must be called simulated.
"""

import datetime
import json
import pathlib

import numpy as np
import rasterio
from rasterio.transform import from_origin

from data.simulation import crops, landscape, sensors
from data.simulation.folder import need
from omnisat_jax.files.atomic import new_folder

START = datetime.date(2018, 9, 1)
SPOT_DAY = 305  # 3 July
REGIONS = 4
VERSION = 2  # of the generative model and of what is written: part of the cache key


def simulate(root, *, tiles: int, tile_size: int, seed: int, progress=None) -> pathlib.Path:
    """Writes `tiles` tiles of tile_size x tile_size 10 m pixels to `root`, atomically.

    Same arguments, same bytes. Folds 1..5 take turns. Does nothing if `root` exists.

    Args:
      root: folder to create, in PASTIS-HD layout.
      progress: called with the number of finished tiles.
    """
    root = pathlib.Path(root)
    if root.exists():
        return root
    need(tiles, tile_size, 8)
    with new_folder(root) as work:
        for folder in ("DATA_S2", "DATA_S1A", "DATA_S1D", "DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019", "ANNOTATIONS"):
            (work / folder).mkdir(parents=True)
        calendars = [_calendar(np.random.default_rng([seed, 1, region])) for region in range(REGIONS)]
        features, sums = [], {}
        for index in range(tiles):
            features.append(_write_tile(work, index, tile_size, seed, calendars, sums))
            if progress:
                progress(index + 1)
        collection = {
            "type": "FeatureCollection",
            "name": "metadata",
            "simulated": True,  # so that whoever reads the folder, from wherever, says so
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}},
            "features": features,
        }
        (work / "metadata.geojson").write_text(json.dumps(collection))
        for sensor, folds in sums.items():
            table = {f"Fold_{fold}": _norm(moments) for fold, moments in sorted(folds.items())}
            (work / f"NORM_{sensor}_patch.json").write_text(json.dumps(table))
    return root


def _calendar(rng):
    """A region's dates (days), soil moisture, crop mix and seasonal shift."""
    s2 = np.arange(rng.integers(14, 19), 440, 5)
    s2 = np.sort(rng.choice(s2, rng.integers(42, 56), replace=False))
    days = {"S2": s2, "S1A": np.arange(rng.integers(1, 6), 440, 6), "S1D": np.arange(rng.integers(1, 6), 440, 6)}
    days["S1A"] = np.delete(days["S1A"], rng.choice(len(days["S1A"]), 3, replace=False))
    wetness = sensors.moisture(rng, np.arange(0, 441))
    mix = crops.MIX * np.exp(rng.normal(0, 0.35, len(crops.MIX)))
    return days, wetness, mix / mix.sum(), rng.uniform(-9, 9)


def _write_tile(work, index, size, seed, calendars, sums):
    rng = np.random.default_rng([seed, 2, index])
    region, fold, name = index // 5 % REGIONS, index % 5 + 1, 10_000 + index
    days, wetness, mix, shift = calendars[region]
    land = landscape.make_landscape(rng, size, mix)
    growths = [crops.grow(rng, cover, shift) for cover in land.covers]
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
    easting, northing = 700_000 + 1_000_000 // REGIONS * region, 6_600_000 + size * landscape.PIXEL * (index // 20)
    side = size * landscape.PIXEL
    profile = dict(
        driver="GTiff", count=3, height=side, width=side, dtype="uint8", crs="EPSG:2154", compress="deflate",
        transform=from_origin(easting, northing + side, 1, 1),
    )  # fmt: skip
    path = work / "DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019" / f"SPOT6_RVB_1M00_2019_{name}.tif"
    with rasterio.open(path, "w", **profile) as target:
        target.write(sensors.spot(rng, land, growths, SPOT_DAY, wetness[SPOT_DAY]))
    target = np.zeros((3, size, size), np.uint8)
    target[0] = land.labels
    np.save(work / "ANNOTATIONS" / f"TARGET_{name}.npy", target)
    # Parcel numbers are unique over the whole simulation, as no parcel is shared between tiles.
    np.save(work / "ANNOTATIONS" / f"ParcelIDs_{name}.npy", np.where(land.parcels > 0, land.parcels + 1000 * index, 0))
    corners = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
    properties = {
        "ID_PATCH": name,
        "Fold": fold,
        "TILE": f"sim{region + 1}",
        "N_Parcel": int(len(np.unique(land.parcels[land.parcels > 0]))),
        "Parcel_Cover": float((land.parcels > 0).mean()),
        **{f"dates-{sensor}": {str(i): _integer(day) for i, day in enumerate(days[sensor])} for sensor in series},
    }
    geometry = {"type": "Polygon", "coordinates": [[[easting + x, northing + y] for x, y in corners]]}
    return {"type": "Feature", "id": str(name), "properties": properties, "geometry": geometry}


def _integer(day):
    return int((START + datetime.timedelta(int(day))).strftime("%Y%m%d"))


def _norm(moments):
    count, total, squares = moments
    mean = total / count
    return {"mean": mean.tolist(), "std": np.sqrt(squares / count - mean**2).tolist()}
