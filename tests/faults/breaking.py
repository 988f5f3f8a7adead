"""Ways to damage files of any dataset, and the declaration of a fault."""

import dataclasses
import json
import os
import pathlib
import shutil
import struct
import tempfile
from collections.abc import Callable

import h5py
import numpy as np
import rasterio


@dataclasses.dataclass(frozen=True)
class Fault:
    """One way to break a folder.

    Attributes:
      make: breaks an intact folder.
      kind: of the finding.
      path: end of the path of the finding, or "" if any path is accepted.
      found: part of the text of what was found.
      tile: the tile of the finding, or several tiles with one finding each.
      stops: whether reading fails; otherwise the tile is usable, or its part is refused later.
      also: kinds of findings that the fault may also cause: an image of another size does not lie where its labels do.
    """

    make: Callable[[pathlib.Path], object]
    kind: str
    path: str
    found: str
    tile: str | tuple[str, ...] = "-"
    stops: bool = True
    also: tuple[str, ...] = ()


def change_array(path, function):
    np.save(path, function(np.load(path)))


def change_json(path, function):
    """function: changes the decoded value in place, or returns another."""
    value = json.loads(path.read_text())
    changed = function(value)
    path.write_text(json.dumps(value if changed is None else changed))


def change_tiff(path, function=lambda bands: bands, **profile):
    """function: new bands (C,H,W) from old ones."""
    with rasterio.open(path) as source:
        bands, kept, tags = function(source.read()), source.profile, source.tags()
    kept |= {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype} | profile
    path.unlink()
    with rasterio.open(path, "w", **kept) as target:
        target.write(bands)
        target.update_tags(**{key: value for key, value in tags.items() if key.startswith("omnisat")})


def regrid_tiff(path, function):
    """function: new bands (C,H,W) from old ones, which cover the same ground."""
    with rasterio.open(path) as source:
        bands, place = source.read(), source.transform
    scale = bands.shape[-1] / function(bands).shape[-1]
    change_tiff(path, function, transform=place @ rasterio.Affine.scale(scale))


def tag_tiff(path, **tags):
    with rasterio.open(path, "r+") as target:
        target.update_tags(**tags)


def shift_tiff(path, metres):
    with rasterio.open(path) as source:
        transform = rasterio.Affine.translation(metres, 0) @ source.transform
    change_tiff(path, transform=transform)


def change_h5(path, name, function):
    """function: new array from the old one, or None to remove it."""
    with h5py.File(path, "r+") as target:
        values = function(target[name][()])
        del target[name]
        if values is not None:
            target[name] = values


def external_h5(path, name):
    """Replaces an array by a link to another file."""
    other = path.with_name("elsewhere.h5")
    shutil.copy(path, other)
    with h5py.File(path, "r+") as target:
        del target[name]
        target[name] = h5py.ExternalLink(str(other), name)
    return other


def group_h5(path, name):
    with h5py.File(path, "r+") as target:
        del target[name]
        target.create_group(name)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def link_out(path):
    """Moves a file out of the dataset and links it."""
    outside = pathlib.Path(tempfile.mkdtemp(prefix="outside-")) / path.name
    shutil.move(path, outside)
    path.symlink_to(outside)


def vrt(path):
    """Replaces an image by a virtual raster with the pixels of another file."""
    kept = path.with_name("kept.bin")
    shutil.move(path, kept)
    with rasterio.open(kept) as source:
        bands = "".join(
            f'<VRTRasterBand dataType="Byte" band="{i}"><SimpleSource><SourceFilename>{kept}</SourceFilename>'
            f"<SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>"
            for i in range(1, source.count + 1)
        )
        path.write_text(f'<VRTDataset rasterXSize="{source.width}" rasterYSize="{source.height}">{bands}</VRTDataset>')


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[-777] ^= 4
    path.write_bytes(bytes(content))


def pickled(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=bool(1))


def declare_huge(path, shape):
    """Writes an array file whose header declares far more values than it holds."""
    header = f"{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (118 - len(header)) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 100)


def put(array, place, value):
    array[place] = value
    return array
