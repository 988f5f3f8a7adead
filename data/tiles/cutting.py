"""Cuts rasters of a region into tiles that keep their georeference (README.md here).

All rasters share one coordinate reference system, and their pixels nest: a tile is a whole number of pixels of each raster. What the files declare
about their values is honored: nodata, masks, alpha, scale, offset, and the names of the bands.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rasterio import Affine
from rich.console import Console

from data.tiles.band_check import BandCheck
from data.tiles.cut_report import CutReport, LabelReport, SensorReport
from data.tiles.description import CLASSES, check_ignore
from data.tiles.grid import TileGrid, folds, lay_tiles, need_same_system, pixels_per_side, window
from data.tiles.layout import DATES_TAG, DESCRIPTION, LABELS, band_name
from data.tiles.values import OffsetCheck, Storage, known_pixels, plan_storage
from omnisat_jax.cli.progress import progress_bar
from omnisat_jax.files.atomic import new_folder, write_json
from omnisat_jax.files.geotiff import LARGEST, open_geotiff
from omnisat_jax.files.geotiff_writing import new_geotiff
from omnisat_jax.files.paths import check_names, check_text
from omnisat_jax.missing import NO_DATA_INT16
from omnisat_jax.rasters.file_names import ADVICE
from omnisat_jax.rasters.fill_values import need_declared
from omnisat_jax.rasters.grid import RasterError, RasterGrid
from omnisat_jax.rasters.sources import Source, need_sources, read_grid, read_labels_grid
from omnisat_jax.types import StrPath

BUFFER = 2**28  # bytes of tiles in memory; each file is opened once for as many tiles as fit


@dataclasses.dataclass(frozen=True)
class CutOptions:
    """How a region is cut.

    Attributes:
      classes: names of the classes 0, 1, ...; () without labels.
      ignore: label of unknown pixels; pixels that the file of the labels declares unknown become `ignore`.
      size: pixels of the grid per side of a tile.
      fold_count, block: see `folds`.
      name, citation: of the dataset.
      s2_options: sensor -> one of S2_OPTIONS, for Sentinel-2 files that do not declare whether their values have the offset.
      grid: raster whose grid the tiles take; None = that of the labels, and every tile has labels. Otherwise tiles that the labels do not cover
        completely, or of which no pixel is known, have none.
      any_radiometry: whether bands that seem to be exchanged are cut as they are.
    """

    classes: Sequence[str]
    ignore: int = 255
    size: int = 32
    fold_count: int = 5
    block: int = 1
    name: str = "tiles"
    citation: str = "own data"
    s2_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    any_radiometry: bool = False
    grid: pathlib.Path | None = None

    def check(self, labels: pathlib.Path | None, sources: Sequence[Source]) -> None:
        """Checks the options for these labels and sources.

        Raises:
          UserError: an option out of range.
        """
        for option, number in (("--size", self.size), ("--folds", self.fold_count), ("--block", self.block)):
            if number < 1:
                raise RasterError(f"{option}: expected 1 or more, found {number}")
        for what, text in (("--name", self.name), ("--citation", self.citation)):
            check_text(text, what="a text", path=what)
        if labels is None and self.grid is None:
            raise RasterError("expected --labels, or --grid for tiles without labels, found neither")
        if labels is None and self.classes:
            raise RasterError(f"--classes: expected none without --labels, found {', '.join(self.classes)}")
        if labels is not None:
            classes = check_names(self.classes, what="class", path="--classes")
            if not CLASSES[0] <= len(classes) <= CLASSES[1]:
                raise RasterError(f"--classes: expected {CLASSES[0]} to {CLASSES[1]} names joined by commas, found {len(classes)}")
            check_ignore(self.ignore, len(classes), path="--ignore")
        need_sources(sources)
        names = [source.name for source in sources]
        for sensor in set(self.s2_options) - set(names):
            raise RasterError(f"--s2_offset: expected one of the sensors {', '.join(names)}, found {sensor!r}")


def cut(out: StrPath, labels: StrPath | None, sources: Sequence[Source], options: CutOptions, console: Console | None = None) -> CutReport:
    """Writes a folder of tiles, whole or not at all.

    Args:
      out: folder to create.
      labels: raster of classes, whose grid is that of the tiles unless the options name another; None = no tile has labels.
      sources: see `omnisat_jax.rasters.sources`.
      options: how to cut.
      console: for the progress bar.

    Raises:
      UserError: files that are unusable or do not fit together, options out of range, or `out` exists.
    """
    out, labels = pathlib.Path(out), None if labels is None else pathlib.Path(labels)
    if os.path.lexists(out):
        raise RasterError(f"{out}: expected a folder that does not exist yet, found one; choose another --out or delete it")
    options.check(labels, sources)
    label_grid = None if labels is None else read_labels_grid(labels)
    base = label_grid if options.grid is None else read_grid(options.grid)
    assert base is not None  # `check`
    grid = lay_tiles(base, options.size)
    if label_grid is not None:
        need_same_system(grid, label_grid)
    parts = folds(grid, options.fold_count, options.block)
    plans = [_plan(source, grid, options.s2_options.get(source.name, "")) for source in sources]
    steps = len(grid.tiles) * (labels is not None) + sum(len(plan.source.layers) * len(plan.tiles) for plan in plans)
    with new_folder(out) as work, progress_bar(console or Console(quiet=True)) as bar:
        made = work.stat()
        task = bar.add_task("cutting", total=steps)
        cutter = _Cutter(work, grid, lambda: bar.advance(task))
        labelled = LabelReport(np.zeros(0, np.int64))
        if labels is not None and label_grid is not None:
            labelled = cutter.cut_labels(labels, label_grid, options)
        sensors = {plan.source.name: cutter.cut_sensor(plan, options.any_radiometry) for plan in plans}
        write_json(work / DESCRIPTION, _description(options, [plan.storage for plan in plans], parts))
    if out.stat().st_ino != made.st_ino:
        raise RasterError(f"{out}: expected a folder that does not exist yet, found one that another process made meanwhile")
    return CutReport(grid, options.fold_count, labelled, sensors)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How a sensor is cut.

    Attributes:
      storage: of its values.
      tiles: covered completely by every file.
      narrowest: which file covers the fewest tiles, in words.
    """

    storage: Storage
    tiles: Sequence[tuple[int, int]]
    narrowest: str

    @property
    def source(self) -> Source:
        """The sensor."""
        return self.storage.source


