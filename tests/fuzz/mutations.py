"""Ways to damage one file of a dataset. Each takes a random generator and the file, changes it, and returns what it did."""

import json
import os
import pathlib
import random
import shutil
import warnings

import h5py
import numpy as np
import rasterio

VICTIM = "<absolute path of the victim>"  # replaced on use
HOSTILE_NAMES = (VICTIM, "../victim", "../../victim", "/tmp/../victim", "..", ".", "", "a/b", "a\\b", "x" * 300, "\x1b[31mred", "[/bold]", "$x$", "\udcff", "a\nb", "-rf", "CON")
HOSTILE_VALUES = (
    None, True, False, 0, -1, 1, 255, 256, 99, 10**30, -(10**30), 1.5, 1e308, float("inf"), float("nan"), "", "text", [], {}, [[]], [None], {"a": 1},
    "2018/09/01", "20181399", "99991231", "00010101", *HOSTILE_NAMES,
)  # fmt: skip
DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "float16", "float32", "float64", "complex64", "bool", "S5", "datetime64[D]")
SPECIAL = (0, -1, 1, 127, 255, 40_000, -32_768, 32_767, 2**31, float("nan"), float("inf"), -3.4e38, 1e31, -9999.0)


def mutate_bytes(r: random.Random, path: pathlib.Path) -> str:
    """Flips bits, truncates, appends or empties."""
    content = bytearray(path.read_bytes())
    how = r.choice(["flip", "flip header", "truncate", "empty", "append", "zero", "random"])
    if how == "flip" and content:
        for _ in range(r.randint(1, 8)):
            content[r.randrange(len(content))] ^= 1 << r.randrange(8)
    elif how == "flip header" and content:
        for _ in range(r.randint(1, 4)):
            content[r.randrange(min(len(content), 400))] = r.randrange(256)
    elif how == "truncate":
        del content[r.randrange(len(content) + 1) :]
    elif how == "empty":
        content.clear()
    elif how == "append":
        content += r.randbytes(r.randint(1, 5000))
    elif how == "zero" and content:
        start = r.randrange(len(content))
        content[start : start + r.randint(1, 200)] = bytes(min(200, len(content) - start))
    else:
        content = bytearray(r.randbytes(r.randint(0, 3000)))
    path.write_bytes(content)
    return f"bytes: {how}"


def mutate_place(r: random.Random, path: pathlib.Path) -> str:
    """Replaces the file by something else, or moves or copies it."""
    how = r.choice(["delete", "folder", "pipe", "link to itself", "link out", "link to nothing", "rename", "copy", "twin", "stray"])
    victim = _root(path).parent / "victim" / "secret.npy"
    if how in ("rename", "copy", "twin", "stray"):
        name = {"rename": r.choice(["x", "._" + path.name, path.name.upper(), path.name + "~", "a b" + path.suffix]), "copy": "copy_of_" + path.name}
        name["twin"] = path.stem + path.suffix.upper()
        target = path.with_name(name.get(how, r.choice([".DS_Store", "Thumbs.db", "._" + path.name, ".gitkeep"])))
        if how == "rename":
            path.rename(target)
        elif how in ("copy", "twin"):
            shutil.copy(path, target)
        else:
            target.write_bytes(b"stray")
        return f"place: {how} {target.name}"
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link to itself":
        path.symlink_to(path)
    elif how == "link out":
        path.symlink_to(victim)
    elif how == "link to nothing":
        path.symlink_to(path.with_name("nowhere"))
    return f"place: {how}"


