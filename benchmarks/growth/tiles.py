"""Many small tiles of two series: each is one of a few simulated tiles, cut to a few dates, with noise and parcels of its own."""

import io
import json
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np
from rich.console import Console

from benchmarks.growth.powers import Cost, Growth, announce
from benchmarks.growth.processes import in_process
from configs import pastis
from data import prepare, verify
from data.pastis.simulated import simulate
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.experiment.context import RunOptions
from omnisat_jax.experiment.run import run
from omnisat_jax.input import pipeline
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.parallel.compilation import as_flags, unoptimised
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import choose_split
from omnisat_jax.words import number_of

SIDE, DATES = 8, 2  # pixels of 10 m per side of a tile, dates of its series
TEMPLATES = 20  # simulated tiles
PLACES = 10  # tiles whose parcels are numbered together
NOISE = {"DATA_S2": 20.0, "DATA_S1A": 0.1}  # folder of a series -> standard deviation of what makes tiles differ
BATCH = 8
STEPS = 4  # of training
START = 10  # tiles of the smallest folder; what it costs counts as the start


def make_tiles(root: pathlib.Path, count: int) -> pathlib.Path:
    """Writes a folder in PASTIS layout with `count` tiles, all of them different."""
    templates = simulate(root.with_name("templates"), tiles=TEMPLATES, tile_size=SIDE, seed=0)
    collection = json.loads((templates / "metadata.geojson").read_text())
    for folder in (*NOISE, "ANNOTATIONS"):
        (root / folder).mkdir(parents=True)
    rng, known = np.random.default_rng(0), {}
    kinds = collection["features"]
    features = [_write_tile(root, templates, kinds[index % TEMPLATES], index, rng, known) for index in range(count)]
    (root / "metadata.geojson").write_text(json.dumps(collection | {"features": features}))
    return root


