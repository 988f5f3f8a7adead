"""The command `python -m omnisat_jax.predict`."""

import argparse
import dataclasses
import functools
import pathlib
import shlex
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from omnisat_jax.cli import terminal
from omnisat_jax.cli.arguments import Parser, whole, words
from omnisat_jax.errors import UserError, printable
from omnisat_jax.predict import options as defaults
from omnisat_jax.predict.folder import MapFolder
from omnisat_jax.predict.inputs import add_inputs, pairs, region_from
from omnisat_jax.predict.options import CONVERSIONS, PredictOptions
from omnisat_jax.predict.region import Region
from omnisat_jax.rasters.offset import S2_OPTIONS
from omnisat_jax.shards import Shard
from omnisat_jax.words import number_of

FINISH = "finish"
LOOP, RAY = "loop", "ray"
DESCRIPTION = """Makes a map of a region from a trained model and the images of any of its sensors: GeoTIFFs, files of STAC items, or a data cube.

  python -m omnisat_jax.predict --model runs/pastis/model --series s2=imagery/s2 --image spot=spot.tif --out map
  python -m omnisat_jax.predict --model runs/pastis/model --stac items.json --stac_sensor s2=sentinel-2-l2a --scl s2=stac --out map
  python -m omnisat_jax.predict --model runs/pastis/model --cube cube.zarr --cube_sensor s2=B02,B03,B04 --out map
  python -m omnisat_jax.predict finish --out map      makes the products again, or once all shards are done

A series is a folder of GeoTIFFs with the date in the name as YYYYMMDD or YYYY-MM-DD. Files may have any reference system and grid, and a date may have
several files. Bands are found by their descriptions; name them after a colon if there are none, in the order of the file: s2=imagery/s2:B02,B03,B04.
Memory does not grow with the map: --dry_run prints what is needed, and a smaller --block or --batch needs less.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == [FINISH]:
        return _finish(arguments[1:])
    flags = _parser().parse_intermixed_args(arguments)
    if flags.words == [FINISH]:
        return _finish(_without_finish(arguments))
    if flags.words:
        raise UserError(f"expected options, or {FINISH} and options, found {' '.join(map(repr, flags.words))}; inputs are named with --series, --image, --stac or --cube")
    for name in ("model", "out"):
        if getattr(flags, name) is None:
            raise UserError(f"expected --{name}, found none; see --help")
    shard = Shard.parse(flags.shard, "--shard")
    console = terminal.console()
    terminal.set_up_logging(console)
    from omnisat_jax.inference.model import Model  # imports jax, which takes a second
    from omnisat_jax.predict.run import make_map

    products = _products_wanted(flags)
    options = PredictOptions(
        modalities=tuple(flags.modalities.split(",")) if flags.modalities else (),
        window=flags.window, overlap=flags.overlap, block=flags.block, batch=flags.batch, probabilities=flags.probabilities, embeddings=bool(products.embeddings),
        on_bad=flags.on_bad, crs=flags.crs, origin=flags.origin, s2_offsets=pairs("--s2_offset", flags.s2_offset),
        conversions={name: _conversion(word) for name, word in pairs("--convert", flags.convert).items()}, any_radiometry=flags.any_radiometry,
    )  # fmt: skip
    region = region_from(flags)
    if flags.engine == RAY:
        return _with_ray(flags, region, options, console)
    if flags.workers:
        raise UserError("--workers: expected --engine ray beside it, found none")
    model = Model.from_pretrained(flags.model)
    if flags.dry_run:
        from omnisat_jax.predict.dry_run import print_plan
        from omnisat_jax.predict.plan import make_plan

        print_plan(console, make_plan(model, region, options))
        return 0
    return _end(make_map(model, region, flags.out, options, shard, console), flags, console)


def _with_ray(flags: argparse.Namespace, region: Region, options: PredictOptions, console: Console) -> int:
    import jax

    from omnisat_jax.inference.model import Model
    from omnisat_jax.predict.ray_engine import Job, make_map_with_ray

    if flags.dry_run or Shard.parse(flags.shard, "--shard").count > 1:
        raise UserError("--engine ray: expected no --dry_run and no --shard beside it, found one")
    jax.config.update("jax_platforms", "cpu")  # this process only plans; accelerators belong to the others
    job = Job(functools.partial(Model.from_pretrained, flags.model), region, flags.out, options, flags.workers)
    return _end(make_map_with_ray(job, console), flags, console)


def _end(folder: MapFolder, flags: argparse.Namespace, console: Console) -> int:
    """What is said about the blocks, and the products if all are there."""
    for text in folder.info.remarks:
        console.print(f"remark: {text}", soft_wrap=True)
    missing = len(folder.missing())
    if missing:
        verb = "is" if missing == 1 else "are"
        console.print(f"{number_of(missing, 'block')} {verb} left to other shards; then run `{_finish_command(flags)}`", soft_wrap=True)
        return 0
    return _products(folder, flags, console)


def _finish(arguments: Sequence[str]) -> int:
    from omnisat_jax.predict.products.options import add_arguments

    parser = Parser(prog=f"python -m omnisat_jax.predict {FINISH}", description="Makes the products of a map whose blocks are done.")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the map")
    add_arguments(parser)
    flags, others = parser.parse_known_args(arguments)
    if others:
        raise UserError(f"{FINISH}: expected --out and options of products, found {' '.join(others)}; model, inputs and settings are those of the map in --out")
    return _products(MapFolder.open(flags.out), flags, terminal.console())


def _without_finish(arguments: Sequence[str]) -> list[str]:
    """The arguments without the word `finish`, which may also be the value of an option."""
    places = [place for place, text in enumerate(arguments) if text == FINISH]
    rests = [[*arguments[:place], *arguments[place + 1 :]] for place in places]
    return next(rest for rest in rests if not _parser().parse_intermixed_args(rest).words)


def _finish_command(flags: argparse.Namespace) -> str:
    """The command that makes the products that were asked for."""
    from omnisat_jax.predict.products.options import ProductOptions

    parts = ["python", "-m", "omnisat_jax.predict", FINISH, "--out", str(flags.out)]
    for field in dataclasses.fields(ProductOptions):
        value = getattr(flags, field.name)
        if value != field.default:
            parts += [text for one in (dict.fromkeys(value) if isinstance(value, list) else [value]) for text in (f"--{field.name}", f"{one}")]
    return shlex.join(parts)


def _products(folder: MapFolder, flags: argparse.Namespace, console: Console) -> int:
    from omnisat_jax.predict.products import record
    from omnisat_jax.predict.products.options import ProductOptions
    from omnisat_jax.predict.run import finish_map

    found = finish_map(folder, ProductOptions.from_arguments(flags), console)
    for text in record.remarks(folder):
        console.print(f"remark: {text}", soft_wrap=True)
    table = Table("product", "file")
    for name, path in found.items():
        table.add_row(name, printable(str(path)))
    console.print(table)
    return 0


def _parser() -> argparse.ArgumentParser:
    from omnisat_jax.predict.products.options import add_arguments

    parser = Parser(prog="python -m omnisat_jax.predict", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("words", nargs="*", help=argparse.SUPPRESS)
    add("--model", type=words, help="folder of a trained model, such as runs/NAME/model or gs://BUCKET/RUN/model, or hf:ORGANISATION/NAME@TAG")
    add("--out", type=pathlib.Path, help="folder of the map; an unfinished map of the same inputs is continued")
    add_inputs(parser)
    add("--modalities", default="", help="sensors to use, joined by commas; default: all that are given")
    add("--window", type=whole(1, "a number of patches", defaults.LARGEST_WINDOW), default=0, help="patches per side of a window; default: as in training")
    add("--overlap", type=_share, default=defaults.OVERLAP, help=f"share of a window in common with the next; default: {defaults.OVERLAP}")
    add("--block", type=whole(1, "a number of pixels"), default=defaults.BLOCK, help=f"pixels per side of a block, the unit of work and of memory; default: {defaults.BLOCK}")
    add("--batch", type=whole(1, "a number of windows"), default=defaults.BATCH, help=f"windows predicted at once; default: {defaults.BATCH}")
    add("--crs", default="", type=words, help="reference system of the map; default: that of the first sensor whose meters are meters on the ground, or else the UTM zone")
    add("--origin", default="", help="day 0 of the dates: YYYY-MM-DD, season or year; default: as in training")
    add("--s2_offset", action="append", default=[], metavar="NAME=WORD", help=f"{', '.join(S2_OPTIONS)}: see docs/your_data.md")
    add("--convert", action="append", default=[], metavar="NAME=WORD", help=f"{', '.join(CONVERSIONS)}, or a factor by which values are multiplied")
    add("--any_radiometry", action="store_true", help="use values that are unlike those of the training tiles")
    add("--probabilities", action="store_true", help="store the probabilities of all classes")
    add("--shard", default="0/1", metavar="I/N", help="compute every N-th block from the I-th on, for several machines that share the folder")
    add("--engine", choices=(LOOP, RAY), default=LOOP, help="blocks one after the other, or on the machines of Ray (extra `ray`); the files are equal")
    add("--workers", type=whole(1, "a number of processes"), default=0, metavar="N", help="processes of --engine ray; default: one per accelerator, or one")
    add("--dry_run", action="store_true", help="print what would be done, and stop")
    add_arguments(parser)
    return parser


def _products_wanted(flags: argparse.Namespace):
    """The options of the products, which can be made as far as is known before there is a map."""
    from omnisat_jax.predict.products.finishing import check
    from omnisat_jax.predict.products.options import ProductOptions

    options = ProductOptions.from_arguments(flags)
    check(options)
    return options


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"expected a share of a window from 0 to less than 1, such as 0.25, found {text!r}")
    return share


def _conversion(word: str) -> str | float:
    try:
        return float(word)
    except ValueError:
        return word