def mutate_json(r: random.Random, path: pathlib.Path) -> str:
    """Changes a value, a key or the nesting."""
    value = json.loads(path.read_text())
    how = r.choice(["value", "value", "value", "delete", "rename key", "repeat", "wrap", "deep", "whole"])
    holder, key = _somewhere(r, value)
    hostile, name = r.choice(HOSTILE_VALUES), r.choice(HOSTILE_NAMES)
    hostile, name = (str(_root(path).parent / "victim") if text == VICTIM else text for text in (hostile, name))
    if holder is None or how == "whole":
        value = hostile
    elif how == "value":
        holder[key] = hostile
    elif how == "delete":
        del holder[key]
    elif how == "rename key" and isinstance(holder, dict):
        holder[name] = holder.pop(key)
    elif how == "repeat" and isinstance(holder, list):
        holder.append(holder[key])
    elif how == "wrap":
        holder[key] = [holder[key]] if r.random() < 0.5 else {"x": holder[key]}
    elif how == "deep":
        text = json.dumps(value, ensure_ascii=True)
        path.write_text(text[:-1] + ("," if len(text) > 2 else "") + ('"deep":' if text[0] == "{" else "") + "[" * 100_000 + "]" * 100_000 + text[-1])
        return "json: deep"
    path.write_text(json.dumps(value, ensure_ascii=True))
    return f"json: {how} at {key!r} -> {hostile!r}"[:200]


def mutate_npy(r: random.Random, path: pathlib.Path) -> str:
    """Changes shape, dtype, values or the header."""
    array = np.load(path)
    how = r.choice(["declare", "declare", "dtype", "values", "shape", "objects", "order"])
    if how == "declare":
        shape = list(array.shape) or [1]
        shape[r.randrange(len(shape))] = r.choice([0, -1, 1, 10**6, 10**12, 2**62, shape[0] + 1])
        header = {"descr": r.choice([array.dtype.str, "<f8", "|O", "<i2", ">i4", "|V100000"]), "fortran_order": r.random() < 0.3, "shape": tuple(shape)}
        text = repr(header).encode()
        text += b" " * ((-len(text) - 11) % 64) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + array.tobytes())
        return f"npy: declares {header}"
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if how == "dtype":
            kind = r.choice(DTYPES)
            array = array.astype("int64").astype(kind) if kind.startswith("dat") else array.astype(kind)
        elif how == "values":
            flat = array.reshape(-1).astype(r.choice([array.dtype, np.dtype("float64"), np.dtype("int64")]))
            for _ in range(r.choice([1, 3, max(1, flat.size)])):
                number = r.choice(SPECIAL)
                if flat.size:
                    flat[r.randrange(flat.size)] = number if flat.dtype.kind == "f" or number == number and abs(number) < 2**62 else 0
            array = flat.reshape(array.shape)
        elif how == "shape":
            axis = r.randrange(max(array.ndim, 1))
            array = r.choice([lambda: array[None], lambda: array.reshape(-1), lambda: array[..., :-1], lambda: array.swapaxes(0, axis), lambda: array[:0]])()
        elif how == "order":
            array = np.asfortranarray(array).astype(array.dtype.newbyteorder(">"))
    if how == "objects":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=bool(1))
    else:
        np.save(path, array)
    return f"npy: {how}"


