"""Faults of a raw PASTIS folder, each made for real."""

import json

import numpy as np

from tests.faults import breaking
from tests.faults.breaking import Fault, change_array, flip_bit, pickled, truncate

TILE = "10003"
LABEL = f"ANNOTATIONS/TARGET_{TILE}.npy"
PARCELS = f"ANNOTATIONS/ParcelIDs_{TILE}.npy"
SPOT = f"DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019/SPOT6_RVB_1M00_2019_{TILE}.tif"
S2 = f"DATA_S2/S2_{TILE}.npy"
S1A = f"DATA_S1A/S1A_{TILE}.npy"
METADATA = "metadata.geojson"


def change_metadata(root, function, tile=TILE):
    path = root / METADATA
    collection = json.loads(path.read_text())
    for feature in collection["features"]:
        if str(feature["properties"]["ID_PATCH"]) == tile:
            function(feature["properties"])
    path.write_text(json.dumps(collection))


def change_collection(root, function):
    breaking.change_json(root / METADATA, function)


def set_date(properties, position, value):
    properties["dates-S2"][position] = value


def lose_tile(collection):
    collection["features"] = [feature for feature in collection["features"] if str(feature["properties"]["ID_PATCH"]) != TILE]


def repeat_first(collection):
    collection["features"].append(collection["features"][0])


def array(path, function, kind, found, **more):
    """A fault of an array of the tile."""
    return Fault(lambda root: change_array(root / path, function), kind, path, found, TILE, **more)


def file(path, function, found, kind="unreadable", **more):
    """A fault of a file of the tile."""
    return Fault(lambda root: function(root / path), kind, path, found, TILE, **more)


def dates(function, found, kind="unreadable", path=METADATA, **more):
    """A fault of the dates of the tile."""
    return Fault(lambda root: change_metadata(root, function), kind, path, found, TILE, **more)


def opening(function, found, tile="-"):
    """A fault of the metadata, with which the folder cannot be opened."""
    return Fault(lambda root: change_collection(root, function), "unreadable", METADATA, found, tile)


