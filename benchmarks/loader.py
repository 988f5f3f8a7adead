"""Tiles a second of the input pipeline against a loader that reads the raw files, on full-size simulated PASTIS-HD.

python -m benchmarks.loader [--tiles 10] [--folder DIR]

The reference does what published readers do: np.load and rasterio, draw the dates, convert to float32, collate with padding, in one process.
Ours: the training pipeline from records to batches, as the training loop reads it, with and without augmentation, which the reference has not.
Both deliver the same number of dates. "cold" has the files dropped from the page cache before; what a virtual disk caches elsewhere is out of
reach. The last table reads the same frames from other layouts and codecs, without anything else.
"""

import argparse
import functools
import os
import pathlib
import resource
import sys
import tempfile
import time

import grain
import numpy as np
import rasterio
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from rich.console import Console
from rich.table import Table

from configs import pastis
from data import prepare
from data.pastis.simulated import simulate
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.input import pipeline
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.records.reader import Records

DATES = {"S2": 45, "S1A": 50, "S1D": 50}
BATCH = 2
ROUNDS = 3


def reference(root, tiles, rng):
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


def drop_from_cache(folder):
    """Asks the kernel to forget the files of a folder."""
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def time_reference(root, count):
    """Seconds a tile."""
    tiles = sorted(path.stem.split("_")[1] for path in (root / "DATA_S2").glob("*.npy"))
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for first in range(0, count, BATCH):
        reference(root, [tiles[(first + i) % len(tiles)] for i in range(BATCH)], rng)
    return (time.perf_counter() - start) / count


def time_ours(folder, count, threads, augment):
    """Seconds a tile."""
    config = pastis.get_config("hd")
    settings, records = schema.parse(config), Records(folder)
    input_spec = resolve_input_spec(settings, records.info)
    make_batch = MakeBatch(input_spec.train, input_spec.grid, input_spec.crop, settings.data.origin, random=True, augment=augment)
    read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2)
    dataset = pipeline.training(records.source(records.parts), make_batch, seed=0, batch_size=BATCH, options=read)
    iterator = iter(dataset)
    start = time.perf_counter()
    for _ in range(count // BATCH):
        next(iterator)
    seconds = (time.perf_counter() - start) / count
    iterator.close()
    return seconds


def layouts(folder, records, console):
    """Reads the drawn frames of each tile from ArrayRecord files in other layouts, and from ours."""
    records = Records(records)
    counts = {name: DATES.get(name.upper(), 1) for name, m in records.modalities.items() if m.kind != "location"}
    source = records.source(records.parts)
    tiles = [{name: source[i][name]["values"][:] for name in counts} for i in range(len(source))]
    drawn = [{name: np.sort(np.random.default_rng(i).choice(len(t[name]), min(n, len(t[name])), replace=False)) for name, n in counts.items()} for i, t in enumerate(tiles)]  # fmt: skip

    def ours():
        for i in range(len(tiles)):
            example = source[i]
            for name, positions in drawn[i].items():
                example[name]["values"][positions]

    readers = {"ours: a NumPy file of frames": (ours, sum(v.nbytes for t in tiles for v in t.values()))}
    for codec in ("uncompressed", "snappy", "zstd"):
        for whole in (False, True):
            path = folder / f"{codec}_{whole}.array_record"
            writer = ArrayRecordWriter(str(path), f"group_size:1,{codec}")
            for tile in tiles:
                pieces = (
                    [b"".join(v.tobytes() for v in tile.values())] if whole else [f.tobytes() for v in tile.values() for f in v]
                )
                for piece in pieces:
                    writer.write(piece)
            writer.close()
            reader, starts = (
                ArrayRecordReader(str(path), "readahead_buffer_size:0"),
                np.cumsum([0] + [sum(map(len, t.values())) for t in tiles]),
            )

            def read(reader=reader, whole=whole, starts=starts):
                for i, tile in enumerate(tiles):
                    if whole:
                        reader.read([i])
                        continue
                    first = starts[i]
                    for name, values in tile.items():
                        reader.read([int(first + p) for p in drawn[i][name]])
                        first += len(values)

            readers[f"ArrayRecord, {codec}, {'one a tile' if whole else 'one a frame'}"] = read, path.stat().st_size
    best = dict.fromkeys(readers, np.inf)
    for _ in range(ROUNDS):
        for name, (read, _) in readers.items():
            start = time.perf_counter()
            read()
            best[name] = min(best[name], (time.perf_counter() - start) / len(tiles))
    table = Table(title="reading the drawn frames only, warm, 1 thread", title_justify="left")
    for heading in ("layout", "MB a tile", "ms a tile", "times ours"):
        table.add_column(heading, justify="left" if heading == "layout" else "right")
    first = next(iter(best.values()))
    for name, seconds in best.items():
        table.add_row(name, f"{readers[name][1] / 1e6 / len(tiles):.1f}", f"{1e3 * seconds:.1f}", f"{seconds / first:.1f}")
    console.print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=10, help="simulated tiles of 128 px, 48 MB each")
    parser.add_argument("--folder", type=pathlib.Path, help="where tiles and records are kept; default a temporary folder")
    options = parser.parse_args()
    folder = options.folder or pathlib.Path(tempfile.mkdtemp())
    raw = simulate(folder / "raw", tiles=options.tiles, tile_size=128, seed=0)
    forms = {"records": (), "records, float16": ("--float16",)}
    for name, form in forms.items():
        if prepare.main(["pastis", "--raw", str(raw), "--out", str(folder / name), *form]):
            raise SystemExit(1)
    readers = {"reference, 1 process": (raw, lambda count: time_reference(raw, count))}
    for name in forms:
        for augment in (False, True):
            for threads in (1, 2):
                read = functools.partial(time_ours, folder / name, threads=threads, augment=augment)
                readers[f"{name}, {threads} threads{', augmented' if augment else ''}"] = folder / name, read
    cold, warm = dict.fromkeys(readers, np.inf), dict.fromkeys(readers, np.inf)
    for _ in range(ROUNDS):  # in turns, so that a noisy minute strikes all of them
        for name, (files, read) in readers.items():
            drop_from_cache(files)
            cold[name] = min(cold[name], read(options.tiles))
            warm[name] = min(warm[name], read(2 * options.tiles))
    table = Table(title=f"{options.tiles} tiles of 128 px, batches of {BATCH}, best of {ROUNDS} rounds", title_justify="left")
    for heading in (
        "loader",
        "MB a tile on disk",
        "warm: tiles/s",
        "MB/s",
        "times the reference",
        "cold: tiles/s",
        "times the reference",
    ):
        table.add_column(heading, justify="left" if heading == "loader" else "right")
    for name, (files, _) in readers.items():
        size = sum(path.stat().st_size for path in pathlib.Path(files).rglob("*") if path.is_file()) / 1e6 / options.tiles
        base = "reference, 1 process"
        table.add_row(
            name, f"{size:.1f}", f"{1 / warm[name]:.1f}", f"{size / warm[name]:.0f}", f"{warm[base] / warm[name]:.1f}",
            f"{1 / cold[name]:.1f}", f"{cold[base] / cold[name]:.1f}",
        )  # fmt: skip
    console = Console(width=140)
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"peak memory of this process {peak:.0f} MiB")
    layouts(folder, folder / "records", console)


if __name__ == "__main__":
    sys.exit(run_command(main))
