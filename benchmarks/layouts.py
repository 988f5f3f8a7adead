"""How fast the drawn frames of a tile are read from several file layouts: NumPy files, as records keep them, and ArrayRecord files.

Part of `python -m benchmarks.loader`.
"""

import functools
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from rich.table import Table

from omnisat_jax.records.reader import Records

CODECS = ("uncompressed", "snappy", "zstd")

Tile = Mapping[str, np.ndarray]  # modality -> frames (T, ...), or positions of the drawn frames


class FileLayout(NamedTuple):
    """A way to keep frames.

    Attributes:
      read: reads the drawn frames of every tile.
      size: bytes of all tiles.
    """

    read: Callable[[], None]
    size: int


def compare(records: pathlib.Path, dates: Mapping[str, int], rounds: int) -> Table:
    """Times of reading, warm, in one thread; `dates` says how many frames of each modality are drawn, by its name in capitals, else one."""
    stored = Records(records)
    counts = {name: dates.get(name.upper(), 1) for name, modality in stored.modalities.items() if modality.kind != "location"}
    source = stored.source(stored.parts)
    tiles = [{name: source[i][name]["values"][:] for name in counts} for i in range(len(source))]
    drawn = [_draw(tile, counts, seed) for seed, tile in enumerate(tiles)]

    def read_records():
        for i, positions in enumerate(drawn):
            example = source[i]
            for name, chosen in positions.items():
                example[name]["values"][chosen]

    files = {"records: a NumPy file of frames": FileLayout(read_records, sum(v.nbytes for tile in tiles for v in tile.values()))}
    with tempfile.TemporaryDirectory(dir=records.parent) as folder:
        for codec in CODECS:
            for whole in (False, True):
                path = pathlib.Path(folder) / f"{codec}_{whole}.array_record"
                _write(path, tiles, codec, whole)
                read = functools.partial(_read, path, tiles, drawn, whole)
                files[f"ArrayRecord, {codec}, one record per {'tile' if whole else 'frame'}"] = FileLayout(read, path.stat().st_size)
        return _table(files, len(tiles), rounds)


def _draw(tile: Tile, counts: Mapping[str, int], seed: int) -> Tile:
    """Positions of the frames that a training step might use."""

    def positions(name):
        held = len(tile[name])
        return np.sort(np.random.default_rng(seed).choice(held, min(counts[name], held), replace=False))

    return {name: positions(name) for name in counts}


def _write(path: pathlib.Path, tiles: Sequence[Tile], codec: str, whole: bool) -> None:
    """Writes one record per tile, or one per frame."""
    writer = ArrayRecordWriter(str(path), f"group_size:1,{codec}")
    for tile in tiles:
        frames = [frame.tobytes() for values in tile.values() for frame in values]
        for record in [b"".join(frames)] if whole else frames:
            writer.write(record)
    writer.close()


def _read(path: pathlib.Path, tiles: Sequence[Tile], drawn: Sequence[Tile], whole: bool) -> None:
    """Reads whole tiles, or the drawn frames."""
    reader, first = ArrayRecordReader(str(path), "readahead_buffer_size:0"), 0
    for i, (tile, positions) in enumerate(zip(tiles, drawn)):
        if whole:
            reader.read([i])
            continue
        for name, values in tile.items():
            reader.read([int(first + position) for position in positions[name]])
            first += len(values)


def _table(files: Mapping[str, FileLayout], tiles: int, rounds: int) -> Table:
    best = dict.fromkeys(files, np.inf)
    for _ in range(rounds):
        for name, layout in files.items():
            start = time.perf_counter()
            layout.read()
            best[name] = min(best[name], (time.perf_counter() - start) / tiles)
    table = Table(title="reading the drawn frames only, warm, 1 thread", title_justify="left")
    for heading in ("layout", "MB per tile", "ms per tile", "ratio to records"):
        table.add_column(heading, justify="left" if heading == "layout" else "right")
    fastest = next(iter(best.values()))
    for name, seconds in best.items():
        table.add_row(name, f"{files[name].size / 1e6 / tiles:.1f}", f"{1e3 * seconds:.1f}", f"{seconds / fastest:.1f}")
    return table