FAULTS = {
    "missing S2": file(S2, lambda path: path.unlink(), "none", "missing", stops=False),
    "missing S1": file(S1A, lambda path: path.unlink(), "none", "missing", stops=False),
    "missing SPOT": file(SPOT, lambda path: path.unlink(), "none", "missing", stops=False),
    "missing label": file(LABEL, lambda path: path.unlink(), "no such file"),
    "truncated array": file(S2, truncate, "bytes"),
    "truncated image": file(SPOT, breaking.halve, ""),
    "empty array": file(S2, breaking.empty, "0 bytes"),
    "empty image": file(SPOT, breaking.empty, "unreadable file"),
    "web page instead of an image": file(SPOT, lambda path: path.write_text("<html>503</html>"), "unreadable file"),
    "pipe instead of an array": file(S2, breaking.fifo, "not a regular file"),
    "pipe instead of an image": file(SPOT, breaking.fifo, "not a regular file"),
    "folder instead of an array": file(S1A, breaking.folder, "a folder"),
    "folder instead of labels": file(LABEL, breaking.folder, "a folder"),
    "link out of the dataset": file(S2, breaking.link_out, "a link to"),
    "virtual raster": file(SPOT, breaking.vrt, "unreadable file"),
    "pickled objects": file(S2, pickled, ""),
    "huge declared shape": file(S2, lambda path: breaking.declare_huge(path, (10**9, 10, 16, 16)), "1000000000"),
    "9 bands": array(S2, lambda a: a[:, :9], "unreadable", "9, 16, 16)"),
    "13 bands": array(S2, lambda a: a[:, [*range(10), 0, 1, 2]], "unreadable", "13, 16, 16)"),
    "another size": array(S1A, lambda a: a[..., :8, :8], "unreadable", "8, 8)"),
    "floats instead of integers": array(S2, lambda a: a.astype(np.float64), "unreadable", "float64"),
    "integers that would wrap": array(
        S2, lambda a: breaking.put(a.astype(np.uint16), (1, 2, 3, 4), 40_000), "unreadable", "40,000"
    ),
    "NaN pixels": array(S1A, lambda a: breaking.put(a, (1, 0, 2, 3), np.nan), "not-finite", "1 of", stops=False),
    "infinite pixels": array(S1A, lambda a: breaking.put(a, (1, 0, 2, 3), -np.inf), "not-finite", "1 of", stops=False),
    "fill value of floats": array(S1A, lambda a: breaking.put(a, (1, 0, 2, 3), -3.4e38), "not-finite", "1 of", stops=False),
    "undeclared fill value": array(S1A, lambda a: breaking.put(a, (1, 0, 2, 3), -9_999), "value", "-9999", stops=False),
    "unknown radar": array(S1A, lambda a: np.full_like(a, np.nan), "unknown", "", stops=False),
    "unknown reflectance": array(S2, np.zeros_like, "unknown", "", stops=False),
    "mostly unknown": array(
        S2, lambda a: breaking.put(a, np.s_[:, :, 1:], 0) if a.shape[2] > 16 else breaking.put(a, np.s_[2:], 0), "unknown", "%",
        stops=False,
    ),  # fmt: skip
    "fewer dates than images": dates(lambda p: p["dates-S2"].popitem(), "images", path=S2),
    "duplicate date": dates(lambda p: set_date(p, "1", p["dates-S2"]["0"]), "2 times", "duplicate-date", S2, stops=False),
    "impossible date": dates(lambda p: set_date(p, "0", 20181399), "month must be in 1..12"),
    "date of the year 1": dates(lambda p: set_date(p, "0", 10101), ""),
    "date of the year 9999": dates(lambda p: set_date(p, "0", 99991231), "9999"),
    "infinite date": dates(lambda p: set_date(p, "0", float("inf")), "inf"),
    "date that is a list": dates(lambda p: set_date(p, "0", [2018]), "list"),
    "dates that are a number": dates(lambda p: p.update({"dates-S2": 7}), "int"),
    "no dates": dates(lambda p: p.pop("dates-S2"), ""),
    "empty series": array(S2, lambda a: a[:0], "unreadable", "0 images"),
    "label 255": array(LABEL, lambda a: np.full_like(a, 255), "unreadable", "255"),
    "label of another size": array(LABEL, lambda a: a[:, :8, :8], "unreadable", "8, 8"),
    "label of floats": array(LABEL, lambda a: a.astype(np.float32), "unreadable", "float32"),
    "labels without planes": array(LABEL, lambda a: a[:0], "unreadable", "no plane"),
    "parcels of another size": array(PARCELS, lambda a: a[:8], "unreadable", "8, 16"),
    "image of another size": file(SPOT, lambda path: breaking.change_tiff(path, lambda b: b[:, :80, :80]), "80x80"),
    "image of another dtype": file(SPOT, lambda path: breaking.change_tiff(path, lambda b: b.astype(np.uint16)), "uint16"),
    "image of 2 bands": file(SPOT, lambda path: breaking.change_tiff(path, lambda b: b[:2]), "2"),
    "image without a pixel": file(SPOT, lambda path: breaking.change_tiff(path, np.zeros_like), "0", "unknown", stops=False),
    "misplaced image": file(SPOT, lambda path: breaking.shift_tiff(path, 5_000), "away", "georeference"),
    "image without a reference system": file(SPOT, lambda path: breaking.change_tiff(path, crs=None), "none", "georeference", stops=False),
    "flipped bit": Fault(lambda root: flip_bit(root / S1A), "changed", S1A, "sha256", stops=False),
    "truncated metadata": Fault(lambda root: truncate(root / METADATA), "unreadable", METADATA, ""),
    "missing metadata": Fault(lambda root: (root / METADATA).unlink(), "unreadable", METADATA, "no such file"),
    "deeply nested metadata": Fault(
        lambda root: (root / METADATA).write_text("[" * 100_000 + "]" * 100_000), "unreadable", METADATA, ""
    ),
    "metadata that is a list": opening(lambda c: [c], "a list"),
    "tile that the metadata lost": Fault(lambda root: change_collection(root, lose_tile), "unreadable", METADATA, "none for 1 tile", TILE),
    "metadata without tiles": opening(lambda c: c.update(features=[]), "none"),
    "repeated tile": opening(repeat_first, "again"),
    "tile without properties": opening(lambda c: c["features"][3].pop("properties"), ""),
    "name outside the folder": opening(lambda c: c["features"][3]["properties"].update(ID_PATCH="../../etc/passwd"), "../"),
    "name with escapes": opening(lambda c: c["features"][3]["properties"].update(ID_PATCH="a\x1b[31m"), "\\x1b"),
    "fold that is a string": opening(lambda c: c["features"][3]["properties"].update(Fold="1"), "'1'", TILE),
    "fold 6": opening(lambda c: c["features"][3]["properties"].update(Fold=6), "6", TILE),
    "labels of the first tile of another size": Fault(
        lambda root: change_array(root / LABEL.replace(TILE, "10000"), lambda a: a[:, :8, :8]),
        "unreadable", LABEL.replace(TILE, "10000"), "8, 8", "10000",
    ),  # fmt: skip
}
