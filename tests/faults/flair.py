"""Faults of a raw FLAIR folder, each made for real."""

import shutil

import numpy as np

from tests.faults import breaking
from tests.faults.breaking import Fault

TILE = "000007"
ZONE = "D033_2021/Z2_NF"
IMAGE = f"flair_aerial_train/{ZONE}/img/IMG_{TILE}.tif"
MASK = f"flair_labels_train/{ZONE}/msk/MSK_{TILE}.tif"
STEM = f"flair_sen_train/{ZONE}/sen/SEN2_sp_D033_2021-Z2_NF"
PATCH, MASKS, PRODUCTS = (f"{STEM}_{name}" for name in ("data.npy", "masks.npy", "products.txt"))
CENTRES = "flair-2_centroids_sp_to_patch.json"
TILES = ("000005", "000006", "000007", "000008")  # of the zone; a fault of its super-patch affects each of them


def file(path, function, found, kind="unreadable", tile=TILE, **more):
    """A fault of a file of the tile."""
    return Fault(lambda root: function(root / path), kind, path, found, tile, **more)


def centre(value, found, path=CENTRES):
    """A fault of the center of the tile."""
    return Fault(
        lambda root: breaking.change_json(root / CENTRES, lambda table: table.update({f"IMG_{TILE}.tif": value})),
        "unreadable", path, found, TILE,
    )  # fmt: skip


def zone(path, function, found, kind="unreadable", **more):
    """A fault of the super-patch of the zone, which is reported for each of its tiles."""
    return Fault(lambda root: function(root / path), kind, path, found, TILES, **more)


def array(path, function, found, kind="unreadable", **more):
    return zone(path, lambda file: breaking.change_array(file, function), found, kind, **more)


def lines(function, found, kind="unreadable", path=PRODUCTS, **more):
    """A fault of the product names of the zone."""
    return Fault(
        lambda root: (root / PRODUCTS).write_text("\n".join(function((root / PRODUCTS).read_text().split("\n")))),
        kind, path, found, TILES, **more,
    )  # fmt: skip


FAULTS = {
    "missing mask": Fault(lambda root: (root / MASK).unlink(), "unreadable", "", "none", TILE),
    "missing super-patch": Fault(lambda root: (root / PATCH).unlink(), "missing", "", "none", TILES, stops=False),
    "truncated image": file(IMAGE, breaking.halve, ""),
    "empty mask": file(MASK, breaking.empty, "unreadable file"),
    "pipe instead of a mask": Fault(lambda root: breaking.fifo(root / MASK), "unreadable", "", "none", TILE),
    "folder instead of a mask": Fault(lambda root: breaking.folder(root / MASK), "unreadable", "", "none", TILE),
    "virtual raster": file(IMAGE, breaking.vrt, "unreadable file"),
    "link out of the dataset": file(MASK, breaking.link_out, "a link to"),
    "image of 4 bands": file(IMAGE, lambda path: breaking.change_tiff(path, lambda b: b[:4]), "4"),
    "image of another dtype": file(IMAGE, lambda path: breaking.change_tiff(path, lambda b: b.astype(np.uint16)), "uint16"),
    "image of another size": file(IMAGE, lambda path: breaking.change_tiff(path, lambda b: b[:, :32, :32]), "32x32", also=("georeference",)),
    "image without a pixel": file(IMAGE, lambda path: breaking.change_tiff(path, np.zeros_like), "", "unknown", stops=False),
    "misplaced image": file(MASK, lambda path: breaking.shift_tiff(path, 30), "away", "georeference"),
    "image without a reference system": file(IMAGE, lambda path: breaking.change_tiff(path, crs=None), "none", "georeference", stops=False),
    "mask of another size": file(MASK, lambda path: breaking.change_tiff(path, lambda b: b[:, :32, :32]), "32x32", also=("georeference",)),
    "class 0": file(MASK, lambda path: breaking.change_tiff(path, np.zeros_like), "0 to 0"),
    "class 25": file(MASK, lambda path: breaking.change_tiff(path, lambda b: np.full_like(b, 25)), "25"),
    "truncated super-patch": zone(PATCH, breaking.truncate, "bytes"),
    "empty super-patch": zone(PATCH, breaking.empty, "0 bytes"),
    "pickled super-patch": zone(PATCH, breaking.pickled, ""),
    "huge declared shape": zone(PATCH, lambda path: breaking.declare_huge(path, (10**9, 10, 40, 40)), "1000000000"),
    "9 bands": array(PATCH, lambda a: a[:, :9], "9, 40, 40)"),
    "floats": array(PATCH, lambda a: a.astype(np.float32), "float32"),
    "values beyond int16": array(PATCH, lambda a: np.full_like(a, 50_000), "50,000"),
    "all cloud": Fault(
        lambda root: breaking.change_array(root / MASKS, lambda a: np.full_like(a, 100)), "unknown", PATCH, "", TILES, stops=False
    ),
    "masks of another shape": array(MASKS, lambda a: a[:, :1], "1, 40, 40)"),
    "no product names": Fault(lambda root: (root / PRODUCTS).unlink(), "unreadable", PRODUCTS, "no such file", TILES),
    "fewer names than images": lines(lambda names: names[:-1], "images", path=PATCH),
    "name without a date": lines(lambda names: ["S2A", *names[1:]], "S2A", path=""),
    "invalid date": lines(lambda names: ["S2A_MSIL2A_20211399T105351", *names[1:]], "20211399", path=""),
    "repeated date": lines(lambda names: [names[1], *names[1:]], "2 times", "duplicate-date", PATCH, stops=False),
    "names that are not UTF-8": zone(PRODUCTS, lambda path: path.write_bytes(b"\xff" + path.read_bytes()), ""),
    "no table of centers": Fault(lambda root: (root / CENTRES).unlink(), "unreadable", CENTRES, "no such"),
    "center outside": centre([0.1, 1], "", PATCH),
    "center that is infinite": centre([float("inf"), 20], "inf"),
    "center that is a string": centre("here", "'here'"),
    "truncated centers": Fault(lambda root: breaking.halve(root / CENTRES), "unreadable", CENTRES, ""),
    "centers that are a list": Fault(lambda root: (root / CENTRES).write_text("[1]"), "unreadable", CENTRES, ""),
    "repeated image number": Fault(
        lambda root: shutil.copy(root / IMAGE, root / IMAGE.replace("train", "test").replace("D033", "D068").replace("Z2", "Z3")),
        "unreadable", f"IMG_{TILE}.tif", "another at", TILE,
    ),  # fmt: skip
    "image without a zone": Fault(lambda root: shutil.move(root / IMAGE, root / f"IMG_{TILE}.tif"), "unreadable", f"IMG_{TILE}.tif", "neither", TILE),
}  # fmt: skip
