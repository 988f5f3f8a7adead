"""Cuts rasters of a region into tiles that keep their georeference: python -m data.tiles.cut --help

All rasters share one coordinate reference system, and their pixels nest: a tile is a whole number of pixels of every one of them.
A series is a folder of GeoTIFFs, one a date, whose names hold the date as YYYYMMDD or YYYY-MM-DD.
"""

import argparse
import collections
import dataclasses
import datetime
import json
import pathlib
import re
import sys

import numpy as np
import rasterio
from rasterio.windows import Window
from rich.console import Console

from data.raw import NO_DATA_INT16
from data.tiles.layout import DATES_TAG, DESCRIPTION, LABELS
from data.writing import progress_bar
from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import new_folder

ALIGNED = 1e-3  # px that a tile may miss the pixels of a raster by, which is rounding


class CutError(UserError):
    """Rasters that do not fit together; the message says which, expected, found and what to do."""


@dataclasses.dataclass(frozen=True)
class Source:
    """One sensor: the files of its dates in order (dates empty for an image), the names of its bands."""

    name: str
    kind: str
    files: tuple[pathlib.Path, ...]
    dates: tuple[str, ...]
    bands: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where tiles lie: the reference system, the upper left corner and the ground side of a tile, its position and name."""

    crs: rasterio.crs.CRS
    left: float
    top: float
    side: float
    tiles: tuple[tuple[int, int], ...]

    def name(self, tile):
        return f"r{tile[0]:04d}_c{tile[1]:04d}"


def series(name: str, folder, bands=()) -> Source:
    """A series from the GeoTIFFs of a folder.

    Raises:
      CutError: no file, or a name without a date.
    """
    folder = pathlib.Path(folder)
    dated = {}
    for path in sorted([*folder.glob("*.tif"), *folder.glob("*.tiff")]):
        match = re.search(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)", path.stem)
        try:
            day = f"{datetime.date(*map(int, match.groups())):%Y%m%d}"
        except (AttributeError, ValueError):
            raise CutError(f"{path}: expected a date in the file's name (YYYYMMDD or YYYY-MM-DD), found none that exists") from None
        if day in dated:
            raise CutError(f"{path}: expected one file a date, found {dated[day].name} of the same date; join them first")
        dated[day] = path
    if not dated:
        raise CutError(f"{folder}: expected GeoTIFFs of series {name}, found none")
    days = sorted(dated)
    return Source(name, "series", tuple(dated[day] for day in days), tuple(days), _bands(dated[days[0]], bands))


def image(name: str, path, bands=()) -> Source:
    """One image."""
    return Source(name, "image", (pathlib.Path(path),), (), _bands(path, bands))


def _bands(path, names):
    with _open(path) as source:
        names = tuple(names) or tuple(text or f"band{i + 1}" for i, text in enumerate(source.descriptions))
        if len(names) != source.count:
            raise CutError(f"{path}: expected {len(names)} bands ({', '.join(names)}), found {source.count}")
    return names


def _open(path):
    try:
        return rasterio.open(path)
    except rasterio.errors.RasterioError as error:
        raise CutError(f"{path}: expected a raster, found an unreadable file ({error})") from error


def lay_grid(labels, size: int) -> Grid:
    """Tiles of size x size label pixels, from the upper left corner; what is left over at the right and bottom edges is not cut."""
    with _open(labels) as source:
        if source.crs is None:
            raise CutError(f"{labels}: expected a coordinate reference system, found none")
        t = source.transform
        if t.b or t.d or abs(t.a + t.e) > 1e-9 * t.a:
            raise CutError(
                f"{labels}: expected square pixels, north up, found {t.a:g} x {t.e:g} turned by {t.b:g}, {t.d:g}; warp it first"
            )
        rows, columns = source.height // size, source.width // size
        if not rows * columns:
            raise CutError(
                f"{labels}: expected at least one tile of {size} px, found {source.height}x{source.width} px; use a smaller --size"
            )
        return Grid(source.crs, t.c, t.f, size * t.a, tuple(np.ndindex(rows, columns)))


def window(grid: Grid, tile, source) -> Window | None:
    """The pixels of a raster under a tile; None where the raster does not cover it.

    Raises:
      CutError: another reference system, or pixels that do not nest in tiles.
    """
    if source.crs != grid.crs:
        raise CutError(
            f"{source.name}: expected {grid.crs} as the labels, found {source.crs}; warp it first (gdalwarp -t_srs {grid.crs})"
        )
    pixel = source.transform.a
    found = np.array([
        (grid.top - tile[0] * grid.side - source.transform.f) / source.transform.e,
        (grid.left + tile[1] * grid.side - source.transform.c) / pixel,
        grid.side / pixel,
    ])  # fmt: skip
    whole = np.round(found)
    if np.abs(found - whole).max() > ALIGNED or whole[2] < 1:
        raise CutError(
            f"{source.name}: expected pixels that nest in tiles of {grid.side:g} m from ({grid.left:g}, {grid.top:g}), found pixels of {pixel:g} m "
            f"from ({source.transform.c:g}, {source.transform.f:g}); warp it to the labels' grid (gdalwarp -tr -te)"
        )
    row, column, side = whole.astype(int)
    if row < 0 or column < 0 or row + side > source.height or column + side > source.width:
        return None
    return Window(column, row, side, side)


def stored(values, nodata):
    """Pixels as tiles keep them: uint8 without missing values, int16 or float32, missing values as int16's minimum or NaN.

    Raises:
      UserError: integers beyond int16.
    """
    missing = np.zeros(values.shape, bool) if nodata is None else values == nodata if nodata == nodata else np.isnan(values)
    if values.dtype == np.uint8 and nodata is None:
        return values
    if values.dtype.kind == "f":
        return np.where(missing, np.nan, values).astype(np.float32)
    low, high = NO_DATA_INT16 + 1, np.iinfo(np.int16).max
    real = values[~missing]
    if real.size and (real.min() < low or real.max() > high):
        raise ValueError(f"numbers from {low} to {high}, found {real.min()} to {real.max()}; store it as float32, or scale it")
    return np.where(missing, NO_DATA_INT16, values.astype(np.int64)).astype(np.int16)


def folds(grid: Grid, count: int, block: int) -> dict[str, list[str]]:
    """{"fold_<n>": tile names}: blocks of block x block tiles take turns, row by row.

    A tile's neighbours look like it: the larger the blocks, the less a fold that tests is bordered by folds that train.
    """
    blocks = sorted({(row // block, column // block) for row, column in grid.tiles})
    if len(blocks) < count:
        raise CutError(
            f"--folds {count}: expected at least as many blocks of {block}x{block} tiles, found {len(blocks)}; use a smaller --block"
        )
    parts = {f"fold_{n + 1}": [] for n in range(count)}
    of = {position: f"fold_{index % count + 1}" for index, position in enumerate(blocks)}
    for tile in grid.tiles:
        parts[of[tile[0] // block, tile[1] // block]].append(grid.name(tile))
    return parts


def cut(out, labels, sources, *, name, classes, ignore, citation, size, fold_count=5, block=1, console=None) -> dict:
    """Writes a folder of tiles, atomically.

    Args:
      out: folder to create.
      labels: raster of uint8 classes, whose grid is that of the tiles.
      sources: see `series` and `image`.
      name, classes, ignore, citation: of the dataset.
      size: label pixels a side of a tile.
      fold_count, block: see `folds`.
      console: rich Console for progress.

    Returns:
      {modality: tiles that it covers}

    Raises:
      CutError: rasters that do not fit together, or `out` exists.
    """
    out = pathlib.Path(out)
    if out.exists():
        raise CutError(f"{out}: expected a folder that does not exist yet, found one; choose another --out or delete it")
    grid = lay_grid(labels, size)
    parts = folds(grid, fold_count, block)
    covered, dtypes = collections.Counter({source.name: 0 for source in sources}), {}
    with new_folder(out) as work, progress_bar(console or Console(quiet=True)) as bar:
        task = bar.add_task("cutting", total=len(grid.tiles) * (1 + sum(len(source.files) for source in sources)))
        with _open(labels) as raster:
            for tile in grid.tiles:
                values = raster.read(window=window(grid, tile, raster))
                if len(values) != 1 or values.dtype != np.uint8:
                    raise CutError(f"{labels}: expected one band of uint8, found {len(values)} of {values.dtype}")
                _write(work / LABELS / f"{grid.name(tile)}.tif", values, grid, tile, None)
                bar.advance(task)
        for source in sources:
            for tile, values in _frames(source, grid, lambda: bar.advance(task)):
                if dtypes.setdefault(source.name, values.dtype) != values.dtype:
                    raise CutError(f"{source.name}: expected {dtypes[source.name]} in every file, found {values.dtype}")
                _write(work / source.name / f"{grid.name(tile)}.tif", values, grid, tile, source)
                covered[source.name] += 1
            if not covered[source.name]:
                raise CutError(f"{source.files[0]}: expected to cover some tile of the labels, found none covered whole")
        modalities = {s.name: {"kind": s.kind, "bands": list(s.bands), "dtype": str(dtypes[s.name])} for s in sources}
        about = {
            "name": name,
            "citation": citation,
            "classes": list(classes),
            "ignore": ignore,
            "modalities": modalities,
            "parts": parts,
        }
        (work / DESCRIPTION).write_text(json.dumps(about, indent=1))
    return dict(covered)


def _frames(source, grid, advance):
    """(tile, (T*C, H, W)) of every tile that all dates cover."""
    rasters = [_open(path) for path in source.files]
    try:
        for path, raster in zip(source.files, rasters):
            if raster.count != len(source.bands):
                raise CutError(f"{path}: expected {len(source.bands)} bands ({', '.join(source.bands)}), found {raster.count}")
        for tile in grid.tiles:
            windows = [window(grid, tile, raster) for raster in rasters]
            for _ in rasters:
                advance()
            if any(w is None for w in windows):
                continue
            try:
                yield tile, np.concatenate([stored(raster.read(window=w), raster.nodata) for raster, w in zip(rasters, windows)])
            except ValueError as error:
                raise CutError(f"{source.files[0].parent}: expected {error}") from error
    finally:
        for raster in rasters:
            raster.close()


def _write(path, values, grid, tile, source):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixel = grid.side / values.shape[-1]
    corner = grid.left + tile[1] * grid.side, grid.top - tile[0] * grid.side
    profile = dict(
        driver="GTiff", count=len(values), height=values.shape[1], width=values.shape[2], dtype=values.dtype, compress="deflate"
    )
    nodata = {"int16": NO_DATA_INT16, "float32": np.nan}.get(str(values.dtype))
    with rasterio.open(
        path, "w", crs=grid.crs, transform=rasterio.transform.from_origin(*corner, pixel, pixel), nodata=nodata, **profile
    ) as target:
        target.write(values)
        if source is not None:
            target.descriptions = tuple(f"{day} {band}".strip() for day in source.dates or ("",) for band in source.bands)
            if source.dates:
                target.update_tags(**{DATES_TAG: ",".join(source.dates)})


def _named(text, make):
    """NAME=PATH or NAME=PATH:BAND,BAND,... as a Source."""
    name, equals, rest = text.partition("=")
    path, _, bands = rest.partition(":")
    if not equals or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise CutError(f"expected NAME=PATH or NAME=PATH:BAND,BAND with a name of small letters and digits, found {text!r}")
    return make(name, path, tuple(filter(None, bands.split(","))))


def main(arguments=None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data.tiles.cut", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", required=True, type=pathlib.Path, help="raster of uint8 classes; its grid is that of the tiles")
    parser.add_argument("--classes", required=True, help="names of classes 0, 1, ..., joined by commas")
    parser.add_argument("--ignore", type=int, default=255, help="label where nothing is known; default 255")
    parser.add_argument(
        "--series", action="append", default=[], metavar="NAME=FOLDER[:BANDS]", help="dated GeoTIFFs, band names joined by commas"
    )
    parser.add_argument("--image", action="append", default=[], metavar="NAME=FILE[:BANDS]", help="one GeoTIFF")
    parser.add_argument("--size", type=int, default=32, help="label pixels a side of a tile; default 32")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--block", type=int, default=1, help="tiles a side of the blocks that folds consist of; default 1")
    parser.add_argument("--name", default="tiles", help="of the dataset, in reports")
    parser.add_argument("--citation", default="own data", help="source and licence, in reports")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args(arguments)
    console = Console(markup=False, highlight=False)
    try:
        sources = [_named(text, series) for text in options.series] + [_named(text, image) for text in options.image]
        if not sources:
            raise CutError("expected at least one --series or --image, found none")
        if len({source.name for source in sources} | {LABELS}) != len(sources) + 1:
            raise CutError(f"expected a name of its own for every sensor, none of them {LABELS!r}")
        covered = cut(
            options.out, options.labels, sources, name=options.name, classes=options.classes.split(","), ignore=options.ignore,
            citation=options.citation, size=options.size, fold_count=options.folds, block=options.block, console=console,
        )  # fmt: skip
    except (CutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    total = len(list((options.out / LABELS).glob("*.tif")))
    console.print(f"{total} tiles in {options.folds} folds written to {options.out}")
    for source in sources:
        dates = f", {len(source.dates)} dates" if source.dates else ""
        console.print(
            f"{source.name}: {covered[source.name]} tiles covered, {total - covered[source.name]} not{dates}; bands {' '.join(source.bands)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
