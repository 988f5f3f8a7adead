"""Cuts rasters of a region into tiles that keep their georeference: python -m data.tiles.cut --help

All rasters share one coordinate reference system, and their pixels nest: a tile is a whole number of pixels of every one of them.
A series is a folder of GeoTIFFs, one per date, whose names hold the date as YYYYMMDD or YYYY-MM-DD.
What the files say about their values is honoured for each: nodata, masks, alpha, scale, offset, and the names of the bands.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from rich.console import Console
from rich.table import Table

from data.preparation.writing import progress_bar
from data.reading.sentinel import BASELINE_OFFSET
from data.tiles.description import CLASSES, check_ignore, check_names
from data.tiles.grid import CutError, Grid, folds, lay_grid, need_same_system, window
from data.tiles.layout import DATES_TAG, DESCRIPTION, LABELS, band_name
from data.tiles.sources import Source, need_sources, parse_source, read_labels_header
from data.tiles.values import S2_OPTIONS, OffsetCheck, Storage, known_pixels, plan_storage
from omnisat_jax.cli import terminal
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError, printable, reason
from omnisat_jax.files.atomic import new_folder, write_json
from omnisat_jax.files.geotiff import LARGEST, open_geotiff
from omnisat_jax.files.paths import check_text
from omnisat_jax.missing import NO_DATA_INT16

BUFFER = 2**28  # bytes of tiles in memory: each file is opened once for as many tiles as fit


@dataclasses.dataclass
class SensorReport:
    """What was cut of a sensor.

    Attributes:
      storage: how it is stored.
      covered: tiles that have it.
      outside: tiles that not all of its files cover whole, and so lack it.
      narrowest: which file covers the fewest tiles, in words.
      empty: tiles without a known pixel, which lack it too.
      unknown: share of unknown numbers in the tiles that have it.
    """

    storage: Storage
    covered: int = 0
    outside: int = 0
    narrowest: str = ""
    empty: int = 0
    unknown: float = 0.0


@dataclasses.dataclass
class CutReport:
    """What was cut.

    Attributes:
      grid: of the tiles.
      sensors: name -> SensorReport.
      pixels: label pixels of each class.
      unknown_labels: label pixels where nothing is known.
    """

    grid: Grid
    sensors: dict[str, SensorReport]
    pixels: np.ndarray
    unknown_labels: int = 0


def cut(
    out: str | os.PathLike,
    labels: str | os.PathLike,
    sources: Sequence[Source],
    *,
    name: str,
    classes: Sequence[str],
    ignore: int,
    citation: str,
    size: int,
    fold_count: int = 5,
    block: int = 1,
    s2_options: Mapping[str, str] | None = None,
    console: Console | None = None,
) -> CutReport:
    """Writes a folder of tiles, whole or not at all.

    Args:
      out: folder to create.
      labels: raster of classes, whose grid is that of the tiles.
      sources: see `data.tiles.sources`.
      name, classes, ignore, citation: of the dataset; pixels of labels that their file declares unknown become `ignore`.
      size: label pixels per side of a tile.
      fold_count, block: see `folds`.
      s2_options: sensor -> one of S2_OPTIONS, what holds of the offset of Sentinel-2 numbers where files do not say it.
      console: rich Console for progress.

    Raises:
      UserError: files that cannot be used or do not fit together, options out of range, or `out` exists.
    """
    out, labels, s2_options = pathlib.Path(out), pathlib.Path(labels), s2_options or {}
    for option, number in (("--size", size), ("--folds", fold_count), ("--block", block)):
        if number < 1:
            raise CutError(f"{option}: expected 1 or more, found {number}")
    if os.path.lexists(out):
        raise CutError(f"{out}: expected a folder that does not exist yet, found one; choose another --out or delete it")
    for what, text in (("--name", name), ("--citation", citation)):
        check_text(text, what="a text", path=what)
    classes = check_names(classes, what="class", path="--classes")
    if not CLASSES[0] <= len(classes) <= CLASSES[1]:
        raise CutError(f"--classes: expected {CLASSES[0]} to {CLASSES[1]} names joined by commas, found {len(classes)}")
    check_ignore(ignore, len(classes), path="--ignore")
    need_sources(sources)
    for sensor in set(s2_options) - {source.name for source in sources}:
        raise CutError(f"--s2_offset: expected one of the sensors {', '.join(source.name for source in sources)}, found {sensor!r}")
    place = read_labels_header(labels)
    grid = lay_grid(place, size)
    parts = folds(grid, fold_count, block)
    plans = [(plan_storage(source, s2_options.get(source.name, "")), *_covered(source, grid)) for source in sources]
    report = CutReport(grid, {}, np.zeros(len(classes), np.int64))
    steps = len(grid.tiles) + sum(len(plan.source.layers) * len(tiles) for plan, tiles, _ in plans)
    with new_folder(out) as work, progress_bar(console or Console(quiet=True)) as bar:
        made = work.stat()
        task = bar.add_task("cutting", total=steps)
        _cut_labels(work, labels, place, grid, classes, ignore, report, lambda: bar.advance(task))
        for plan, tiles, narrowest in plans:
            report.sensors[plan.source.name] = _cut_sensor(work, plan, grid, tiles, lambda: bar.advance(task))
            report.sensors[plan.source.name].narrowest = narrowest
        modalities = {
            plan.source.name: {
                "kind": plan.source.kind,
                "bands": list(plan.source.bands),
                "dtype": str(plan.dtype),
                "scale": list(plan.scale),
                "offset": [0.0] * len(plan.scale),
            }
            for plan, *_ in plans
        }
        about = {"name": name, "citation": citation, "classes": list(classes), "ignore": ignore, "modalities": modalities, "parts": parts}
        write_json(work / DESCRIPTION, about)
    if out.stat().st_ino != made.st_ino:
        raise CutError(f"{out}: expected a folder that does not exist yet, found one that another process made meanwhile")
    return report


def _covered(source: Source, grid: Grid):
    """Tiles that every file of a source covers whole, and which file covers the fewest, in words."""
    places = {}
    for layer in source.layers:
        need_same_system(grid, place := layer.place)
        places.setdefault((place.left, place.top, place.pixel, place.height, place.width), layer)
    covers = {layer: {tile for tile in grid.tiles if window(grid, tile, layer.place)} for layer in places.values()}
    narrowest, fewest = min(covers.items(), key=lambda item: len(item[1]))
    tiles = [tile for tile in grid.tiles if all(tile in found for found in covers.values())]
    if not tiles:
        raise CutError(
            f"{narrowest.path}: expected {source.name} to cover some tile of the labels, found none covered whole"
            f"{' by every date' if len(source.layers) > 1 else ''} (this file covers {len(fewest)})"
        )
    side = window(grid, tiles[0], source.layers[0].place)[2]
    for layer in source.layers:
        if (found := window(grid, tiles[0], layer.place)[2]) != side:
            raise CutError(
                f"{layer.text}: expected pixels of {grid.side / side:.12g}, as {source.layers[0].path} has, found {grid.side / found:.12g}"
            )
    if len(source.layers) * len(source.bands) * side**2 * 4 > LARGEST:
        raise CutError(f"{source.layers[0].path}: expected tiles of at most {LARGEST:,} bytes, found larger ones; use a smaller --size")
    return tiles, f"{narrowest.text} covers the fewest: {len(fewest)}"


def _cut_labels(work, labels, place, grid, classes, ignore, report, advance):
    (work / LABELS).mkdir()
    with open_geotiff(labels, what="labels: a GeoTIFF") as raster:
        for tile in grid.tiles:
            values, known = raster.read(window(grid, tile, place))
            known &= values != ignore
            wrong = known & ((values < 0) | (values >= len(classes)))
            if wrong.any():
                raise CutError(
                    f"{labels}: expected classes 0 to {len(classes) - 1}, or {ignore} where nothing is known, found {values[wrong][0]} in tile "
                    f"{grid.name(tile)}; name more --classes, or declare it as the nodata value of the labels"
                )
            report.pixels += np.bincount(values[known].astype(np.int64), minlength=len(classes))
            report.unknown_labels += int((~known).sum())
            _write(work / LABELS / f"{grid.name(tile)}.tif", np.where(known, values, ignore).astype(np.uint8), grid, tile)
            advance()


def _cut_sensor(work, storage, grid, tiles, advance):
    source, report, check = storage.source, SensorReport(storage), OffsetCheck(storage)
    report.outside = len(grid.tiles) - len(tiles)
    (work / source.name).mkdir()
    side = window(grid, tiles[0], source.layers[0].place)[2]
    form = (len(source.layers), len(source.bands), side, side)
    together = max(1, BUFFER // (int(np.prod(form)) * storage.dtype.itemsize))
    unknown = 0
    for start in range(0, len(tiles), together):
        group = tiles[start : start + together]
        stacks, known_counts = np.empty((len(group), *form), storage.dtype), np.zeros(len(group), np.int64)
        for position, layer in enumerate(source.layers):
            with open_geotiff(layer.path, what="a raster: a GeoTIFF", bands=layer.count) as raster:
                for number, tile in enumerate(group):
                    values, known = raster.read(window(grid, tile, layer.place))
                    values, known = values[list(layer.order)], known[list(layer.order)]
                    known = known_pixels(storage, position, values, known)
                    check.add(position, values, known)
                    stacks[number, position] = storage.store(position, values, known)
                    known_counts[number] += int(known.sum())
                    advance()
        for tile, stack, known in zip(group, stacks, known_counts, strict=True):
            if not known:
                report.empty += 1
                continue
            report.covered += 1
            unknown += stack.size - int(known)
            _write(work / source.name / f"{grid.name(tile)}.tif", stack.reshape(-1, side, side), grid, tile, storage)
    check.finish()
    if not report.covered:
        raise CutError(f"{source.layers[0].path}: expected a known pixel of {source.name} in some tile, found none")
    report.unknown = unknown / (report.covered * int(np.prod(form)))
    return report


def _write(path, values, grid, tile, storage=None):
    (left, top), pixel = grid.corner(tile), grid.side / values.shape[-1]
    profile = {
        "driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype,
        "compress": "deflate", "crs": grid.crs, "transform": rasterio.Affine(pixel, 0, left, 0, -pixel, top),
        "photometric": "minisblack", "alpha": "unspecified",  # else GDAL calls the last of four bytes alpha
        "nodata": {"int16": NO_DATA_INT16, "float32": np.nan}.get(str(values.dtype)),
    }  # fmt: skip
    try:
        # In memory first: of a full disk GDAL says nothing.
        with MemoryFile() as memory:
            with memory.open(**profile) as target:
                target.write(values)
                if storage is not None:
                    source = storage.source
                    target.descriptions = tuple(band_name(layer.day, band) for layer in source.layers for band in source.bands)
                    target.scales = storage.scale * len(source.layers)
                    if source.dates:
                        target.update_tags(**{DATES_TAG: ",".join(source.dates)})
            content = memory.read()
    except rasterio.errors.RasterioError as error:
        raise UserError(f"{path}: cannot be written ({reason(error)})") from error
    path.write_bytes(content)


def _show(console, report: CutReport, options):
    tiles, grid = len(report.grid.tiles), report.grid
    console.print(f"{_count(tiles, 'tile')} in {_count(options.folds, 'fold')} written to {printable(str(options.out))}", soft_wrap=True)
    table = Table()
    headings = ("sensor", "dates", "tiles covered", "not covered", "all unknown", "dtype", "scale", "unknown", "S2 baselines", "bands")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("sensor", "S2 baselines", "bands") else "right")
    for name, entry in report.sensors.items():
        plan = entry.storage
        scales = " ".join(dict.fromkeys(f"{scale:g}" for scale in plan.scale))
        table.add_row(
            name, str(len(plan.source.dates) or "-"), str(entry.covered), str(entry.outside), str(entry.empty), str(plan.dtype), scales,
            f"{100 * entry.unknown:.2f} %", plan.baselines, " ".join(plan.source.bands),
        )  # fmt: skip
    console.print(table)
    total = int(report.pixels.sum()) + report.unknown_labels
    lines = [f"labels: {100 * report.unknown_labels / total:.2f} % unknown"]
    unseen = [name for name, count in zip(options.classes.split(","), report.pixels, strict=True) if not count]
    if unseen:
        lines.append(f"labels: no pixel of {', '.join(unseen)}")
    rows, columns = grid.left_over
    if rows or columns:
        lines.append(f"labels: {_count(rows, 'row')} at the bottom and {_count(columns, 'column')} at the right are less than a tile and were not cut")
    for name, entry in report.sensors.items():
        plan = entry.storage
        if entry.outside:
            which = f"which not every date covers whole ({entry.narrowest})" if plan.source.dates else "which it does not cover whole"
            lines.append(f"{name}: {_count(entry.outside, 'tile')} without it, {which}")
        if entry.empty:
            lines.append(f"{name}: {_count(entry.empty, 'tile')} without it, for want of a known pixel")
        if any(plan.subtracted):
            files = f"{sum(map(bool, plan.subtracted))} of {_count(len(plan.subtracted), 'file')}"
            lines.append(f"{name}: {BASELINE_OFFSET:,} was subtracted from the numbers of {files} (baseline 04.00 and later)")
        elif any(map(any, plan.added)):
            lines.append(f"{name}: offsets of the files were added, so that all dates have offset 0")
        if not plan.added and any(scale != 1 for layer in plan.source.layers for scale in layer.scales):
            lines.append(f"{name}: scale and offset of the files were applied")
        lines += [f"{name}: {remark}" for remark in plan.source.remarks]
    for line in lines:
        console.print(printable(line, None), soft_wrap=True)


def _count(number, noun):
    return f"{number:,} {noun}{'s' * (number != 1)}"


def main(arguments=None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data.tiles.cut", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", required=True, type=pathlib.Path, help="raster of integer classes; its grid is that of the tiles")
    parser.add_argument("--classes", required=True, help="names of classes 0, 1, ..., joined by commas")
    parser.add_argument("--ignore", type=int, default=255, help="label where nothing is known; default 255")
    parser.add_argument(
        "--series", action="append", default=[], metavar="NAME=FOLDER[:BANDS]", help="dated GeoTIFFs, band names joined by commas"
    )
    parser.add_argument("--image", action="append", default=[], metavar="NAME=FILE[:BANDS]", help="one GeoTIFF")
    parser.add_argument(
        "--s2_offset", action="append", default=[], metavar="NAME=WORD",
        help="whether the numbers of Sentinel-2 files of baseline 04.00 and later are 1,000 higher, where files do not say it: "
        "subtract (all but those of earlier baselines), from_2022 (those sensed from 25 January 2022 on) or none (harmonised already)",
    )  # fmt: skip
    parser.add_argument("--size", type=int, default=32, help="label pixels per side of a tile; default 32")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--block", type=int, default=1, help="tiles per side of the blocks that folds consist of; default 1")
    parser.add_argument("--name", default="tiles", help="of the dataset, in reports")
    parser.add_argument("--citation", default="own data", help="source and licence, in reports")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args(arguments)
    console = terminal.console(width=None if sys.stdout.isatty() else 200)
    sources = [parse_source(text, "series") for text in options.series] + [parse_source(text, "image") for text in options.image]
    report = cut(
        options.out, options.labels, sources, name=options.name, classes=options.classes.split(","), ignore=options.ignore,
        citation=options.citation, size=options.size, fold_count=options.folds, block=options.block,
        s2_options=_s2_options(options.s2_offset), console=console,
    )  # fmt: skip
    _show(console, report, options)
    return 0


def _s2_options(texts):
    found = {}
    for text in texts:
        name, _, word = text.partition("=")
        if word not in S2_OPTIONS or name in found:
            raise CutError(f"--s2_offset: expected NAME={' or NAME='.join(S2_OPTIONS)}, once per sensor, found {text!r}")
        found[name] = word
    return found


if __name__ == "__main__":
    sys.exit(run_command(main))