def _write_tile(root: pathlib.Path, templates: pathlib.Path, feature: dict, index: int, rng: np.random.Generator, known: dict) -> dict:
    """Writes the files of a tile and returns its feature; known: contents of the templates that were read."""
    properties, name = feature["properties"], f"{1_000_000 + index}"
    template = properties["ID_PATCH"]
    if template not in known:
        known[template] = _read(templates, template)
    labels, parcels, series = known[template]
    for folder, values in series.items():
        noise = rng.normal(0, NOISE[folder], values.shape)
        np.save(root / folder / f"{folder[5:]}_{name}.npy", (values + noise).astype(values.dtype))
    np.save(root / "ANNOTATIONS" / f"TARGET_{name}.npy", labels)
    np.save(root / "ANNOTATIONS" / f"ParcelIDs_{name}.npy", np.where(parcels > 0, parcels % 1000 + 1000 * index, 0))
    north = 10 * SIDE * (index // TEMPLATES)  # m, of its template
    ring = [[x, y + north] for x, y in feature["geometry"]["coordinates"][0]]
    days = {key: dict(list(value.items())[:DATES]) for key, value in properties.items() if key.startswith("dates-")}
    own: dict[str, Any] = {"ID_PATCH": name, "Fold": index % 5 + 1, "location_id": f"place {index // PLACES}"}
    return feature | {"id": name, "properties": properties | days | own, "geometry": feature["geometry"] | {"coordinates": [ring]}}


def _read(root: pathlib.Path, name: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Labels, parcels and the first dates of the series of a template."""
    labels, parcels = (np.load(root / "ANNOTATIONS" / f"{kind}_{name}.npy") for kind in ("TARGET", "ParcelIDs"))
    return labels, parcels, {folder: np.load(root / folder / f"{folder[5:]}_{name}.npy")[:DATES] for folder in NOISE}


def prepare_tiles(raw: str, out: str) -> None:
    """Prepares a raw folder by one process."""
    _need(prepare.main(["pastis", "--raw", raw, "--out", out, "--jobs", "1"]), raw)


def verify_tiles(raw: str) -> None:
    """Verifies a raw folder by one process."""
    _need(verify.main(["pastis", "--raw", raw, "--jobs", "1", "--update"]), raw)


def verify_records(out: str) -> None:
    """Verifies records."""
    _need(verify.main(["pastis", "--prepared", out]), out)


def _need(code: int, folder: str) -> None:
    if code:
        raise UserError(f"{folder}: expected exit code 0, found {code}")


def open_records(out: str) -> None:
    """Opens records and asks for everything that a run wants to know before it reads a tile."""
    records = Records(out)
    split = choose_split("auto", records.parts, 1)
    for parts in split.train, split.validation, split.test:
        records.known_statistics(parts, clear=True)
        records.label_counts(parts, 0.5, 0)
        for read in (records.counts, records.days, records.places, records.parcels, records.source):
            read(parts)


def read_epoch(out: str) -> None:
    """Reads every tile once as training does."""
    records, config = Records(out), schema.parse(_config("", ""))
    spec = resolve_input_spec(config, records.info)
    transform = MakeBatch(spec.train, spec.grid, spec.crop, config.data.origin, random=True, augment=True)
    read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    batches = iter(pipeline.training(records.source(records.parts), transform, seed=0, batch_size=BATCH, options=read))
    for _ in range(len(records.tile_ids) // BATCH):
        next(batches)
    batches.close()


def train(out: str, folder: str) -> None:
    """Fine-tunes a few steps of a small model, validates and scores it."""
    os.environ["XLA_FLAGS"] = as_flags(unoptimised())  # what grows with the tiles is not the model
    options = RunOptions(folder, Console(file=io.StringIO()), prepare.prepare)
    run(schema.parse(_config(out, f"{folder}-cache")), options)


def _config(prepared: str, cache: str) -> Any:
    """Two series and encoders that compile in seconds."""
    config = pastis.get_config("demo,no_pretrain,no_spot")
    del config.modalities["s1d"]
    config.data.prepared_dir, config.data.cache_dir, config.data.crop = prepared, cache, 0
    for modality in config.modalities.values():
        modality.dates_train = modality.dates_eval = DATES
        modality.encoder = "patch_ltae"
    config.model.head.unimodal, config.segmentation.unimodal_weight = "none", 0.0
    config.eval.batch_size, config.finetune.batch_size = 50, BATCH
    config.finetune.steps = config.finetune.eval_every = config.finetune.save_every = STEPS
    return config


def measure(sizes: Sequence[int], folder: pathlib.Path, *, training: bool) -> tuple[list[Growth], list[str]]:
    """Measures all of this at several numbers of tiles.

    Args:
      sizes: numbers of tiles, ascending.
      folder: of the tiles, which are kept there.
      training: measures only the training; otherwise everything else.

    Returns:
      Measurements, and a sentence on the numbers of files for each size.
    """
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # of hashes of files, which must not be known yet
    costs: dict[str, dict[int, Cost]] = {}
    notes = []
    for size in (START, *sizes):
        root = folder / f"{size}_tiles"
        raw, out, workdir = (str(root / name) for name in ("raw", "records", "run"))
        if not root.is_dir():
            make_tiles(root / "raw", size)
        shutil.rmtree(workdir if training else out, ignore_errors=True)  # of an earlier start
        jobs: dict[str, tuple] = {
            "prepare": (prepare_tiles, raw, out),
            "verify raw tiles": (verify_tiles, raw),
            "verify records": (verify_records, out),
            "open records, statistics": (open_records, out),
            "read an epoch": (read_epoch, out),
        }
        if training:
            if not os.path.isdir(out):
                prepare_tiles(raw, out)
            jobs = {"train, validate, score": (train, out, workdir)}
        for what, (function, *arguments) in jobs.items():
            cost, _ = in_process(function, *arguments)
            costs.setdefault(what, {})[size] = announce(what, size, "tiles", cost)
        counted = {"run": workdir} if training else {"raw data": raw, "records": out}
        files = ", ".join(f"{number_of(_files(path), 'file')} of {what}" for what, path in counted.items())
        notes.append(f"{number_of(size, 'tile')}: {files}")
    return [Growth(what, "tiles", {size: found[size] for size in sizes}, found[START]) for what, found in costs.items()], notes


def _files(folder: str) -> int:
    return sum(len(files) for *_, files in os.walk(folder))
