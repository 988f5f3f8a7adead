"""Raw folder (or simulation) -> records: atomic, resumable part by part, with progress.

<cache_dir>/<dataset>-<fingerprint>/
  dataset.json               everything about the records; written last, so its presence means "complete"
  <part>.json                summary of a finished part
  tiles/<part>/<version>/    ArrayRecord
"""

import contextlib
import importlib
import io
import json
import logging
import os
import pathlib
import shutil

import tensorflow_datasets as tfds
from rich import progress as rich_progress

from data import builder, raw, simulated
from data.summary import Summary

DATASETS = {"pastis": "data.pastis.reader", "treesat": "data.treesat.reader"}


def prepare(settings, console) -> pathlib.Path:
    """Makes sure that the records of `settings` (schema.Data) exist and returns their folder.

    Args:
      settings: which dataset, where it is, or how many tiles to simulate.
      console: rich Console for the progress bar.

    Raises:
      DataError: a raw file that cannot be used.
      FileNotFoundError: no raw folder, and nothing to simulate; says where the data are published.
    """
    reader = importlib.import_module(DATASETS[settings.dataset])
    root = pathlib.Path(settings.raw_dir) if settings.raw_dir else _simulate(settings, reader, console)
    if not root.is_dir():
        raise FileNotFoundError(f"data.raw_dir: expected a folder, found nothing at {root}. {reader.WHERE}.")
    key = raw.fingerprint(root, reader.raw_files(root), f"{settings.dataset}/{builder.VERSION}")
    target = pathlib.Path(settings.cache_dir) / f"{settings.dataset}-{key}"
    if (target / "dataset.json").is_file():
        return target
    dataset = reader.open_raw(root)
    target.mkdir(parents=True, exist_ok=True)
    total = sum(len(tiles) for tiles in dataset.parts.values())
    summaries = {}
    with _bar(console) as bar:
        task = bar.add_task(f"preparing {total} tiles of {root}", total=total)
        for part in dataset.parts:
            summaries[part] = _prepare_part(dataset, part, target, lambda: bar.advance(task))
            bar.update(task, completed=sum(len(s["tiles"]) for s in summaries.values()))
    _write_json(target / "dataset.json", _describe(dataset, settings, key, summaries))
    return target


def _simulate(settings, reader, console):
    wanted = settings.simulated
    if not wanted.tiles:
        raise FileNotFoundError(
            f"data.raw_dir is empty: this configuration needs the real dataset. {reader.WHERE}. "
            "Then set --config.data.raw_dir=FOLDER."
        )
    root = pathlib.Path(settings.cache_dir) / (
        f"simulated-v{simulated.VERSION}-{wanted.tiles}x{wanted.tile_size}px-seed{wanted.seed}"
    )
    if root.exists():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with _bar(console) as bar:
        task = bar.add_task("simulating PASTIS-HD", total=wanted.tiles)
        return simulated.simulate_pastis(
            root,
            tiles=wanted.tiles,
            tile_size=wanted.tile_size,
            seed=wanted.seed,
            progress=lambda done: bar.update(task, completed=done),
        )


def _prepare_part(dataset, part, target, advance):
    done = target / f"{part}.json"
    if done.is_file():
        return json.loads(done.read_text())
    # Records without their summary are of a run that was cut off between the two.
    shutil.rmtree(target / "tiles" / part, ignore_errors=True)
    summary = Summary(dataset.modalities, with_parcels=dataset.task == "segment")

    def observe(example):
        summary.add(example)
        advance()

    # TFDS speaks of downloads that never happen here; our own progress bar and report say what does.
    tfds.disable_progress_bar()
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.Tiles(raw=dataset, part=part, observe=observe, data_dir=target).download_and_prepare()
    finally:
        absl.setLevel(level)
    _write_json(done, summary.to_json())
    return json.loads(done.read_text())


def _describe(dataset, settings, key, summaries):
    longest = {
        name: max(s["longest"][name] for s in summaries.values())
        for name, modality in dataset.modalities.items()
        if modality.kind == "series"
    }
    return {
        "dataset": dataset.name,
        "fingerprint": key,
        "simulated": dataset.simulated,
        "source": str(dataset.root.resolve()),
        "citation": "simulated, in the layout of: " + dataset.citation if dataset.simulated else dataset.citation,
        "version": builder.VERSION,
        "split": builder.SPLIT,
        "task": dataset.task,
        "classes": list(dataset.classes),
        "ignore": dataset.ignore,
        "background": dataset.background,
        "label_side": builder.label_side(dataset.modalities) if dataset.task == "segment" else 0,
        "modalities": {
            name: {"kind": m.kind, "shape": list(m.shape), "dtype": m.dtype, "longest": longest.get(name, 1)}
            for name, m in dataset.modalities.items()
        },
        "parts": list(dataset.parts),
    }


def _bar(console):
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _write_json(path, value):
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(value))
    partial.replace(path)
