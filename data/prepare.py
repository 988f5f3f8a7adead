"""Raw folder (or simulation) -> records, before a training run or by itself:

python -m data.prepare pastis --raw DIR --out DIR [--jobs N]
python launch.py --config=configs/pastis.py --config.data.prepared_dir=DIR

Without a prepared folder a training run prepares data.raw_dir on its own, into <cache_dir>/<dataset>-<fingerprint>.
"""

import argparse
import dataclasses
import os
import pathlib
import sys

from rich.table import Table
from rich.text import Text

from data.preparation import writing
from data.reading.bad_tiles import POLICIES, Form
from data.reading.datasets import DATASETS, open_dataset, reader_of, simulator
from omnisat_jax.cli import terminal
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError, printable
from omnisat_jax.files import hashing
from omnisat_jax.records.description import DESCRIPTION, VERSION, read_description


def prepare(settings, console) -> pathlib.Path:
    """Makes sure that the records of `settings` (schema.DataConfig) exist and returns their folder.

    Args:
      settings: which dataset, where it is, or how many tiles to simulate.
      console: rich Console for the progress bar.

    Raises:
      DataError, TooManyBadTiles: raw files that cannot be used.
      UserError: no raw folder, and nothing to simulate; says where the data are published. Or prepared records that were made with other settings.
    """
    reader = reader_of(settings.dataset)
    form = Form(on_bad=settings.on_bad, float16=settings.float16)
    if settings.prepared_dir:
        return _prepared(settings, form, console)
    root = pathlib.Path(settings.raw_dir) if settings.raw_dir else _simulate(settings, reader, console)
    if not root.is_dir():
        raise UserError(f"data.raw_dir: expected a folder, found {'a file' if root.exists() else 'nothing'} at {root}. {reader.WHERE}.")
    dataset = open_dataset(settings.dataset, root, settings.nomenclature)
    key = _key(settings.dataset, root, settings.nomenclature, form, console)
    target = pathlib.Path(settings.cache_dir) / f"{settings.dataset}-{key}"
    if not (target / DESCRIPTION).is_file():
        drawn = None
        if not settings.raw_dir:
            drawn = dataclasses.asdict(settings.simulated) | {"version": simulator(settings.dataset).VERSION}
        origin = _origin(settings.dataset, settings.nomenclature, drawn)
        writing.write_records(dataset, target, key, form, origin, max_bad=settings.max_bad, jobs=1, console=console)
    return target


def _prepared(settings, form, console):
    """The folder of records that were made already, shown to be what the other settings say."""
    folder = pathlib.Path(settings.prepared_dir)
    info = read_description(folder)
    made = info.made_with
    wanted = {
        "dataset": (settings.dataset, made.reader),
        "nomenclature": (_nomenclature(settings.dataset, settings.nomenclature), made.nomenclature),
        "on_bad": (form.on_bad, made.on_bad),
        "float16": (form.float16, made.float16),
    }
    other = {name: found for name, (expected, found) in wanted.items() if expected != found}
    if other:
        said = ", ".join(f"data.{name}={wanted[name][0]}" for name in other)
        found = ", ".join(f"{name} {value!r}" for name, value in other.items())
        options = " ".join(f"--config.data.{name}={value}" for name, value in other.items())
        raise UserError(
            f"data.prepared_dir: expected records made with {said}, found {folder} with {found}. Set {options}, or prepare others."
        )
    raw = pathlib.Path(settings.raw_dir) if settings.raw_dir else None
    if raw and raw.is_dir() and (key := _key(settings.dataset, raw, settings.nomenclature, form, console)) != info.fingerprint:
        raise UserError(
            f"data.prepared_dir: expected records of data.raw_dir={raw} ({key}), found {folder} of other data or of another state of them "
            f"({info.fingerprint}). Set --config.data.raw_dir= to take the records as they are, or prepare others."
        )
    return folder


def _nomenclature(dataset, nomenclature):
    """The set of classes by its name, "" where a dataset has one only."""
    return nomenclature or next(iter(getattr(reader_of(dataset), "NOMENCLATURES", ())), "")


def _origin(dataset, nomenclature, simulated):
    return {"reader": dataset, "nomenclature": _nomenclature(dataset, nomenclature), "simulated": simulated}


def _key(dataset, root, nomenclature, form, console):
    how = f"{dataset}/{VERSION}/{_nomenclature(dataset, nomenclature)}/{form.on_bad}/{form.float16}"
    with console.status(Text(f"hashing {root}"), spinner="dots"):
        return hashing.fingerprint(root, reader_of(dataset).raw_files(root), how)


