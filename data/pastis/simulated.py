"""Simulated PASTIS-HD: the layout and file formats of the real dataset, filled by a documented generative model.

The model is that of `data/simulation`: what it had to look like is in `targets.py`, parcels in `landscape.py`, what grows on them in
`seasons.py` and `crops.py`, what satellites see of it in `optics.py`, `weather.py`, `radar.py` and `spot.py`. `data/pastis/README.md`
compares it with real data. Nothing here is measured: every result that comes from it must be called simulated.
"""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rasterio.transform import from_origin

from data.pastis.instances import annotate_instances
from data.reading.workers import in_order
from data.simulation import crops, landscape, optics, radar, seasons, spot as very_high, weather
from data.simulation.folder import need_sizes
from omnisat_jax.files.atomic import new_folder
from omnisat_jax.files.geotiff_writing import new_geotiff
from omnisat_jax.types import StrPath

START = datetime.date(2018, 9, 1)
LAST_DAY = 440  # since START
REGIONS = 4
VERSION = 3  # of the generative model and the files that it writes; part of the cache key
SPOT = "DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019"
FOLDERS = ("DATA_S2", "DATA_S1A", "DATA_S1D", SPOT, "ANNOTATIONS", "INSTANCE_ANNOTATIONS")


@dataclasses.dataclass(frozen=True)
class Region:
    """What the tiles of a region share.

    Attributes:
      days: sensor -> (T,) days since START.
      wetness: (441,) soil moisture of each day, in [0, 1].
      mix: (18,) share of each crop.
      place: season, soils and drought.
      scene: acquisition of the SPOT images.
    """

    days: Mapping[str, np.ndarray]
    wetness: np.ndarray
    mix: np.ndarray
    place: seasons.Place
    scene: very_high.Scene


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What all tiles share.

    Attributes:
      folder: root of the dataset.
      size: pixels of 10 m per side.
      seed: of the generative model.
      regions: REGIONS of them.
    """

    folder: pathlib.Path
    size: int
    seed: int
    regions: tuple[Region, ...]


def simulate(
    root: StrPath, *, tiles: int, tile_size: int, seed: int, jobs: int = 1, progress: Callable[[int], None] | None = None
) -> pathlib.Path:
    """Writes a simulated PASTIS-HD to `root`, whole or not at all. Does nothing if `root` exists.

    The same arguments give the same bytes, whatever the number of processes. Tiles are assigned to folds 1 to 5 in turn.

    Args:
      root: folder to create.
      tiles: number of tiles.
      tile_size: pixels of 10 m per side.
      seed: of the generative model.
      jobs: number of processes; 1 = only this one.
      progress: called with the number of finished tiles.

    Raises:
      UserError: impossible sizes.
    """
    root = pathlib.Path(root)
    if root.exists():
        return root
    need_sizes(tiles, tile_size, 8)
    with new_folder(root) as work:
        for folder in FOLDERS:
            (work / folder).mkdir(parents=True)
        plan = _Plan(work, tile_size, seed, draw_regions(seed))
        features, sums = [], {}
        for feature, moments in in_order(_write_tile, plan, range(tiles), jobs):
            features.append(feature)
            for sensor, part in moments.items():
                folds = sums.setdefault(sensor, {})
                fold = feature["properties"]["Fold"]
                folds[fold] = folds.get(fold, 0) + part
            if progress:
                progress(len(features))
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


def draw_regions(seed: int) -> tuple[Region, ...]:
    """The regions of a simulation."""
    return tuple(_draw_region(np.random.default_rng([seed, 1, region])) for region in range(REGIONS))


def _draw_region(rng: np.random.Generator) -> Region:
    s2 = np.arange(rng.integers(14, 19), LAST_DAY, 5)
    s2 = np.sort(rng.choice(s2, rng.integers(42, 56), replace=False))
    days = {"S2": s2, "S1A": np.arange(rng.integers(1, 6), LAST_DAY, 6), "S1D": np.arange(rng.integers(1, 6), LAST_DAY, 6)}
    days["S1A"] = np.delete(days["S1A"], rng.choice(len(days["S1A"]), 3, replace=False))
    wetness = weather.moisture(rng, np.arange(0, LAST_DAY + 1))
    mix = crops.MIX * np.exp(rng.normal(0, 0.35, len(crops.MIX)))
    return Region(days, wetness, mix / mix.sum(), seasons.draw_place(rng), very_high.draw_scene(rng))


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A simulated place before it is written.

    Attributes:
      land: its parcels.
      series: sensor -> (T,C,H,W), dates as in `Region.days`.
      spot: (3, 10 H, 10 W) uint8.
    """

    land: landscape.Landscape
    series: Mapping[str, np.ndarray]
    spot: np.ndarray


