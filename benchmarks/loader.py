"""Tiles per second of the input pipeline, against a loader that reads the raw files, on full-size simulated PASTIS-HD.

    python -m benchmarks.loader [--tiles=10] [--tile_size=128] [--rounds=3] [--folder=DIR]

The reference does what published readers do, in one process: np.load and rasterio, draw the dates, convert to float32, pad and stack. The pipeline
is that of training, from records to host batches, with and without augmentation, which the reference lacks; it also verifies the checksum of
every frame. Both deliver the same number of dates. "cold": the files are dropped from the page cache before each round; caches of a virtual
disk cannot be dropped. A second table reads the same frames from other file layouts (`benchmarks/layouts.py`).
"""

import argparse
import contextlib
import functools
import os
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import grain
import numpy as np
import rasterio
from rich.console import Console
from rich.table import Table

from benchmarks import layouts
from configs import pastis
from data import prepare
from data.pastis.simulated import simulate
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.input import pipeline
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.records.reader import Records

DATES = {"S2": 45, "S1A": 50, "S1D": 50}  # drawn per tile, as configs/pastis.py:hd does
BATCH = 2
REFERENCE = "reference, 1 process"
RECORDS = {"records": (), "records, float16": ("--float16",)}  # options of their preparation


class Loader(NamedTuple):
    """Something that reads tiles.

    Attributes:
      files: folder that it reads.
      read: number of tiles -> seconds per tile.
    """

    files: pathlib.Path
    read: Callable[[int], float]


def reference_batch(root: pathlib.Path, tiles: Sequence[str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A batch of float32 arrays from raw files, dates drawn and padded."""
    samples = []
    for tile in tiles:
        sample = {}
        for sensor, count in DATES.items():
            values = np.load(root / f"DATA_{sensor}" / f"{sensor}_{tile}.npy")
            chosen = np.sort(rng.choice(len(values), min(count, len(values)), replace=False))
            sample[sensor] = values[chosen].astype(np.float32)
        with rasterio.open(root / "DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019" / f"SPOT6_RVB_1M00_2019_{tile}.tif") as source:
            sample["SPOT"] = source.read().astype(np.float32)
        sample["labels"] = np.load(root / "ANNOTATIONS" / f"TARGET_{tile}.npy")[0]
        samples.append(sample)
    batch = {key: np.stack([sample[key] for sample in samples]) for key in ("SPOT", "labels")}
    for sensor in DATES:
        longest = max(len(sample[sensor]) for sample in samples)
        padding = [((0, longest - len(sample[sensor])), (0, 0), (0, 0), (0, 0)) for sample in samples]
        batch[sensor] = np.stack([np.pad(sample[sensor], pad) for sample, pad in zip(samples, padding)])
    return batch


def time_reference(root: pathlib.Path, count: int) -> float:
    """Seconds per tile of the reference."""
    tiles = sorted(path.stem.split("_")[1] for path in (root / "DATA_S2").glob("*.npy"))
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for first in range(0, count, BATCH):
        reference_batch(root, [tiles[(first + i) % len(tiles)] for i in range(BATCH)], rng)
    return (time.perf_counter() - start) / count


def time_pipeline(folder: pathlib.Path, count: int, threads: int, augment: bool) -> float:
    """Seconds per tile of the training pipeline."""
    config, records = schema.parse(pastis.get_config("hd")), Records(folder)
    input_spec = resolve_input_spec(config, records.info)
    make_batch = MakeBatch(input_spec.train, input_spec.grid, input_spec.crop, config.data.origin, random=True, augment=augment)
    read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2)
    dataset = pipeline.training(records.source(records.parts), make_batch, seed=0, batch_size=BATCH, options=read)
    iterator = iter(dataset)
    start = time.perf_counter()
    for _ in range(count // BATCH):
        next(iterator)
    seconds = (time.perf_counter() - start) / count
    iterator.close()
    return seconds


def drop_from_cache(folder: pathlib.Path) -> None:
    """Asks the kernel to drop the files of a folder from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def make_loaders(folder: pathlib.Path, tiles: int, tile_size: int) -> dict[str, Loader]:
    """Simulates and prepares the data, and returns the loaders to compare."""
    raw = simulate(folder / "raw", tiles=tiles, tile_size=tile_size, seed=0)
    loaders = {REFERENCE: Loader(raw, functools.partial(time_reference, raw))}
    for name, form in RECORDS.items():
        records = folder / name
        if prepare.main(["pastis", "--raw", str(raw), "--out", str(records), *form]):
            raise SystemExit(1)
        for augment in (False, True):
            for threads in (1, 2):
                read = functools.partial(time_pipeline, records, threads=threads, augment=augment)
                loaders[f"{name}, {threads} threads{', augmented' if augment else ''}"] = Loader(records, read)
    return loaders


def compare(loaders: dict[str, Loader], tiles: int, rounds: int) -> Table:
    """The best of several rounds of every loader, warm and cold; rounds alternate, so that noise affects all of them."""
    cold, warm = dict.fromkeys(loaders, np.inf), dict.fromkeys(loaders, np.inf)
    for _ in range(rounds):
        for name, loader in loaders.items():
            drop_from_cache(loader.files)
            cold[name] = min(cold[name], loader.read(tiles))
            warm[name] = min(warm[name], loader.read(2 * tiles))
    table = Table(title=f"{tiles} tiles, batches of {BATCH}, best of {rounds} rounds", title_justify="left")
    for heading in ("loader", "MB per tile on disk", "warm: tiles/s", "MB/s", "ratio", "cold: tiles/s", "ratio"):
        table.add_column(heading, justify="left" if heading == "loader" else "right")
    for name, loader in loaders.items():
        size = sum(path.stat().st_size for path in loader.files.rglob("*") if path.is_file()) / 1e6 / tiles
        faster = {"warm": warm[REFERENCE] / warm[name], "cold": cold[REFERENCE] / cold[name]}
        rates = f"{1 / warm[name]:.1f}", f"{size / warm[name]:.0f}", f"{faster['warm']:.1f}"
        table.add_row(name, f"{size:.1f}", *rates, f"{1 / cold[name]:.1f}", f"{faster['cold']:.1f}")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints both tables and the peak memory."""
    parser = Parser(prog="python -m benchmarks.loader", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=10, help="simulated tiles; 48 MB each at the default size")
    parser.add_argument("--tile_size", type=int, default=128, help="pixels per side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, help="where tiles and records are kept; default: a temporary folder")
    options = parser.parse_args(arguments)
    console = Console(width=140)
    with contextlib.ExitStack() as stack:
        folder = options.folder or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        console.print(compare(make_loaders(folder, options.tiles, options.tile_size), options.tiles, options.rounds))
        console.print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
        console.print(layouts.compare(folder / "records", DATES, options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
