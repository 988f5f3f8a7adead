"""A small region of synthetic rasters, and the tiles that are cut from it."""

import json

import numpy as np
import rasterio
from rasterio.transform import from_origin

from data.reading.datasets import open_dataset
from data.tiles import cut as command
from omnisat_jax.cli.command import run_command

LEFT, TOP, SIDE, SIZE = 400_000, 5_900_000, 32, 8
GRADIENT = (100 * np.arange(SIDE)[:, None] + np.arange(SIDE)).astype(np.int16)
FIELDS = (np.arange(SIDE)[:, None] // 4 + np.arange(SIDE) // 4) % 3


def write(path, bands, transform=None, crs="EPSG:32632", descriptions=None, scales=None, offsets=None, mask=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = np.asarray(bands)
    profile = dict(driver="GTiff", count=len(bands), height=bands.shape[1], width=bands.shape[2], dtype=bands.dtype, crs=crs)
    with rasterio.open(path, "w", transform=transform or from_origin(LEFT, TOP, 10, 10), **(profile | more)) as target:
        target.write(bands)
        if mask is not None:
            target.write_mask(mask)
        if descriptions:
            target.descriptions = descriptions
        if scales:
            target.scales = scales
        if offsets:
            target.offsets = offsets
    return path


def make_region(folder):
    """Writes labels.tif of SIDE x SIDE pixels; returns the folder."""
    write(folder / "labels.tif", FIELDS[None].astype(np.uint8))
    return folder


def cut(here, *arguments, labels="labels.tif", classes="A,B,C", size=SIZE):
    return run_command(
        command.main,
        ["--labels", str(here / labels), "--classes", classes, "--size", str(size), "--folds", "2", "--out", str(here / "out"), *arguments],
    )


def cut_image(here, path, *arguments):
    return cut(here, "--image", f"im={path}", *arguments)


def tile(here, name, at="r0000_c0000"):
    return open_dataset("tiles", here / "out").read(at)[name]


def described(here, name):
    """The description of a sensor in dataset.json."""
    return json.loads((here / "out" / "dataset.json").read_text())["modalities"][name]


def refused(here, capsys, *messages, **changes):
    """A function that cuts, and checks that this is refused with all of the messages and leaves no file."""

    def attempt(*arguments):
        before = set(here.rglob("*"))
        assert cut(here, *arguments, **changes) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and "bug in omnisat_jax" not in error, error
        assert all(message in error for message in messages), error
        assert set(here.rglob("*")) == before

    return attempt
