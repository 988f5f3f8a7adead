"""Faults of a raw TreeSatAI-TS folder, each made for real."""

import h5py
import numpy as np

from tests.faults import breaking
from tests.faults.breaking import Fault

TILE = "Betula_3_10003_SIM"  # of the simulation of five tiles
SERIES = f"sentinel/{TILE}.h5"
AERIAL = f"aerial/{TILE}.tif"
TABLE = "labels/TreeSatBA_v9_60m_multi_labels.json"
TRAIN, VALIDATION, TEST = "train_filenames.lst", "val_filenames.lst", "test_filenames.lst"


def file(path, function, found, kind="unreadable", **more):
    """A fault of a file of the tile."""
    return Fault(lambda root: function(root / path), kind, path, found, TILE, **more)


def array(name, function, found, kind="unreadable", path=None, **more):
    """A fault of an array of the tile's series."""
    path = f"{SERIES}:{name}" if path is None else path
    return Fault(lambda root: breaking.change_h5(root / SERIES, name, function), kind, path, found, TILE, **more)


def row(function, found):
    """A fault of the tile's row of labels."""
    return Fault(lambda root: breaking.change_json(root / TABLE, function), "unreadable", TABLE, found, TILE)


def opening(path, function, found, tile="-", kind="unreadable"):
    """A fault with which the folder cannot be opened."""
    return Fault(lambda root: function(root / path), kind, path, found, tile)


def _append(text):
    return lambda path: path.write_text(path.read_text() + f"\n{text}\n")


def _products(function):
    return lambda old: np.array([function(name) for name in old])


def _row(value):
    return lambda table: table.update({f"{TILE}.tif": value})


