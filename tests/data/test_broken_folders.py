"""Folders that are damaged at random: a reader returns data of the declared form, or says in one sentence what is wrong."""

import json
import os
import pathlib
import shutil
import tempfile

import h5py
import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings, strategies as st

from data.reading.datasets import open_dataset, simulator
from data.reading.raw import DataError
from omnisat_jax.errors import Finding

SIZES = {"pastis": (3, 8), "treesat": (3, 304), "flair": (2, 64)}
JSON = (".json", ".geojson")
NUMBERS = st.sampled_from([0, 1, -1, 2, 7, 0.5, -1e30, 1e30, 2**31, 2**63, 10**30, float("inf"), float("nan"), 20190101, 10101])
TEXTS = st.sampled_from(["", "x", "../x", "/tmp", "\x1b[31m", "\ud800", "0", "EPSG:2154", "EPSG:0", "1" * 5000, "{", "[" * 3000, '{"0": 20190101}'])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(TEXTS, st.text(max_size=3)), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 4, 6, 8, 10, 20, 64]), max_size=5).map(tuple)
DTYPES = st.sampled_from(["u1", "<i2", ">i2", "u2", "<i4", "u8", "f2", "f4", ">f8", "c8", "S5", "U3", "?", "M8[D]"])
NAMES = st.one_of(st.sampled_from(["IMG_.tif", "IMG_000001.TIF", ".hidden", "MSK_x.tif", "SEN2_sp_x_data.npy", "index.json", "a\udcff"]), st.text(min_size=1, max_size=9))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("whole")
    return {name: simulator(name).simulate(base / name, tiles=t, tile_size=side, seed=0) for name, (t, side) in SIZES.items()}


def break_json(path, data):
    """Replaces, removes or renames a value at any depth."""
    whole = node = json.loads(path.read_text())
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and data.draw(st.integers(0, 3)):
            node = node[key]
            continue
        how = data.draw(st.sampled_from(["replace", "replace", "remove", "rename", "whole"]))
        if how == "remove":
            del node[key]
        elif how == "rename" and isinstance(node, dict):
            node[data.draw(TEXTS)] = node.pop(key)
        elif how == "whole":
            whole = data.draw(VALUES)
        else:
            node[key] = data.draw(VALUES)
        break
    path.write_text(json.dumps(whole))


def break_bytes(path, data):
    """Truncates a file, replaces it, or overwrites bytes, mostly of its header."""
    content = bytearray(path.read_bytes())
    how = data.draw(st.sampled_from(["cut", "header", "header", "header", "anywhere", "replace"]))
    if how == "replace":
        content = data.draw(st.sampled_from([b"", b"\0" * 100, b"II*\0", b"\x93NUMPY", b"\x89HDF\r\n\x1a\n", b"<VRTDataset/>", b"version https://git-lfs"]))
    elif how == "cut":
        content = content[: data.draw(st.integers(0, max(0, len(content) - 1)))]
    elif content:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, min(400, len(content)) - 1 if how == "header" else len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)


def break_array(path, data):
    """Replaces an array (NumPy, HDF5 or GeoTIFF) by another one."""
    if path.suffix == ".npy":
        old = np.load(path)
        shape = data.draw(st.one_of(SHAPES, st.just(old.shape)))
        with open(path, "wb") as target:
            if data.draw(st.booleans()):
                np.save(target, _filled(data, shape))
            else:
                header = {"descr": data.draw(DTYPES), "fortran_order": data.draw(st.booleans()), "shape": data.draw(st.one_of(SHAPES, st.just((10**9,) * 4)))}
                np.lib.format.write_array_header_1_0(target, header)
    elif path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            name = data.draw(st.sampled_from(sorted(file)))
            shape = data.draw(st.one_of(SHAPES, st.just(file[name].shape)))
            del file[name]
            how = data.draw(st.sampled_from(["array", "array", "nothing", "group", "link", "external", "empty", "texts"]))
            if how == "array":
                file[name] = _filled(data, shape, "u1", "i2", "f4", ">f8", "S3", "c8", "?")
            elif how == "group":
                file.create_group(name)["x"] = h5py.SoftLink("/")
            elif how in ("link", "external"):
                file[name] = h5py.SoftLink(f"/{name}") if how == "link" else h5py.ExternalLink("/etc/passwd", "x")
            elif how == "empty":
                file[name] = h5py.Empty("f4")
            elif how == "texts":
                file[name] = np.array([data.draw(st.sampled_from([b"", b"\xff", b"S2A_20190101T_N0500_", b"S2A_00000000T"])) for _ in range(shape[0] if shape else 1)])
    else:
        with rasterio.open(path) as source:
            values, profile = source.read(), source.profile
        count = data.draw(st.sampled_from([1, 3, 4, 5, len(values)]))
        side = data.draw(st.sampled_from([1, 32, 64, values.shape[1]]))
        profile |= {"count": count, "height": side, "width": data.draw(st.sampled_from([side, 32])), "dtype": data.draw(st.sampled_from(["uint8", "uint8", "int16", "float32"]))}
        profile["crs"] = data.draw(st.sampled_from([None, "EPSG:4326", "EPSG:3857", profile["crs"]]))
        number = st.sampled_from([0.0, 0.2, 1.0, -1.0, 1e9, -1e300, 7e5])
        profile["transform"] = data.draw(st.one_of(st.just(profile["transform"]), st.builds(rasterio.Affine, *[number] * 6)))
        profile["nodata"] = data.draw(st.sampled_from([None, 0, 1, 255]))
        with rasterio.open(path, "w", **profile) as target:
            target.write(np.full((count, side, profile["width"]), data.draw(st.integers(0, 30)), profile["dtype"]))


