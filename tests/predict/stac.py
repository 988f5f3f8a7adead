"""Writes STAC items beside GeoTIFFs."""

import json

import numpy as np

from tests.predict.region import put


def item(name="x", day="2021-01-05", collection="c", assets=None, **properties):
    """An item as a plain value."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": None,
        "links": [],
        "properties": {"datetime": f"{day}T10:54:21.024000Z"} | properties,
        "assets": assets or {},
    }


def save(path, *items):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return path


def banded(here, values, name="x", pixels=(), asset=(), left=600_000, **more):
    """An item with one GeoTIFF per band of (C,H,W), in here/NAME; `pixels` per band, `asset` entries of every asset."""
    assets = {}
    for index, band in enumerate(np.asarray(values)):
        key = "abc"[index]
        size = pixels[index] if pixels else 10.0
        put(here / name / f"{key}.tif", band, pixel=size, left=left, descriptions=None)
        assets[key] = {"href": f"./{name}/{key}.tif"} | dict(asset)
    return item(name, assets=assets, **more)
