"""Small maps of random blocks, without a model."""

import numpy as np
from rasterio.crs import CRS

from omnisat_jax.predict.folder import LEVELS, NO_DATA, MapFolder, MapInfo, MapSensor
from omnisat_jax.predict.grid import MapGrid

CLASSES = ("Background", "Winter wheat", "Prairie & <meadow>", "Corn")
COLOURS = ("#000000", "#e5c07b", "#2ca02c", "#ff7f0e")
SENSORS = (
    MapSensor("s2", "series", ("B02", "B03"), ("2021-03-01", "2021-09-12"), ("imagery/s2/20210301.tif", "imagery/s2/20210912.tif")),
    MapSensor("s1a", "series", ("VV", "VH"), ("2021-02-11",), ("imagery/s1/a b.tif",)),
    MapSensor("spot", "image", ("R", "G", "B"), (), ("spot.tif",)),
)
MODEL = {"source": "runs/pastis/model", "checksum": "0123456789abcdef", "version": "0.1.0", "citation": "OmniSat", "simulated": True}


def grid(rows=11, columns=15, block=48, **changes):
    """Of 88 x 120 label pixels of 10 m unless told otherwise; the last blocks of a row and column are narrow."""
    values = dict(
        crs=CRS.from_epsg(32631).to_wkt(), left=500_000.0, top=5_700_000.0, ground=80.0, pixels=8, rows=rows, columns=columns, window=4, stride=3, block=block
    )
    return MapGrid(**(values | changes))


def info(map_grid, **changes):
    values = dict(
        fingerprint="f" * 32, grid=map_grid, classes=CLASSES, colours=COLOURS, sensors=SENSORS, probabilities=True, model=MODEL,
        settings={"overlap": 0.25}, remarks=("a remark",),
    )  # fmt: skip
    return MapInfo(**(values | changes))


def random_arrays(map_info, seed=0, classes=None):
    """The arrays of a whole map, as those of one block. Patches of equal class, with unknown pixels."""
    rng, shape = np.random.default_rng(seed), (map_info.grid.height, map_info.grid.width)
    count = len(map_info.classes)
    if classes is None:
        coarse = rng.integers(0, count, (-(-shape[0] // 7), -(-shape[1] // 5)), np.uint8)
        classes = np.kron(coarse, np.ones((7, 5), np.uint8))[: shape[0], : shape[1]]
        classes = np.where(rng.random(shape) < 0.1, rng.integers(0, count, shape, np.uint8), classes)
        classes[rng.random(shape) < 0.05] = NO_DATA
    unknown = classes == NO_DATA
    used = rng.integers(1, 2 ** len(map_info.sensors), shape, np.uint32)
    arrays = {
        "class": classes,
        "confidence": np.where(unknown, NO_DATA, rng.integers(20, 101, shape)).astype(np.uint8),
        "used": np.where(unknown, 0, used).astype(np.uint32),
        "dates": rng.integers(0, 70, (len(map_info.series), *shape)).astype(np.uint16),
    }
    if map_info.probabilities:
        arrays["probabilities"] = np.where(unknown, NO_DATA, rng.integers(0, LEVELS + 1, (count, *shape))).astype(np.uint8)
    return arrays


def write_map(path, map_info, arrays):
    """A folder with all blocks of a map."""
    folder = MapFolder.start(path, map_info)
    for block in map_info.grid.blocks():
        rows, columns = slice(block.top, block.top + block.height), slice(block.left, block.left + block.width)
        part = {name: np.ascontiguousarray(values[..., rows, columns]) for name, values in arrays.items()}
        folder.write(block, part | {"seam": np.array([block.height * 0.5, block.height])})
    return folder


def make_map(path, block=48, seed=0, classes=None, **changes):
    """A finished map of random pixels, which are the same for every block size."""
    map_info = info(grid(block=block), **changes)
    return write_map(path, map_info, random_arrays(map_info, seed, classes))


def spoil_block(folder, name, change):
    """Changes an array of the first block."""
    block = next(folder.info.grid.blocks())
    arrays = folder.read(block)
    folder.write(block, arrays | {name: change(arrays[name])})
