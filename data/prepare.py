"""Raw folder (or simulation) -> records, before a training run or by itself:

python -m data.prepare pastis --raw DIR --out DIR [--jobs N]
python launch.py --config=configs/pastis.py --config.data.prepared_dir=DIR

Without a prepared folder a training run prepares data.raw_dir on its own, into <cache_dir>/<dataset>-<fingerprint>.
"""

import argparse
import os
import pathlib
import sys

from rich.console import Console
from rich.table import Table

from data import raw, writing
from data.datasets import DATASETS, open_dataset, reader_of, simulator
from data.raw import DataError
from data.reading import POLICIES, Form, TooManyBadTiles
from omnisat_jax.errors import UserError
from omnisat_jax.input.records import VERSION


def prepare(settings, console) -> pathlib.Path:
    """Makes sure that the records of `settings` (schema.Data) exist and returns their folder.

    Args:
      settings: which dataset, where it is, or how many tiles to simulate.
      console: rich Console for the progress bar.

    Raises:
      DataError, TooManyBadTiles: raw files that cannot be used.
      UserError: no raw folder, and nothing to simulate; says where the data are published.
    """
    if settings.prepared_dir:
        return pathlib.Path(settings.prepared_dir)
    reader = reader_of(settings.dataset)
    root = pathlib.Path(settings.raw_dir) if settings.raw_dir else _simulate(settings, reader, console)
    if not root.is_dir():
        raise UserError(f"data.raw_dir: expected a folder, found nothing at {root}. {reader.WHERE}.")
    form = Form(on_bad=settings.on_bad, float16=settings.float16)
    key = _key(settings.dataset, root, settings.nomenclature, form)
    target = pathlib.Path(settings.cache_dir) / f"{settings.dataset}-{key}"
    if (target / "dataset.json").is_file():
        return target
    dataset = open_dataset(settings.dataset, root, settings.nomenclature)
    writing.write_records(dataset, target, key, form, max_bad=settings.max_bad, jobs=1, console=console)
    return target


def _key(dataset, root, nomenclature, form):
    how = f"{dataset}/{VERSION}/{nomenclature}/{form.on_bad}/{form.float16}"
    return raw.fingerprint(root, reader_of(dataset).raw_files(root), how)


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
    root.parent.mkdir(parents=True, exist_ok=True)
    with writing.progress_bar(console) as bar:
        task = bar.add_task(f"simulating {settings.dataset}", total=wanted.tiles)
        return simulated.simulate(
            root,
            tiles=wanted.tiles,
            tile_size=wanted.tile_size,
            seed=wanted.seed,
            progress=lambda done: bar.update(task, completed=done),
        )


def _report(console, about, summaries, folder):
    table = Table(title=f"{folder}: {about['dataset']}{' (simulated)' if about['simulated'] else ''}", title_justify="left")
    for heading in ("part", "tiles", *about["modalities"], "MB", "seconds"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, summary in summaries.items():
        cells = []
        for name, modality in about["modalities"].items():
            tiles = summary["present"][name]
            dates = f" ({summary['dates'][name]:,} dates)" if modality["kind"] == "series" else ""
            cells.append(f"{tiles}{dates}")
        table.add_row(part, str(len(summary["tiles"])), *cells, f"{summary['bytes'] / 1e6:,.1f}", f"{summary['seconds']:.1f}")
    console.print(table)
    bad = [entry for summary in summaries.values() for entry in summary["bad"]]
    for entry in bad:
        console.print(f"{entry['action']}: {entry['message']}", markup=False, highlight=False, soft_wrap=True)
    tiles = sum(len(summary["tiles"]) for summary in summaries.values())
    size = sum(summary["bytes"] for summary in summaries.values())
    console.print(
        f"{tiles} tiles, {size / 1e6 / max(tiles, 1):.2f} MB a tile. Train on them with --config.data.prepared_dir={folder}",
        soft_wrap=True,
    )


def main(arguments=None) -> int:
    """The command line; errors a user can cause are one message."""
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
    console = Console()
    form = Form(on_bad=options.on_bad, float16=options.float16)
    try:
        if options.jobs < 1:
            raise UserError(f"--jobs: expected 1 or more, found {options.jobs}")
        dataset = open_dataset(options.dataset, options.raw, options.nomenclature)
        key = _key(options.dataset, options.raw, options.nomenclature, form)
        about = writing.write_records(dataset, options.out, key, form, max_bad=options.max_bad, jobs=options.jobs, console=console)
        _report(console, about, writing.summaries(options.out, about), options.out)
    except (DataError, TooManyBadTiles, writing.ForeignFolder, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
