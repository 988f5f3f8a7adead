"""Frames per second from a bucket, by byte ranges, against the same frames from a file of this machine.

    python -m benchmarks.object_storage [--frames=600] [--side=128] [--draw=45] [--latencies=5,20,50] [--rounds=3]

The bucket is a server of this machine (`benchmarks/bucket_server.py`) that answers every request later by the latency. Frames of 10 bands of int16 are
drawn at random, as the dates of a tile are, and compared with their checksums on both sides. "copied once" is what data.mirror_dir does: the whole file in
large pieces, after which frames are read at the speed of the disk. Needs the extra `gcs`.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import xxhash

from benchmarks.bucket_server import BUCKET, environment, serving_elsewhere
from omnisat_jax.cli.arguments import Parser, whole
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.files.addresses import need_bucket
from omnisat_jax.files.buckets import Bucket, forget, set_up
from omnisat_jax.records.frames import FrameStore, FrameWriter

BANDS, DTYPE = 10, "int16"
IN_FLIGHT = (1, 8, 45)  # requests at a time


def write_frames(path: pathlib.Path, frames: int, side: int) -> FrameStore:
    """Writes random frames and opens them."""
    rng, shape = np.random.default_rng(0), (side, side, BANDS)
    writer = FrameWriter(path, shape, DTYPE)
    for _ in range(frames):
        writer.write(rng.integers(0, 10_000, shape, dtype=DTYPE))
    writer.close()
    return FrameStore(path, shape, DTYPE)


def read_local(store: FrameStore, positions: Sequence[int]) -> None:
    """Reads frames from the file, with their checksums."""
    out = np.empty(store.shape, store.dtype)
    for position in positions:
        store.read_into(position, out)


def read_ranges(address: str, store: FrameStore, positions: Sequence[int], in_flight: int) -> None:
    """Reads frames from the object, with their checksums.

    Raises:
      UserError: a frame that differs.
    """
    import fsspec

    size = int(np.prod(store.shape)) * store.dtype.itemsize
    first = store.path.stat().st_size - store.count * size
    starts = [first + int(position) * size for position in positions]
    contents = fsspec.filesystem("gs").cat_ranges([address] * len(starts), starts, [start + size for start in starts], batch_size=in_flight)
    for position, content in zip(positions, contents, strict=True):
        if xxhash.xxh3_64_intdigest(content) != store.checksums[position]:
            raise UserError(f"{address}: frame {position} is not what was written")


def best(action: Callable[[Sequence[int]], None], draws: Sequence[Sequence[int]]) -> float:
    """Seconds of the fastest of several draws."""
    seconds = []
    for positions in draws:
        start = time.perf_counter()
        action(positions)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line per latency and number of requests in flight."""
    parser = Parser(prog="python -m benchmarks.object_storage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=whole(1, "a number of frames"), default=600)
    parser.add_argument("--side", type=whole(1, "pixels"), default=128, help="pixels per side of a frame")
    parser.add_argument("--draw", type=whole(1, "a number of frames"), default=45, help="frames of one draw, such as the dates of a tile")
    parser.add_argument("--latencies", default="5,20,50", help="milliseconds, joined by commas")
    parser.add_argument("--rounds", type=whole(1, "a number of rounds"), default=3)
    options = parser.parse_args(arguments)
    try:
        latencies = [float(text) / 1000 for text in options.latencies.split(",")]
    except ValueError:
        raise UserError(f"--latencies: expected milliseconds joined by commas, found {options.latencies!r}") from None
    address = f"gs://{BUCKET}/frames"
    need_bucket(address, "python -m benchmarks.object_storage")
    with tempfile.TemporaryDirectory() as folder, serving_elsewhere() as (server, set_latency):
        before = dict(os.environ)
        os.environ.update(environment(server))
        try:
            forget()
            set_up("gs")
            store = write_frames(pathlib.Path(folder, "frames.npy"), options.frames, options.side)
            Bucket(address).write("frames.npy", store.path.read_bytes())
            _compare(store, address, set_latency, latencies, options)
        finally:
            forget()
            os.environ.clear()
            os.environ.update(before)
    return 0


def _compare(store: FrameStore, address: str, set_latency: Callable[[float], None], latencies: Sequence[float], options: argparse.Namespace) -> None:
    rng, bytes_of_all = np.random.default_rng(1), store.path.stat().st_size
    draws = [sorted(rng.choice(store.count, min(options.draw, store.count), replace=False)) for _ in range(options.rounds)]
    count = len(draws[0])
    read_local(store, range(store.count))  # warm
    local = best(lambda positions: read_local(store, positions), draws)
    print(f"{count} of {store.count} frames of {options.side} x {options.side} x {BANDS} {DTYPE}, best of {options.rounds}")
    print(f"file of this machine: {count / local:,.0f} frames per second")
    for latency in latencies:
        set_latency(latency)
        for in_flight in IN_FLIGHT:
            seconds = best(lambda positions, n=in_flight: read_ranges(f"{address}/frames.npy", store, positions, n), draws)
            print(
                f"bucket, {1000 * latency:g} ms, {in_flight} in flight: {count / seconds:,.0f} frames per second, "
                f"ratio of times (bucket / file): {seconds / local:.1f}"
            )
        start = time.perf_counter()
        copied = sum(Bucket(address).download("frames.npy", store.path.with_name("copy.npy"), bytes_of_all))
        print(f"bucket, {1000 * latency:g} ms, copied once: {copied / (time.perf_counter() - start) / 1e6:,.0f} MB per second")


if __name__ == "__main__":
    sys.exit(run_command(main))
