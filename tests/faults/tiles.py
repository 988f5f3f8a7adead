"""A small folder of tiles, and its faults, each made for real."""

import json

import numpy as np
import rasterio
from rasterio.transform import from_origin

from tests.faults import breaking
from tests.faults.breaking import Fault

TILE = "c"
NAMES = ("a", "b", "c", "d", "e", "f")
SIDE = 8  # label pixels of 10 m per side
DESCRIPTION = "dataset.json"
RADAR, AERIAL, LABELS = f"radar/{TILE}.tif", f"aerial/{TILE}.tif", f"labels/{TILE}.tif"
DATES = "20210103,20210203,20210303"


def write(root):
    """Six tiles with a radar series of 20 m, an aerial image of 5 m and labels of 10 m."""
    rng = np.random.default_rng(0)
    for index, name in enumerate(NAMES):
        radar = rng.normal(0, 1, (6, SIDE // 2, SIDE // 2)) + np.tile([-11, -17], 3)[:, None, None]
        for folder, bands, pixel in (
            ("radar", radar.astype(np.float32), 20),
            ("aerial", rng.integers(20, 220, (3, 2 * SIDE, 2 * SIDE)).astype(np.uint8), 5),
            ("labels", rng.integers(0, 3, (1, SIDE, SIDE)).astype(np.uint8), 10),
        ):
            path = root / folder / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            profile = dict(driver="GTiff", count=len(bands), height=bands.shape[1], width=bands.shape[2], dtype=bands.dtype)
            place = from_origin(400_000 + 10 * SIDE * index, 5_900_000, pixel, pixel)
            with rasterio.open(path, "w", crs="EPSG:32632", transform=place, **profile) as target:
                target.write(bands)
                if folder == "radar":
                    target.update_tags(omnisat_dates=DATES)
    description = {
        "name": "lowland",
        "citation": "made up",
        "classes": ["Grass", "Maize", "Beet"],
        "ignore": 255,
        "modalities": {
            "radar": {"kind": "series", "bands": ["VV", "VH"], "dtype": "float32"},
            "aerial": {"kind": "image", "bands": ["R", "G", "B"], "dtype": "uint8"},
        },
        "parts": {"train": ["a", "b", "c"], "validation": ["d"], "test": ["e", "f"]},
    }
    (root / DESCRIPTION).write_text(json.dumps(description))
    return root


def file(path, function, found, kind="unreadable", **more):
    """A fault of a file of the tile."""
    return Fault(lambda root: function(root / path), kind, path, found, TILE, **more)


def image(path, function, found, kind="unreadable", **more):
    """A fault of the bands of a file of the tile."""
    return file(path, lambda at: breaking.change_tiff(at, function), found, kind, **more)


def described(function, found, kind="unreadable"):
    """A fault of the description."""
    return Fault(lambda root: breaking.change_json(root / DESCRIPTION, function), kind, DESCRIPTION, found)


def dates(text, found, kind="unreadable", **more):
    return file(RADAR, lambda path: breaking.tag_tiff(path, omnisat_dates=text), found, kind, **more)


FAULTS = {
    "missing image": file(AERIAL, lambda path: path.unlink(), "none", "missing", stops=False),
    "missing labels": file(LABELS, lambda path: path.unlink(), "no such file"),
    "truncated series": file(RADAR, lambda path: path.write_bytes(path.read_bytes()[:-100]), ""),
    "empty image": file(AERIAL, breaking.empty, "unreadable file"),
    "pipe instead of labels": file(LABELS, breaking.fifo, "not a regular file"),
    "folder instead of labels": file(LABELS, breaking.folder, "a folder"),
    "link out of the dataset": file(AERIAL, breaking.link_out, "a link to"),
    "virtual raster": file(AERIAL, breaking.vrt, "unreadable file"),
    "image of 2 bands": image(AERIAL, lambda b: b[:2], "2 bands"),
    "image of another size": image(AERIAL, lambda b: b[:, :8, :8], "8x8", also=("georeference",)),
    "image that is not square": image(AERIAL, lambda b: b[:, :8], "8x16"),
    "image of another dtype": image(AERIAL, lambda b: b.astype(np.uint16), "uint16"),
    "image without a pixel": file(
        AERIAL, lambda path: breaking.change_tiff(path, np.zeros_like, nodata=0), "no known pixel", "unknown", stops=False
    ),
    "misplaced image": file(AERIAL, lambda path: breaking.shift_tiff(path, 5_000), "away", "georeference"),
    "image in another system": file(AERIAL, lambda path: breaking.change_tiff(path, crs="EPSG:32633"), "EPSG:32633", "georeference"),
    "image without a reference system": file(AERIAL, lambda path: breaking.change_tiff(path, crs=None), "no", "georeference"),
    "image with oblong pixels": file(
        AERIAL, lambda path: breaking.change_tiff(path, transform=from_origin(400_160, 5_900_000, 5, 10)), "5 x -10", "georeference"
    ),
    "NaN pixels": image(RADAR, lambda b: breaking.put(b, (1, 2, 2), np.nan), "1 of", "not-finite", stops=False),
    "fill value of floats": image(RADAR, lambda b: breaking.put(b, (1, 2, 2), -3.4e38), "1 of", "not-finite", stops=False),
    "undeclared fill value": image(RADAR, lambda b: breaking.put(b, (1, 2, 2), -9_999), "-9999", "value", stops=False),
    "unknown radar": image(RADAR, lambda b: np.full_like(b, np.nan), "", "unknown", stops=False),
    "class 7": image(LABELS, lambda b: breaking.put(b, (0, 1, 1), 7), "7"),
    "labels of two bands": image(LABELS, lambda b: b[[0, 0]], "2"),
    "labels of another size": image(LABELS, lambda b: b[:, :4, :4], "4x4", also=("georeference",)),
    "no dates": dates("", ""),
    "fewer dates than images": dates("20210103,20210203", ""),
    "invalid date": dates("20210103,20210203,20211399", "20211399"),
    "date of the year 1": dates("00010103,20210203,20210303", "00010103"),
    "date of the future": dates("20210103,20210203,20990303", "2099", "value", stops=False),
    "repeated date": dates("20210103,20210203,20210203", "2 times", "duplicate-date", stops=False),
    "truncated description": Fault(lambda root: breaking.halve(root / DESCRIPTION), "unreadable", DESCRIPTION, ""),
    "missing description": Fault(lambda root: (root / DESCRIPTION).unlink(), "unreadable", DESCRIPTION, "no such file"),
    "deeply nested description": Fault(lambda root: (root / DESCRIPTION).write_text("[" * 100_000), "unreadable", DESCRIPTION, ""),
    "description that is a list": described(lambda a: [a], "a list"),
    "repeated key": Fault(
        lambda root: (root / DESCRIPTION).write_text('{"name": "x", ' + (root / DESCRIPTION).read_text()[1:]), "unreadable", DESCRIPTION, "more than once"
    ),
    "no classes": described(lambda a: a.pop("classes") and None, "no classes"),
    "classes as one string": described(lambda a: a.update(classes="Grass,Maize"), "Grass,Maize"),
    "repeated class": described(lambda a: a.update(classes=["Grass", "Grass", "Beet"]), "more than once"),
    "class with escapes": described(lambda a: a.update(classes=["Gr\x1b[31mass", "Maize", "Beet"]), "\\x1b"),
    "ignore among the classes": described(lambda a: a.update(ignore=1), "1"),
    "ignore that is not an integer": described(lambda a: a.update(ignore=2.5), "2.5"),
    "too few colors": described(lambda a: a.update(colours=["#ff0000", "#00ff00"]), "2"),
    "invalid color": described(lambda a: a.update(colours=["#ff0000", "#00ff00", "grass"]), "'grass'"),
    "sensor called location": described(lambda a: a["modalities"].update(location=a["modalities"].pop("aerial")), "location"),
    "sensor outside the folder": described(lambda a: a["modalities"].update({"../aerial": a["modalities"].pop("aerial")}), "../aerial"),
    "part outside the folder": described(lambda a: a["parts"].update({"../../test": a["parts"].pop("test")}), "../"),
    "absolute part": described(lambda a: a["parts"].update({"/tmp/test": a["parts"].pop("test")}), "/tmp/test"),
    "tile outside the folder": described(lambda a: a["parts"]["train"].append("../../x"), "../"),
    "tile in two parts": described(lambda a: a["parts"]["test"].append("a"), "train"),
    "part without tiles": described(lambda a: a["parts"].update(validation=[]), ""),
    "unknown dtype": described(lambda a: a["modalities"]["aerial"].update(dtype="complex64"), "complex64"),
    "bands as one string": described(lambda a: a["modalities"]["aerial"].update(bands="RGB"), "RGB"),
}  # fmt: skip
