"""Ways in which a raw PASTIS folder breaks, each made for real."""

import json

import numpy as np

TILE = "10003"
LABEL = f"ANNOTATIONS/TARGET_{TILE}.npy"
SPOT = f"DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019/SPOT6_RVB_1M00_2019_{TILE}.tif"
S2 = f"DATA_S2/S2_{TILE}.npy"
S1A = f"DATA_S1A/S1A_{TILE}.npy"
METADATA = "metadata.geojson"


def change_array(path, function):
    np.save(path, function(np.load(path)))


def change_metadata(root, function):
    path = root / METADATA
    collection = json.loads(path.read_text())
    for feature in collection["features"]:
        if str(feature["properties"]["ID_PATCH"]) == TILE:
            function(feature["properties"])
    path.write_text(json.dumps(collection))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[-777] ^= 4
    path.write_bytes(bytes(content))


def pickled(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=bool(1))


def with_nan(array):
    array[1, 0, 2, 3] = np.nan
    return array


def set_date(properties, position, value):
    properties["dates-S2"][position] = value


# name -> (what is done to the folder, kind of the finding, file that it must name, part of what it must say was found)
FAULTS = {
    "missing S2": (lambda r: (r / S2).unlink(), "missing", S2, "none"),
    "missing S1": (lambda r: (r / S1A).unlink(), "missing", S1A, "none"),
    "missing SPOT": (lambda r: (r / SPOT).unlink(), "missing", SPOT, "none"),
    "missing label": (lambda r: (r / LABEL).unlink(), "unreadable", LABEL, "no such file"),
    "truncated array": (lambda r: truncate(r / S2), "unreadable", S2, "bytes"),
    "empty file": (lambda r: (r / S2).write_bytes(b""), "unreadable", S2, "0 bytes"),
    "flipped bit": (lambda r: flip_bit(r / S1A), "changed", S1A, "sha256"),
    "9 bands": (lambda r: change_array(r / S2, lambda a: a[:, :9]), "unreadable", S2, "9, 16, 16)"),
    "13 bands": (lambda r: change_array(r / S2, lambda a: a[:, [*range(10), 0, 1, 2]]), "unreadable", S2, "13, 16, 16)"),
    "NaN pixels": (lambda r: change_array(r / S1A, with_nan), "not-finite", S1A, "1 of"),
    "fewer dates than images": (
        lambda r: change_metadata(r, lambda p: p["dates-S2"].popitem()),
        "unreadable",
        S2,
        "images",
    ),
    "duplicate date": (
        lambda r: change_metadata(r, lambda p: set_date(p, "1", p["dates-S2"]["0"])),
        "duplicate-date",
        S2,
        "2 times",
    ),
    "impossible date": (
        lambda r: change_metadata(r, lambda p: set_date(p, "0", 20181399)),
        "unreadable",
        METADATA,
        "month must be in 1..12",
    ),
    "empty series": (lambda r: change_array(r / S2, lambda a: a[:0]), "unreadable", S2, "0 images"),
    "label 255": (lambda r: change_array(r / LABEL, lambda a: np.full_like(a, 255)), "unreadable", LABEL, "255 to 255"),
    "label of another size": (lambda r: change_array(r / LABEL, lambda a: a[:, :8, :8]), "unreadable", LABEL, "(3, 8, 8)"),
    "pickled objects": (lambda r: pickled(r / S2), "unreadable", S2, "unreadable file"),
    "truncated metadata": (lambda r: truncate(r / METADATA), "unreadable", METADATA, "bytes that are none"),
}