def mutate_tif(r: random.Random, path: pathlib.Path) -> str:
    """Changes profile, georeference or values, declares a huge size, or writes another format under the same name."""
    how = r.choice(["vrt", "place", "nodata", "dtype", "values", "size", "scale", "huge", "bands", "nocrs", "beside", "alpha", "two images"])
    if how == "vrt":
        source = r.choice(["/etc/passwd", "/vsicurl/http://127.0.0.1:9/x.tif", str(path.with_name("other.tif"))])
        path.write_text(
            f'<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand"><SourceFilename>{source}'
            "</SourceFilename></VRTRasterBand></VRTDataset>"
        )
        return f"tif: vrt to {source}"
    if how == "beside":
        number = r.choice(["2", "0", "nan", "-1e400", "", "x"])
        tag = r.choice(["Scale", "Offset", "NoDataValue", "Description", "UnitType"])
        text = f'<PAMDataset><PAMRasterBand band="{r.choice([1, 2, 99])}"><{tag}>{number}</{tag}></PAMRasterBand></PAMDataset>'
        text = r.choice([text, text, text[:-5], "", "<PAMDataset><GeoTransform>1,2,3</GeoTransform></PAMDataset>"])
        path.with_name(path.name + r.choice([".aux.xml", ".aux.xml", ".msk", ".ovr"])).write_text(text)
        return f"tif: beside {text}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as source:
            _need_small(source.count * source.height * source.width)
            profile, values, tags, names = source.profile, source.read(), source.tags(), source.descriptions
        if how == "place":
            t = profile["transform"]
            profile["transform"] = r.choice([
                rasterio.Affine(t.a, 0, t.c + 5000, 0, t.e, t.f), rasterio.Affine(t.a, 0, t.c, 0, -t.e, t.f + t.e * profile["height"]),
                rasterio.Affine(t.a, t.a / 3, t.c, 0, t.e, t.f), rasterio.Affine(t.a * 2, 0, t.c, 0, t.e, t.f), rasterio.Affine(0, 0, 0, 0, 0, 0),
                rasterio.Affine(float("nan"), 0, 0, 0, 1, 0), rasterio.Affine(-t.a, 0, t.c, 0, t.e, t.f), rasterio.Affine(1e300, 0, 1e300, 0, -1e300, 0),
            ])  # fmt: skip
        elif how == "nodata":
            profile["nodata"] = r.choice([0, 255, int(values.flat[0])]) if values.dtype.kind in "iu" else r.choice([0.0, float("nan"), -9999.0])
        elif how == "dtype":
            profile["dtype"] = r.choice(["uint8", "int16", "uint16", "int32", "float32", "float64", "complex64"])
            with np.errstate(all="ignore"):
                values = np.nan_to_num(values).astype(profile["dtype"])
        elif how == "values" and values.size:
            numbers = [x for x in SPECIAL if values.dtype.kind == "f" or (x == x and np.iinfo(values.dtype).min <= x <= np.iinfo(values.dtype).max)]
            values.flat[r.randrange(values.size)] = r.choice(numbers)
            if r.random() < 0.3:
                values[:] = r.choice(numbers)
        elif how == "size":
            values = values[:, : max(1, r.randrange(values.shape[1] + 1)), : max(1, r.randrange(values.shape[2] + 1))]
            profile.update(height=values.shape[1], width=values.shape[2])
        elif how == "bands":
            values = values[: max(1, r.randrange(len(values) + 1))] if r.random() < 0.5 else np.concatenate([values, values[:1]])
            profile["count"], names = len(values), ()
        elif how == "nocrs":
            profile.pop("crs", None)
        elif how == "alpha":
            profile.update(photometric="RGB" if len(values) > 3 and values.dtype == "uint8" else "minisblack", alpha="YES")
        for key in ("blockxsize", "blockysize", "tiled", "interleave"):
            profile.pop(key, None)
        if how == "huge":
            profile.update(height=200_000, width=200_000, sparse_ok="true", tiled=True, blockxsize=4096, blockysize=4096, bigtiff="yes")
            with rasterio.open(path, "w", **profile):
                pass
            return "tif: huge"
        if how == "two images":
            profile["APPEND_SUBDATASET"] = "YES"
        with rasterio.open(path, "w", **profile) as target:
            target.write(values)
            target.update_tags(**{key: value for key, value in tags.items() if key not in ("AREA_OR_POINT",)})
            if how == "scale":
                target.scales, target.offsets = (0.1,) * len(values), (r.choice([0.0, -1.0, float("nan")]),) * len(values)
            elif len(names) == len(values):
                target.descriptions = names
    return f"tif: {how}"


