"""Cloud-optimized GeoTIFFs of a map, made block by block.

A tiled GeoTIFF is filled first, because the COG driver of GDAL needs the whole raster; then it is copied. Equal pixels make equal files, whatever
the size of the blocks.
Letters: C bands, H W pixels of the map, K classes, S series.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import xxhash
from rasterio import Affine
from rasterio.windows import Window

from omnisat_jax import __version__
from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import publish
from omnisat_jax.files.geotiff import FAILURES
from omnisat_jax.predict.folder import LEVELS, NO_DATA, MapInfo
from omnisat_jax.predict.grid import Block, MapGrid
from omnisat_jax.predict.products.writing import written

TILE = 512  # pixels per side of a tile of the files
CACHE = 2**28  # bytes that GDAL keeps in memory
BITS = ("uint8", "uint16", "uint32")  # dtypes of `used`


@dataclasses.dataclass(frozen=True)
class Raster:
    """A raster of a map.

    Attributes:
      array: name of the array of the blocks that it holds; the file is <array>.tif.
      dtype: of its pixels.
      nodata: value of unknown pixels, or None.
      bands: a description of each band.
      resampling: how overviews are made.
      colours: "#rrggbb" of the values 0, 1, ...; () for none.
      scale: a value is stored * scale.
      tags: metadata of the file.
      title: what it shows, in words.
      interleave: order of bands and pixels in the finished file, in the words of GDAL; "" = its default.
    """

    array: str
    dtype: str
    nodata: int | None
    bands: tuple[str, ...]
    resampling: str
    title: str
    colours: tuple[str, ...] = ()
    scale: float = 1.0
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    interleave: str = ""

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.array}.tif"


def rasters_of(info: MapInfo, colours: Sequence[str]) -> tuple[Raster, ...]:
    """The rasters of a map.

    Args:
      info: the map.
      colours: "#rrggbb" of each class.

    Raises:
      UserError: more sensors than bits.
    """
    names = tuple(sensor.name for sensor in info.sensors)
    if len(names) > 32:
        raise UserError(f"expected a map of at most 32 sensors, found {len(names)}")
    used = next(dtype for dtype in BITS if len(names) <= np.iinfo(dtype).bits)
    found = [
        Raster("class", "uint8", NO_DATA, ("class",), "nearest", "Most probable class", tuple(colours), tags={"CLASS_NAMES": _list(info.classes)}),
        Raster("confidence", "uint8", NO_DATA, ("confidence in per cent",), "average", "Probability of the most probable class in per cent"),
        Raster("used", used, 0, ("used sensors",), "nearest", "Sensors with a known value, as bits", tags={"SENSORS": _list(names)} | _bits(names)),
    ]
    if info.series:
        series = tuple(sensor.name for sensor in info.series)
        found.append(Raster("dates", "uint16", None, series, "nearest", "Number of known dates of each series"))
    if info.probabilities:
        found.append(Raster("probabilities", "uint8", NO_DATA, info.classes, "average", "Probability of each class", scale=1 / LEVELS))
    return tuple(found)


def _list(names: Sequence[str]) -> str:
    return json.dumps(list(names), ensure_ascii=False)


def _bits(names: Sequence[str]) -> dict[str, str]:
    return {f"BIT_{bit}": name for bit, name in enumerate(names)}


class RasterWriter:
    """Writes the rasters of a map. Use it as a context.

    Attributes:
      rasters: what is written.
    """

    def __init__(self, grid: MapGrid, rasters: Sequence[Raster], work: pathlib.Path):
        """Prepares the writing.

        Args:
          grid: of the map.
          rasters: to write.
          work: folder for unfinished files, on the disk of the finished ones.
        """
        self.rasters = tuple(rasters)
        self._grid, self._work, self._stack = grid, work, contextlib.ExitStack()
        self._targets: dict[str, Any] = {}
        self._hashes: dict[str, dict[Block, bytes]] = {raster.array: {} for raster in rasters}

    def __enter__(self) -> "RasterWriter":
        self._stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_NUM_THREADS=1))
        for raster in self.rasters:
            with written(raster.file, FAILURES):
                self._targets[raster.array] = self._stack.enter_context(self._open(raster))
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.close()

    def _draft(self, raster: Raster) -> pathlib.Path:
        return self._work / f"draft_{raster.file}"

    def _open(self, raster: Raster):
        grid = self._grid
        profile: dict[str, Any] = {
            "driver": "GTiff", "count": len(raster.bands), "height": grid.height, "width": grid.width, "dtype": raster.dtype, "nodata": raster.nodata,
            "crs": rasterio.CRS.from_wkt(grid.crs), "transform": Affine(*grid.transform), "tiled": True, "blockxsize": TILE, "blockysize": TILE,
            "interleave": "band", "bigtiff": "IF_SAFER", "sparse_ok": True,
            "photometric": "minisblack", "alpha": "unspecified",  # otherwise GDAL calls the last of four uint8 bands alpha
        }  # fmt: skip
        if grid.block % TILE == 0:  # tiles are written once; a compressed tile that changes would leave its former bytes in the file
            profile |= {"compress": "deflate", "zlevel": 1}
        target = rasterio.open(self._draft(raster), "w", **profile)
        target.descriptions = raster.bands
        if raster.scale != 1:
            target.scales = (raster.scale,) * len(raster.bands)
        if raster.colours:
            palette = {value: (*bytes.fromhex(colour[1:]), 255) for value, colour in enumerate(raster.colours)}
            target.write_colormap(1, palette | {NO_DATA: (0, 0, 0, 0)})
        target.update_tags(TIFFTAG_SOFTWARE=f"omnisat_jax {__version__}", TIFFTAG_IMAGEDESCRIPTION=raster.title, **raster.tags)
        return target

    def add(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes one block of every raster.

        Raises:
          UserError: the disk is full, or a file cannot be written.
        """
        for raster in self.rasters:
            values = np.ascontiguousarray(arrays[raster.array].astype(raster.dtype).reshape(-1, block.height, block.width))
            self._hashes[raster.array][block] = xxhash.xxh3_128_digest(values.data)
            with written(raster.file, FAILURES):
                self._targets[raster.array].write(values, window=_window(block))

    def finish(self, raster: Raster, path: pathlib.Path) -> None:
        """Makes the finished file out of the blocks, which must all have been added.

        Args:
          raster: to finish.
          path: where it goes.

        Raises:
          UserError: the disk is full, or the file cannot be written.
        """
        draft, done = self._draft(raster), self._work / raster.file
        with written(path, FAILURES):
            self._targets[raster.array].close()
            rasterio.shutil.copy(
                str(draft), str(done), driver="COG", compress="DEFLATE", predictor="YES", blocksize=TILE, bigtiff="IF_SAFER",
                overview_resampling=raster.resampling.upper(), num_threads="ALL_CPUS",
                **({"interleave": raster.interleave} if raster.interleave else {}),
            )  # fmt: skip
        draft.unlink()
        self._check(raster, done, path)
        publish(done, path)

    def _check(self, raster: Raster, done: pathlib.Path, path: pathlib.Path) -> None:
        """Compares a file with the blocks, as GDAL does not report every failure to write."""
        with written(path, FAILURES), rasterio.open(done) as source:
            for block, expected in self._hashes[raster.array].items():
                values = np.ascontiguousarray(source.read(window=_window(block)))
                if xxhash.xxh3_128_digest(values.data) != expected:
                    raise UserError(f"{path}: cannot be written (what was written differs from block {block.name}); see whether the disk is full")


def _window(block: Block) -> Window:
    return Window(block.left, block.top, block.width, block.height)  # pyright: ignore[reportCallIssue]  # an attrs class