def _plan(source: Source, grid: TileGrid, s2_option: str) -> _Plan:
    storage = plan_storage(source, s2_option)
    rasters = {}
    for layer in source.layers:
        need_same_system(grid, raster := layer.grid)
        rasters.setdefault((raster.transform, raster.height, raster.width), layer)
    covers = {layer: {tile for tile in grid.tiles if window(grid, tile, layer.grid)} for layer in rasters.values()}
    narrowest, fewest = min(covers.items(), key=lambda item: len(item[1]))
    tiles = [tile for tile in grid.tiles if all(tile in found for found in covers.values())]
    if not tiles:
        raise RasterError(
            f"{narrowest.path}: expected {source.name} to cover at least one tile of the labels completely, found none"
            f"{' that every date covers' if len(source.layers) > 1 else ''} (this file covers {len(fewest)})"
        )
    side = pixels_per_side(grid, tiles[0], source.layers[0].grid)
    for layer in source.layers:
        if (found := pixels_per_side(grid, tiles[0], layer.grid)) != side:
            raise RasterError(
                f"{layer.text}: expected pixels of {grid.side / side:.12g}, as in {source.layers[0].path}, found {grid.side / found:.12g}"
            )
    if len(source.layers) * len(source.bands) * side**2 * 4 > LARGEST:
        raise RasterError(f"{source.layers[0].path}: expected tiles of at most {LARGEST:,} bytes, found larger ones; use a smaller --size")
    return _Plan(storage, tiles, f"{narrowest.text} covers the fewest: {len(fewest)}")


