"""Simulates the imagery of one place as dated GeoTIFFs, to make a map of: python -m data.pastis.scene OUT [--size PIXELS] [--seed N]

OUT gets the folders s2, s1a and s1d with a file per date, spot.tif and labels.tif. Sensors, bands and units are those of PASTIS-HD. The SPOT image covers
the western half only, as images of real places do not always cover all of them. Nothing here is measured.
"""

import datetime
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rasterio.transform import from_origin

from data.pastis.reader import CLASSES, RADAR_BANDS, VOID
from data.pastis.simulated import START, draw_place, draw_regions
from data.reading.sentinel import S2_BANDS
from data.simulation.folder import mark_simulated, need_sizes
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.colours import class_colours
from omnisat_jax.errors import UserError, printable
from omnisat_jax.files.atomic import new_folder
from omnisat_jax.files.geotiff_writing import new_geotiff
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

SIZE = 96  # px of 10 m per side
SEED = 1  # the demo simulates its tiles with 0
CORNER = (500_000, 5_500_000)  # x and y of the north-west corner, m
REFERENCE_SYSTEM = "EPSG:32631"
BANDS = {"s2": S2_BANDS, "s1a": RADAR_BANDS, "s1d": RADAR_BANDS, "spot": ("R", "G", "B")}
PIXEL = {"s2": 10, "s1a": 10, "s1d": 10, "spot": 1, "labels": 10}  # m


def write_scene(root: StrPath, *, size: int = SIZE, seed: int = SEED) -> dict[str, int]:
    """Writes a simulated place, whole or not at all. The same arguments give the same pixels.

    Args:
      root: folder to create.
      size: pixels of 10 m per side.
      seed: of the generative model.

    Returns:
      {series: number of dates}.

    Raises:
      UserError: `root` exists, or an impossible size.
    """
    root = pathlib.Path(root)
    if root.exists():
        raise UserError(f"{printable(str(root))}: expected a new folder for the scene, found something there; name another folder or remove it")
    need_sizes(1, size, 8)
    region = draw_regions(seed)[0]
    place = draw_place(np.random.default_rng([seed, 3]), region, size)
    with new_folder(root) as work:
        for sensor, values in place.series.items():
            name = sensor.lower()
            (work / name).mkdir()
            for image, day in zip(values, region.days[sensor], strict=True):
                date = START + datetime.timedelta(int(day))
                _write(work / name / f"{name}_{date:%Y%m%d}.tif", image, name)
        _write(work / "spot.tif", place.spot[:, :, : place.spot.shape[2] // 2], "spot")
        _write(work / "labels.tif", place.land.labels[None].astype(np.uint8), "labels")
        mark_simulated(work)
    return {sensor.lower(): len(values) for sensor, values in place.series.items()}


def _write(path: pathlib.Path, values: np.ndarray, name: str) -> None:
    """Writes an image (C,H,W) of a sensor, or the labels (1,H,W) with the colors of maps."""
    profile: dict[str, Any] = dict(
        count=len(values), height=values.shape[1], width=values.shape[2], dtype=values.dtype, crs=REFERENCE_SYSTEM,
        transform=from_origin(*CORNER, PIXEL[name], PIXEL[name]), compress="deflate",
    )  # fmt: skip
    with new_geotiff(path, alpha="unspecified", **profile) as target:
        target.write(values)
        if name == "labels":
            target.nodata = VOID
            colours = [tuple(bytes.fromhex(colour.removeprefix("#"))) for colour in class_colours(len(CLASSES))]
            target.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(colours)} | {VOID: (255, 255, 255, 255)})
            return
        target.descriptions = BANDS[name]
        if name != "spot":  # of which every value of a byte is a measurement
            target.nodata = -32768 if name == "s2" else np.nan


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="python -m data.pastis.scene", description=__doc__)
    parser.add_argument("out", type=pathlib.Path, help="folder to create")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels of 10 m per side (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="another place for each number (default: %(default)s)")
    flags = parser.parse_args(arguments)
    if flags.seed < 0:
        raise UserError(f"--seed: expected 0 or more, found {flags.seed}")
    dates = write_scene(flags.out, size=flags.size, seed=flags.seed)
    series = ", ".join(f"{name} ({number_of(count, 'date')})" for name, count in dates.items())
    print(f"written to {printable(str(flags.out))}, simulated, {10 * flags.size} x {10 * flags.size} m: {series}, spot.tif, labels.tif")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
