"""The options that name the inputs of a map."""

import argparse
import pathlib
from collections.abc import Sequence

from omnisat_jax.errors import UserError
from omnisat_jax.predict.cube import parse_cube
from omnisat_jax.predict.region import Region, SensorInput
from omnisat_jax.predict.stac import parse_stac


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `region_from` reads."""
    add = parser.add_argument
    add("--series", action="append", default=[], metavar="NAME=FOLDER[:BANDS]", help="dated GeoTIFFs, band names joined by commas")
    add("--image", action="append", default=[], metavar="NAME=PATH[:BANDS]", help="one GeoTIFF, or a folder of its parts")
    add("--stac", default="", metavar="PATH", help="STAC items of files on this machine: an ItemCollection, an item, or a folder of items")
    add("--stac_sensor", action="append", default=[], metavar="NAME=COLLECTION[,PROPERTY=VALUE]", help="which of the items are those of a sensor")
    add("--cube", default="", metavar="FOLDER", help="a data cube as xarray writes it to Zarr, with the extra `cube`")
    add("--cube_sensor", action="append", default=[], metavar="NAME=VARIABLE[,VARIABLE]", help="the variable of a sensor, or one per band")
    add(
        "--scl", action="append", default=[], metavar="NAME=FOLDER",
        help="scene classification of a series of Sentinel-2, whose clouds become unknown: a folder; `stac` for the asset SCL; a variable of the cube",
    )  # fmt: skip
    add("--region", type=pathlib.Path, help="JSON file with all of these, instead of the options")
    add("--aoi", type=pathlib.Path, metavar="FILE[:LAYER]", help="polygons of the area of interest: GeoJSON, or any vector file with the extra `vector`")


def region_from(flags: argparse.Namespace) -> Region:
    """What the options name.

    Raises:
      UserError: options that contradict each other, or files that cannot be used.
    """
    for option in ("stac", "cube"):
        if getattr(flags, f"{option}_sensor") and not getattr(flags, option):
            raise UserError(f"--{option}_sensor: expected --{option} beside it, found none")
    if flags.region:
        beside = [name for name in ("series", "image", "stac", "cube", "scl", "aoi") if getattr(flags, name)]
        if beside:
            raise UserError(f"--region: expected no other inputs beside it, found {', '.join(f'--{name}' for name in beside)}; write them into the file")
        return Region.from_json(flags.region, flags.on_bad)
    scl = pairs("--scl", flags.scl)
    others: list[SensorInput] = []
    if flags.stac:
        others += parse_stac(flags.stac, flags.stac_sensor, scl)
    if flags.cube:
        others += parse_cube(flags.cube, flags.cube_sensor, scl)
    names = {sensor.name for sensor in others}
    return Region.from_arguments(
        flags.series, flags.image, {name: folder for name, folder in scl.items() if name not in names}, flags.aoi, flags.on_bad, others
    )


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Parses NAME=VALUE.

    Raises:
      UserError: another form, or a name twice.
    """
    found = {}
    for text in texts:
        name, equals, word = text.partition("=")
        if not equals or not word or name in found:
            raise UserError(f"{option}: expected NAME=VALUE, once per sensor, found {text!r}")
        found[name] = word
    return found