def _description(options: CutOptions, storages: Sequence[Storage], parts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The content of dataset.json."""
    modalities = {
        storage.source.name: {
            "kind": storage.source.kind,
            "bands": list(storage.source.bands),
            "dtype": str(storage.dtype),
            "scale": list(storage.scale),
            "offset": [0.0] * len(storage.scale),
        }
        for storage in storages
    }
    return {
        "name": options.name,
        "citation": options.citation,
        **({"classes": list(options.classes), "ignore": options.ignore} if options.classes else {}),
        "modalities": modalities,
        "parts": parts,
    }


@dataclasses.dataclass(frozen=True)
class _Cutter:
    """Writes tiles.

    Attributes:
      work: folder to fill.
      grid: of the tiles.
      advance: called after each window that was read.
    """

    work: pathlib.Path
    grid: TileGrid
    advance: Callable[[], None]

    def cut_labels(self, labels: pathlib.Path, raster: RasterGrid, options: CutOptions) -> LabelReport:
        """Cuts the labels.

        Raises:
          RasterError: numbers that are no classes; not a single tile with labels.
        """
        classes, ignore = len(options.classes), options.ignore
        report = LabelReport(np.zeros(classes, np.int64))
        (self.work / LABELS).mkdir()
        with open_geotiff(labels, what="labels: a GeoTIFF", advice=ADVICE) as source:
            for tile in self.grid.tiles:
                self.advance()
                place = window(self.grid, tile, raster)
                if place is None:  # with a grid of another raster only
                    continue
                values, known = source.read(place)
                known &= values != ignore
                if options.grid is not None and not known.any():
                    continue
                wrong = known & ((values < 0) | (values >= classes))
                if wrong.any():
                    raise RasterError(
                        f"{labels}: expected classes 0 to {classes - 1}, or {ignore} for unknown, found {values[wrong][0]} in tile "
                        f"{self.grid.name(tile)}; name more --classes, number the classes from 0, or declare it as the nodata value of the labels"
                    )
                report.pixels += np.bincount(values[known].astype(np.int64), minlength=classes)
                report.unknown += int((~known).sum())
                report.tiles += 1
                self._write(LABELS, tile, np.where(known, values, ignore).astype(np.uint8))
        if not report.pixels.sum():
            where = "a tile" if options.grid is None else "a tile of --grid completely"
            raise RasterError(f"{labels}: expected known labels that cover {where}, found none; for tiles without labels, use --grid without --labels")
        return report

    def cut_sensor(self, plan: _Plan, any_radiometry: bool) -> SensorReport:
        """Cuts all files of a sensor; any_radiometry: see `CutOptions`."""
        storage, source, tiles = plan.storage, plan.source, plan.tiles
        report, check = SensorReport(storage, outside=len(self.grid.tiles) - len(tiles), narrowest=plan.narrowest), OffsetCheck(storage)
        bands = BandCheck(storage)
        (self.work / source.name).mkdir()
        side = pixels_per_side(self.grid, tiles[0], source.layers[0].grid)
        shape = (len(source.layers), len(source.bands), side, side)
        together = max(1, BUFFER // (int(np.prod(shape)) * storage.dtype.itemsize))
        unknown = 0
        for start in range(0, len(tiles), together):
            group = tiles[start : start + together]
            stacks, known_counts = np.empty((len(group), *shape), storage.dtype), np.zeros(len(group), np.int64)
            for position, layer in enumerate(source.layers):
                with open_geotiff(layer.path, what="a raster: a GeoTIFF", bands=layer.count, advice=ADVICE) as raster:
                    for number, tile in enumerate(group):
                        values, known = raster.read(window(self.grid, tile, layer.grid))
                        values, known = values[list(layer.order)], known[list(layer.order)]
                        known = known_pixels(storage, position, values, known)
                        need_declared(values, known, layer.text)
                        check.add(position, values, known)
                        stacks[number, position] = storage.store(position, values, known)
                        bands.add(position, stacks[number, position], known)
                        known_counts[number] += int(known.sum())
                        self.advance()
            for tile, stack, known in zip(group, stacks, known_counts, strict=True):
                if not known:
                    report.empty += 1
                    continue
                report.covered += 1
                unknown += stack.size - int(known)
                self._write(source.name, tile, stack.reshape(-1, side, side), storage)
        check.finish()
        if not any_radiometry:
            bands.finish()
        if not report.covered:
            raise RasterError(f"{source.layers[0].path}: expected a known pixel of {source.name} in some tile, found none")
        report.unknown = unknown / (report.covered * int(np.prod(shape)))
        return report

    def _write(self, name: str, tile: tuple[int, int], values: np.ndarray, storage: Storage | None = None) -> None:
        """Writes bands (N,H,W) as <name>/<tile>.tif, with descriptions, scale and dates if they are of a sensor."""
        path = self.work / name / f"{self.grid.name(tile)}.tif"
        (left, top), pixel = self.grid.corner(tile), self.grid.side / values.shape[-1]
        profile: dict[str, Any] = {
            "count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype,
            "compress": "deflate", "crs": self.grid.crs, "transform": Affine(pixel, 0, left, 0, -pixel, top),
            "photometric": "minisblack", "alpha": "unspecified",  # otherwise GDAL calls the last of four uint8 bands alpha
            "nodata": {"int16": NO_DATA_INT16, "float32": np.nan}.get(str(values.dtype)),
        }  # fmt: skip
        with new_geotiff(path, **profile) as target:
            target.write(values)
            if storage is not None:
                source = storage.source
                target.descriptions = tuple(band_name(layer.day, band) for layer in source.layers for band in source.bands)
                target.scales = storage.scale * len(source.layers)
                if source.dates:
                    target.update_tags(**{DATES_TAG: ",".join(source.dates)})
