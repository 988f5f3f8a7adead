"""Small intact datasets of every kind, to be damaged."""

import json
import pathlib

import numpy as np
import rasterio
from rasterio.transform import from_origin

SIDE, PIXEL, LEFT, TOP = 16, 10.0, 400_000.0, 5_900_000.0


def make_pastis(root: pathlib.Path):
    from data.pastis.simulated import simulate

    simulate(root, tiles=4, tile_size=16, seed=0)


def make_treesat(root: pathlib.Path):
    from data.treesat.simulated import simulate

    simulate(root, tiles=5, tile_size=304, seed=0)


def make_flair(root: pathlib.Path):
    from data.flair.simulated import simulate

    simulate(root, tiles=5, tile_size=64, seed=0)


def make_tiles(root: pathlib.Path):
    """Four tiles with an int16 series, a float32 series and a uint8 image."""
    r = np.random.default_rng(0)
    tiles = [f"r0000_c{i:04d}" for i in range(4)]
    days = ("20210401", "20210611", "20210815")
    sensors = {"s2": ("series", "int16", ("B04", "B08"), 1), "s1": ("series", "float32", ("VV", "VH"), 1), "aerial": ("image", "uint8", ("R", "G", "B"), 4)}
    for i, tile in enumerate(tiles):
        for name, (kind, dtype, bands, finer) in sensors.items():
            names = [f"{day} {band}".strip() for day in (days if kind == "series" else ("",)) for band in bands]
            values = r.normal(-12, 2, (len(names), SIDE * finer, SIDE * finer)) if dtype == "float32" else r.integers(1, 200, (len(names), SIDE * finer, SIDE * finer))
            tags = {"omnisat_dates": ",".join(days)} if kind == "series" else {}
            nodata = {"int16": -32768, "float32": float("nan")}.get(dtype)
            _write(root / name / f"{tile}.tif", values.astype(dtype), i, PIXEL / finer, names, tags, nodata)
        _write(root / "labels" / f"{tile}.tif", r.integers(0, 3, (1, SIDE, SIDE)).astype(np.uint8), i, PIXEL, (), {}, None)
    description = {
        "name": "fuzzed", "citation": "made up", "classes": ["a", "b", "c"], "ignore": 255,
        "modalities": {name: {"kind": kind, "dtype": dtype, "bands": list(bands)} for name, (kind, dtype, bands, _) in sensors.items()},
        "parts": {f"fold_{n + 1}": tiles[2 * n : 2 * n + 2] for n in range(2)},
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(description))


def _write(path, values, column, pixel, names, tags, nodata):
    path.parent.mkdir(parents=True, exist_ok=True)
    place = from_origin(LEFT + column * SIDE * PIXEL, TOP, pixel, pixel)
    profile = {"driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype, "nodata": nodata}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=place, **profile) as target:
        target.write(values)
        target.update_tags(**tags)
        if names:
            target.descriptions = tuple(names)


MAKERS = {"pastis": make_pastis, "treesat": make_treesat, "flair": make_flair, "tiles": make_tiles}