def mutate_h5(r: random.Random, path: pathlib.Path) -> str:
    """Replaces an array by another one, a group, a link, one with external storage, or one of a huge declared size."""
    how = r.choice(["delete", "group", "soft", "external link", "external storage", "huge", "scalar", "text", "dtype", "shape", "values", "null", "attribute"])
    with h5py.File(path, "r+") as target:
        name = r.choice(sorted(target))
        _need_small(target[name].size or 0)
        old = target[name][...]
        if how == "attribute":
            key = r.choice(["scale_factor", "add_offset", "_FillValue", "missing_value"])
            target[name].attrs[key] = r.choice([1.0, 0, 1e-4, float("nan"), "x", [1, 2], np.zeros(0), h5py.Empty("f4"), old.flat[0] if old.size else 0])
            return f"h5: attribute {key} of {name}"
        del target[name]
        if how == "group":
            target.create_group(name)
        elif how == "soft":
            target[name] = h5py.SoftLink("/" + r.choice([name, "nowhere", "sen-2-data"]))
        elif how == "external link":
            target[name] = h5py.ExternalLink("/etc/passwd", "/x")
        elif how == "external storage":
            target.create_dataset(name, (4, 10, 6, 6), "i2", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
        elif how == "huge":
            target.create_dataset(name, (r.choice([10**4, 10**8]), *old.shape[1:]), old.dtype if old.dtype.kind != "O" else "i2", chunks=True, compression="gzip")
        elif how == "scalar":
            target[name] = 3
        elif how == "text":
            target.create_dataset(name, data=r.choice([b"\xff\xfe", b"no date", "S2A_99999999T"]))
        elif how == "null":
            target[name] = h5py.Empty("f4")
        elif old.dtype.kind == "O":
            target[name] = [r.choice([b"\xff\xfe\xfd", b"x", b"S2A_MSIL2A_20181399T1", b"S2A_MSIL2A_00010101T1", entry]) for entry in old]
        elif how == "dtype":
            with np.errstate(all="ignore"):
                target[name] = np.nan_to_num(old).astype(r.choice(["u1", "u2", "i4", "f4", "f8", "c8", "S3"]))
        elif how == "shape":
            target[name] = r.choice([old[:0], old[..., :-1], old.reshape(-1), old[None], old[1:]])
        elif how == "values":
            old = old.astype("f8")
            old.flat[r.randrange(old.size)] = r.choice(SPECIAL)
            target[name] = old
    return f"h5: {how} {name}"


def mutate_text(r: random.Random, path: pathlib.Path) -> str:
    """Changes the lines of a list of names or products."""
    lines = path.read_bytes().split(b"\n")
    how = r.choice(["repeat", "drop", "hostile", "binary", "none"])
    at = r.randrange(len(lines))
    if how == "repeat":
        lines.insert(at, lines[at])
    elif how == "drop":
        del lines[at]
    elif how == "hostile":
        lines[at] = r.choice(HOSTILE_NAMES).encode("utf-8", "surrogateescape") + r.choice([b"", b".tif"])
    elif how == "binary":
        lines[at] = r.randbytes(20)
    else:
        lines = []
    path.write_bytes(b"\n".join(lines))
    return f"text: {how}"


def mutate(r: random.Random, root: pathlib.Path) -> str:
    """Damages one file of a dataset according to its type; returns which and how."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    # Descriptions are few but important: they are chosen about as often as images.
    small = [path for path in files if path.suffix in (".json", ".geojson", ".lst", ".txt")]
    path = r.choice(small if small and r.random() < 0.4 else files)
    kinds = {".json": mutate_json, ".geojson": mutate_json, ".npy": mutate_npy, ".tif": mutate_tif, ".h5": mutate_h5, ".lst": mutate_text, ".txt": mutate_text}
    how = r.choice([mutate_bytes, mutate_place] + 5 * [kinds.get(path.suffix, mutate_bytes)])
    try:
        return f"{path.relative_to(root)}: {how(r, path)}"
    except (ValueError, OSError, KeyError, TypeError, IndexError, OverflowError, AttributeError, RuntimeError, SyntaxError, EOFError, RecursionError, MemoryError) as error:  # fmt: skip
        # An earlier mutation left a file of another type, or the result cannot be written.
        return f"{path.relative_to(root)}: {how.__name__} did not apply ({type(error).__name__})"


def _need_small(count):
    if count > 10**7:
        raise ValueError("an earlier mutation made it huge")


def _somewhere(r, value):
    """(parent, key) of a random entry of a JSON structure, at any depth."""
    holder = key = None
    while isinstance(value, dict | list) and value and (holder is None or r.random() < 0.75):
        key = r.choice(list(value)) if isinstance(value, dict) else r.randrange(len(value))
        holder, value = value, value[key]
    return holder, key


def _root(path):
    """The folder of the dataset, found by the folder "victim" beside it."""
    return next(parent for parent in path.parents if (parent.parent / "victim").is_dir())