def draw_place(rng: np.random.Generator, region: Region, size: int) -> Drawing:
    """Draws a place of `size` pixels of 10 m per side, and what each sensor sees of it."""
    days, wetness = region.days, region.wetness
    land = landscape.make_landscape(rng, size, region.mix)
    fields = [seasons.draw_season(rng, cover, region.place) for cover in land.covers]
    series = {"S2": optics.sentinel2(rng, land, fields, days["S2"], wetness[days["S2"]])}
    for sensor, orbit in (("S1A", radar.ASCENDING), ("S1D", radar.DESCENDING)):
        series[sensor] = radar.sentinel1(rng, land, fields, days[sensor], wetness[days[sensor]], orbit)
    return Drawing(land, series, very_high.spot(rng, land, fields, region.scene, wetness[region.scene.day]))


def _write_tile(plan: _Plan, index: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Writes one tile; returns its GeoJSON feature and, per sensor, the moments (3, C) of its values: count, sum, sum of squares."""
    rng = np.random.default_rng([plan.seed, 2, index])
    number, fold, name = index // 5 % REGIONS, index % 5 + 1, 10_000 + index
    region = plan.regions[number]
    place = draw_place(rng, region, plan.size)
    land, series = place.land, place.series
    moments = {}
    for sensor, values in series.items():
        np.save(plan.folder / f"DATA_{sensor}" / f"{sensor}_{name}.npy", values)
        flat = values.astype(np.float64).transpose(1, 0, 2, 3).reshape(values.shape[1], -1)
        moments[sensor] = np.stack([np.full(len(flat), flat.shape[1]), flat.sum(1), (flat**2).sum(1)])
    side = plan.size * landscape.PIXEL
    corner = 700_000 + 1_000_000 // REGIONS * number, 6_600_000 + side * (index // 20)
    _write_spot(plan.folder / SPOT / f"SPOT6_RVB_1M00_2019_{name}.tif", place.spot, corner)
    _write_annotations(plan.folder, name, land.labels, np.where(land.parcels > 0, land.parcels + 1000 * index, 0))
    properties = {
        "ID_PATCH": name,
        "Fold": fold,
        "TILE": f"sim{number + 1}",
        "N_Parcel": int(len(np.unique(land.parcels[land.parcels > 0]))),
        "Parcel_Cover": float((land.parcels > 0).mean()),
        **{f"dates-{sensor}": {str(i): _integer(day) for i, day in enumerate(region.days[sensor])} for sensor in series},
    }
    ring = [[corner[0] + x, corner[1] + y] for x, y in ((0, 0), (side, 0), (side, side), (0, side), (0, 0))]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": str(name), "properties": properties, "geometry": geometry}, moments


def _write_spot(path: pathlib.Path, image: np.ndarray, corner: tuple[int, int]) -> None:
    """Writes an image (3, side, side) whose south-west corner (x, y) is given, m."""
    side = image.shape[-1]
    profile: dict[str, Any] = dict(
        count=3, height=side, width=side, dtype="uint8", crs="EPSG:2154", compress="deflate",
        transform=from_origin(corner[0], corner[1] + side, 1, 1),
    )  # fmt: skip
    with new_geotiff(path, **profile) as target:
        target.write(image)


def _write_annotations(folder: pathlib.Path, name: int, labels: np.ndarray, parcels: np.ndarray) -> None:
    """Writes labels, parcel numbers, which are unique over the whole simulation as tiles share no parcel, and instances."""
    target = np.zeros((3, *labels.shape), np.uint8)
    target[0] = labels
    np.save(folder / "ANNOTATIONS" / f"TARGET_{name}.npy", target)
    np.save(folder / "ANNOTATIONS" / f"ParcelIDs_{name}.npy", parcels)
    for kind, values in annotate_instances(labels, parcels).items():
        np.save(folder / "INSTANCE_ANNOTATIONS" / f"{kind}_{name}.npy", values)


def _integer(day: int) -> int:
    """YYYYMMDD as an integer, as in the metadata of PASTIS."""
    return int((START + datetime.timedelta(int(day))).strftime("%Y%m%d"))


def _norm(moments: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation from moments (3, C): count, sum, sum of squares."""
    count, total, squares = moments
    mean = total / count
    return {"mean": mean.tolist(), "std": np.sqrt(squares / count - mean**2).tolist()}