def _external(path):
    with h5py.File(path, "r+") as target:
        shape, dtype = target["sen-2-data"].shape, target["sen-2-data"].dtype
        del target["sen-2-data"]
        target.create_dataset("sen-2-data", shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def _attribute(name, key, value):
    def change(path):
        with h5py.File(path, "r+") as target:
            target[name].attrs[key] = value

    return change


def _filled(path):
    breaking.change_h5(path, "sen-2-data", lambda a: breaking.put(a, (1, 0, 2, 3), 12_345))
    _attribute("sen-2-data", "_FillValue", np.int16(12_345))(path)


FAULTS = {
    "missing image": file(AERIAL, lambda path: path.unlink(), "none", "missing", stops=False),
    "truncated series": file(SERIES, breaking.halve, "bytes"),
    "empty series file": file(SERIES, breaking.empty, "0 bytes"),
    "Git LFS pointer instead of a series": file(SERIES, lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "bytes"),
    "pipe instead of a series": file(SERIES, breaking.fifo, "not a regular file"),
    "folder instead of an image": file(AERIAL, breaking.folder, "a folder"),
    "truncated image": file(AERIAL, breaking.halve, ""),
    "virtual raster": file(AERIAL, breaking.vrt, "unreadable file"),
    "link out of the dataset": file(SERIES, breaking.link_out, "a link to"),
    "arrays of another file": Fault(
        lambda root: breaking.external_h5(root / SERIES, "sen-2-data"), "unreadable", f"{SERIES}:sen-2-data", "another location", TILE
    ),
    "values of another file": Fault(
        lambda root: _external(root / SERIES), "unreadable", f"{SERIES}:sen-2-data", "other files", TILE
    ),
    "group instead of an array": Fault(
        lambda root: breaking.group_h5(root / SERIES, "sen-1-asc-data"), "unreadable", f"{SERIES}:sen-1-asc-data", "group", TILE
    ),
    "9 bands": array("sen-2-data", lambda a: a[:, :9], "9, 6, 6)"),
    "another order of axes": array("sen-2-data", lambda a: a.transpose(0, 2, 3, 1), "6, 6, 10)"),
    "another size": array("sen-1-des-data", lambda a: a[..., :5, :5], "5, 5)"),
    "strings instead of numbers": array("sen-1-asc-data", lambda a: np.full(a.shape, b"x"), "S1"),
    "scale attribute": Fault(
        lambda root: _attribute("sen-2-data", "scale_factor", 1e-4)(root / SERIES), "unreadable", f"{SERIES}:sen-2-data", "scale_factor 0.0001", TILE
    ),
    "offset that is a string": Fault(
        lambda root: _attribute("sen-1-asc-data", "add_offset", "x")(root / SERIES), "unreadable", f"{SERIES}:sen-1-asc-data", "add_offset nan", TILE
    ),
    "fill value attribute": Fault(lambda root: _filled(root / SERIES), "unreadable", f"{SERIES}:sen-2-data", "1 of the _FillValue 12345", TILE),
    "series in two files": Fault(
        lambda root: (root / SERIES).with_suffix(".H5").write_bytes((root / SERIES).read_bytes()), "unreadable", SERIES, "H5 as well", "-"
    ),
    "reflectance beyond int16": array(
        "sen-2-data", lambda a: breaking.put(a, np.s_[:, 3, 2, 2], 40_000), "40,000", path=f"{SERIES}:sen-2-data"
    ),
    "radar in decibels": array("sen-1-asc-data", lambda a: 10 * np.log10(a), "negative"),
    "NaN pixels": array("sen-1-asc-data", lambda a: breaking.put(a, (1, 0, 2, 3), np.nan), "1 of", "not-finite", SERIES, stops=False),
    "unknown radar": array("sen-1-asc-data", lambda a: np.full_like(a, np.nan), "", "unknown", SERIES, stops=False),
    "all cloud": array("sen-2-masks", lambda a: np.full_like(a, 100), "", "unknown", SERIES, stops=False),
    "no products": array("sen-2-products", lambda names: None, "none"),
    "products without dates": array("sen-2-products", _products(lambda name: b"S2A_MSIL2A"), "S2A_MSIL2A", path=""),
    "products that are not UTF-8": array("sen-2-products", _products(lambda name: b"\xff\xfe" + name), "utf-8", path=""),
    "products of an invalid day": array(
        "sen-2-products", _products(lambda name: name.replace(b"2019", b"2019")[:11] + b"20191399T"), "20191399", path=""
    ),
    "fewer products than images": array("sen-2-products", lambda names: names[:-1], "shape", path=""),
    "repeated date": array(
        "sen-2-products", lambda names: breaking.put(names, 1, names[0]), "2 times", "duplicate-date", SERIES, stops=False
    ),
    "image of 3 bands": file(AERIAL, lambda path: breaking.change_tiff(path, lambda b: b[:3]), "3"),
    "image too small": file(AERIAL, lambda path: breaking.change_tiff(path, lambda b: b[:, :200, :200]), "200x200"),
    "image without a pixel": file(AERIAL, lambda path: breaking.change_tiff(path, np.zeros_like), "", "unknown", stops=False),
    "unknown genus": row(_row([["Bambus", 0.9]]), "Bambus"),
    "shares that are a string": row(_row("Betula"), "'Betula'"),
    "share that is infinite": row(_row([["Betula", float("inf")]]), "inf"),
    "repeated genus": row(_row([["Betula", 0.5], ["Betula", 0.4]]), "more than once"),
    "truncated table": opening(TABLE, breaking.halve, ""),
    "table that is a list": opening(TABLE, lambda path: path.write_text("[]"), "a list"),
    "deeply nested table": opening(TABLE, lambda path: path.write_text("[" * 100_000), ""),
    "repeated key of the table": opening(TABLE, lambda path: path.write_text('{"a.tif": [], "a.tif": []}'), "more than once"),
    "missing list of tests": opening(TEST, lambda path: path.unlink(), "no such file"),
    "list that is not text": opening(TEST, lambda path: path.write_bytes(b"\xff\xfe\x00"), ""),
    "tile without labels": Fault(lambda root: _append("Ulmus_9.tif")(root / TEST), "unreadable", TABLE, "none for 1", "Ulmus_9"),
    "name outside the folder": opening(TEST, _append("../../etc/passwd"), "../"),
    "tile in two parts": Fault(lambda root: _append(f"{TILE}.tif")(root / TRAIN), "leak", "", "validation", TILE),
    "repeated tile in a part": Fault(lambda root: _append(f"{TILE}.tif")(root / VALIDATION), "leak", "", "validation", TILE),
}