def _simulate(settings, reader, console):
    wanted = settings.simulated
    if not wanted.tiles:
        raise UserError(
            f"data.raw_dir is empty: this configuration needs the real dataset. {reader.WHERE}. "
            "Then set --config.data.raw_dir=FOLDER."
        )
    simulated = simulator(settings.dataset)
    root = pathlib.Path(settings.cache_dir) / (
        f"simulated-{settings.dataset}-v{simulated.VERSION}-{wanted.tiles}x{wanted.tile_size}px-seed{wanted.seed}"
    )
    if root.exists():
        return root
    with writing.progress_bar(console) as bar:
        task = bar.add_task(f"simulating {settings.dataset}", total=wanted.tiles)
        return simulated.simulate(
            root,
            tiles=wanted.tiles,
            tile_size=wanted.tile_size,
            seed=wanted.seed,
            progress=lambda done: bar.update(task, completed=done),
        )


def _report(console, info, summaries, folder):
    title = f"{folder}: {info.dataset}{' (simulated)' if info.simulated else ''}"
    table = Table(title=Text(printable(title, None)), title_justify="left")
    for heading in ("part", "tiles", *info.modalities, "labels", "MB", "seconds"):
        table.add_column(heading, justify="left" if heading == "part" else "right", overflow="fold", no_wrap=heading == "part")
    for part, summary in summaries.items():
        cells = []
        for name, modality in info.modalities.items():
            dates = f" ({summary['dates'][name]:,} dates)" if modality.kind == "series" else ""
            cells.append(f"{summary['present'][name]}{dates}")
        labels = sum(count for counts in summary["labels"] for count in counts)
        size = f"{summary['bytes'] / 1e6:,.1f}"
        table.add_row(part, str(len(summary["tiles"])), *cells, f"{labels:,}", size, f"{summary['seconds']:.1f}")
    console.print(table)
    for name in info.modalities:
        if unknown := sum(summary["wholly_unknown"][name] for summary in summaries.values()):
            told = f"{name}: wholly unknown in {unknown} tiles, which have a file without a known value; it counts as absent"
            console.print(told, markup=False, highlight=False, soft_wrap=True)
    bad = [entry for summary in summaries.values() for entry in summary["bad"]]
    for entry in bad:
        console.print(f"{entry['action']}: {entry['message']}", markup=False, highlight=False, soft_wrap=True)
    tiles = sum(len(summary["tiles"]) for summary in summaries.values())
    size = sum(summary["bytes"] for summary in summaries.values())
    made = info.made_with
    # A run says what records it expects; what is not a default must be said.
    options = {"prepared_dir": folder, "nomenclature": made.nomenclature, "on_bad": made.on_bad, "float16": made.float16}
    said = " ".join(f"--config.data.{name}={value}" for name, value in options.items() if value not in ("", "raise", False))
    console.print(
        f"{tiles} tiles, {size / 1e6 / max(tiles, 1):.2f} MB per tile. Train on them with {said}",
        soft_wrap=True, markup=False, highlight=False,
    )  # fmt: skip


def main(arguments=None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m data.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--raw", required=True, type=pathlib.Path, help="the dataset's folder, as published")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="where records go: a new folder, or an interrupted one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="reading processes; default one a core")
    parser.add_argument("--nomenclature", default="", help="which set of classes, where the dataset has several")
    parser.add_argument("--on_bad", choices=POLICIES, default="raise", help="what becomes of a tile with a broken file")
    parser.add_argument("--max_bad", type=float, default=0.05, help="largest share of tiles with a broken file")
    parser.add_argument("--float16", action="store_true", help="store floats in two bytes (see data/README.md)")
    options = parser.parse_args(arguments)
    console = terminal.console()
    form = Form(on_bad=options.on_bad, float16=options.float16)
    if options.jobs < 1:
        raise UserError(f"--jobs: expected 1 or more, found {options.jobs}")
    if not 0 <= options.max_bad <= 1:
        raise UserError(f"--max_bad: expected a share from 0 to 1, found {options.max_bad}")
    dataset = open_dataset(options.dataset, options.raw, options.nomenclature)
    key = _key(options.dataset, options.raw, options.nomenclature, form, console)
    origin = _origin(options.dataset, options.nomenclature, None)
    info = writing.write_records(
        dataset, options.out, key, form, origin, max_bad=options.max_bad, jobs=options.jobs, console=console
    )  # fmt: skip
    _report(console, info, writing.summaries(options.out, info), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