def _filled(data, shape, *dtypes):
    array = np.ones(shape, data.draw(st.sampled_from(dtypes) if dtypes else DTYPES))
    if array.dtype.kind in "iuf" and array.size:
        with np.errstate(all="ignore"):
            array[...] = np.float64(data.draw(st.sampled_from([0, 1, -1, 3e4, 1e5, -9999, 1e38, np.nan, np.inf]))).astype(array.dtype)
    return array


def break_name(path, data):
    """Renames a file, or replaces it by a link elsewhere, a folder, a pipe or a link to itself."""
    how = data.draw(st.sampled_from(["rename", "rename", "folder", "pipe", "link", "circle"]))
    if how == "rename":
        name = data.draw(NAMES).replace("/", "_").replace("\0", "_")
        try:
            path.rename(path.with_name(name))
        except (OSError, UnicodeError, ValueError):  # not a valid name on this file system
            return
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()
        elif how == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/etc/passwd" if how == "link" else path.name)


def files_of(root):
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != "SIMULATED.txt")


def read_all(name, root):
    """Reads everything; returns how many frames could be read."""
    dataset, count = open_dataset(name, root), 0
    for tile in (tile for tiles in dataset.parts.values() for tile in tiles):
        broken = {}
        example = dataset.read(tile, lambda part, error, broken=broken: broken.setdefault(part, str(error)) and {})
        for part, modality in dataset.modalities.items():
            if part not in broken:
                values = example[part]["values"]
                assert values.shape[1:] == modality.shape and values.dtype == modality.dtype
                count += len(values)
                if modality.kind == "series":
                    assert (np.diff(example[part]["dates"]) >= 0).all() and len(values) == len(example[part]["dates"]) == len(example[part]["valid"])
        for part, message in broken.items():
            assert message.isprintable() and part in (*dataset.modalities, "labels")
        if dataset.task == "segment" and "labels" in example:
            assert set(np.unique(example["labels"])) <= {*range(len(dataset.classes)), dataset.ignore}
        assert all(isinstance(finding, Finding) and finding.tile == tile for finding in dataset.inspect(tile))
    return count


@pytest.mark.parametrize("name", SIZES)
def test_the_outcome_is_data_or_a_sentence(name, folders):
    whole, outcomes = read_all(name, folders[name]), set()

    @settings(max_examples=int(os.environ.get("EXAMPLES", 80)), deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def breaks(data):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(shutil.copytree(folders[name], pathlib.Path(folder) / name))
            tables = [path for path in files_of(root) if path.suffix in (*JSON, ".lst", ".txt")]
            path = data.draw(st.sampled_from(files_of(root) if data.draw(st.integers(0, 2)) else tables), label="file")
            ways = [break_bytes, break_name]
            ways += [break_json] * 3 if path.suffix in JSON else [break_array] * 2 if path.suffix in (".npy", ".h5", ".tif") else []
            data.draw(st.sampled_from(ways))(path, data)
            try:
                outcomes.add("whole" if read_all(name, root) == whole else "partly")
            except DataError as error:
                assert str(error).isprintable()
                outcomes.add("refused")

    breaks()
    assert outcomes == {"whole", "partly", "refused"}
