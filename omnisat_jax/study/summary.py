"""Summarizes the finished runs of a study: mean, spread, interval and difference to the baseline of every row."""

import dataclasses
import math
import pathlib
import shlex
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import write_json, write_text
from omnisat_jax.metrics.intervals import Parcels, Resampled, Tiles, bootstrap, interval, seed_interval
from omnisat_jax.report.contributions import read_parcels, read_tiles
from omnisat_jax.report.run_files import STUDY_PROTOCOL, Results, read_cores, read_results
from omnisat_jax.study import tables
from omnisat_jax.study.folder import is_done, run_folder
from omnisat_jax.study.grid import Run, Study, runs
from omnisat_jax.study.runner import Outcome
from omnisat_jax.study.tables import Difference, Entry, Summary
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

METRIC = {"segment": ("miou", "mIoU"), "classify": ("f1_macro", "macro F1")}
# Keys of the configuration that say which data a run is made from.
_DATA = ("data.dataset", "data.raw_dir", "data.prepared_dir", "data.nomenclature", "data.on_bad", "data.float16", "data.simulated.")


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run: its folder and its results.json."""

    run: Run
    folder: pathlib.Path
    results: Results


def summarise(
    study: Study, folder: StrPath, outcomes: Mapping[str, Outcome] | None = None, root: StrPath | None = None
) -> Summary:
    """Reads the finished runs and writes table.md, table.csv, table.tex and study.json.

    Args:
      study: the grid.
      folder: of the study.
      outcomes: {run name: outcome} of `run_study`, for the runs that failed.
      root: as of `grid.runs`.

    Raises:
      UserError: runs of different data.
      DataError: a file of a finished run is damaged.
    """
    folder = pathlib.Path(folder)
    finished: dict[str, Finished] = {}
    missing = []
    for run in runs(study, root):
        if is_done(folder, run):
            workdir = run_folder(folder, run)
            finished[run.name] = Finished(run, workdir, read_results(workdir, STUDY_PROTOCOL))
        else:
            missing.append(run.name)
    _check_data(folder, finished.values())
    failed = {name: outcome.reason for name, outcome in (outcomes or {}).items() if outcome.state == "failed"}
    summary = Summary(
        command=shlex.join(sys.argv),
        study=dataclasses.asdict(study),
        simulated=any(done.results["protocol"]["simulated"] for done in finished.values()),
        protocols=sorted({_protocol(done.results) for done in finished.values()}),
        cores=sorted({count for done in finished.values() if (count := read_cores(done.folder))}),
        entries=_entries(study, list(finished.values())),
        failed=failed,
        waiting=[name for name in missing if name not in failed],
    )
    write_json(folder / "study.json", tables.as_json(summary))
    write_text(folder / "table.md", tables.markdown(summary))
    write_text(folder / "table.csv", tables.as_csv(summary))
    write_text(folder / "table.tex", tables.latex(summary))
    return summary


def _check_data(folder, finished: Iterable[Finished]):
    """Checks that runs which name the same data were made from the same data: a folder may change between them.

    Raises:
      UserError: they were not; names two such runs.
    """
    first = {}
    for done in finished:
        known = done.results["protocol"].get("fingerprint")
        named = tuple(sorted((key, str(value)) for key, value in done.run.flat_config.items() if key.startswith(_DATA)))
        # Fingerprints of earlier versions have another length, and cannot be compared.
        other, name = first.setdefault((named, len(known or "")), (known, done.run.name))
        if other != known:
            raise UserError(
                f"{folder / 'runs'}: {name} was made from data {other}, {done.run.name} from {known}, so they cannot share a table. "
                "Restore the data, delete the folders of the runs that were made from other data, and start the study again"
            )


def _protocol(results):
    p = results["protocol"]
    simulated = ", SIMULATED" if p["simulated"] else ""
    return f"{p['dataset']}{simulated}, {p['protocol']}, test {' '.join(p['test'])} ({number_of(p['test_tiles'], 'tile')}), train {number_of(p['train_tiles'], 'tile')}"


@dataclasses.dataclass(frozen=True)
class _Sample:
    """What the intervals of a row, and of its difference to another row, are computed from.

    Attributes:
      by_seed: {seed: score, averaged over folds}; {} where seeds were not run on the same folds.
      names: of the test tiles, by fold.
      tiles: (D,) scores on resampled test tiles, or None.
      units: names of the parcels, by fold.
      parcels: (D,) scores on resampled parcels, or None.
    """

    by_seed: Mapping[int, float]
    names: Any = None
    tiles: np.ndarray | None = None
    units: Any = None
    parcels: np.ndarray | None = None


def _entries(study, finished) -> list[Entry]:
    """One entry per row and share of labels that has a finished run, with its difference to the baseline."""
    found: list[tuple[Entry, _Sample]] = []
    for (name, row), share in ((item, share) for item in study.rows.items() for share in study.label_shares):
        mine = [done for done in finished if name in done.run.rows and done.run.label_share == share]
        subset = _subset(mine, row)
        if subset is not None:
            found.append(_entry(study, name, mine, subset))
    base = {entry.label_share: (entry, sample) for entry, sample in found if entry.row == study.baseline}
    return [
        dataclasses.replace(entry, difference=_difference(entry, sample, *base[entry.label_share]) if entry.label_share in base else None)
        for entry, sample in found
    ]


def _subset(mine: Sequence[Finished], row):
    """The modalities that a row is scored on, or None where a run of it has no such scores."""
    if not mine:
        return None
    wanted = row.subset.split("+") if row.subset else mine[0].results["subsets"][0]["modalities"]
    return wanted if all(_position(done.results, wanted) >= 0 for done in mine) else None


def _position(results, subset) -> int:
    """The index of a subset among the scored ones, or -1."""
    return next((i for i, s in enumerate(results["subsets"]) if sorted(s["modalities"]) == sorted(subset)), -1)


def _entry(study, name, mine: Sequence[Finished], subset) -> tuple[Entry, _Sample]:
    """The scores of one row, and what its intervals are computed from."""
    key, metric = METRIC[mine[0].results["task"]]
    scores, errors, trivial = [], [], []
    tiles: dict[int, list[Tiles]] = {}  # of each fold
    counts: dict[int, tuple[int, int | None]] = {}
    for done in mine:
        position = _position(done.results, subset)
        entry = done.results["subsets"][position]
        values = {score: math.nan if value is None else value for score, value in entry["scores"].items()}
        scores.append(values[key])
        errors.append(values.get("ece", math.nan))
        trivial.append(values.get("f1_every_label", math.nan))
        fold = done.run.fold
        counts.setdefault(fold, (entry.get("tiles", done.results["protocol"]["test_tiles"]), entry.get("tiles_with_all")))
        tiles.setdefault(fold, []).append(read_tiles(done.folder, done.results, position))
    known = bool(np.isfinite(scores).all())  # else a fold has no tile with any of the modalities
    sample = _sample(study, mine, subset, scores, tiles) if known else _Sample({})
    whole = [count for _, count in counts.values() if count is not None]
    row = study.rows[name]
    return Entry(
        row=name,
        label_share=mine[0].run.label_share,
        modalities=list(subset),
        metric=metric,
        seeds=sorted({done.run.seed for done in mine}),
        folds=sorted(tiles),
        scores=[None if math.isnan(score) else score for score in scores],
        scored=sum(count for count, _ in counts.values()),
        scored_with_all=sum(whole) if len(whole) == len(counts) else None,
        mean=float(np.mean(scores)) if known else None,
        spread=float(np.std(scores, ddof=1)) if known and len(scores) > 1 else None,
        interval=interval(sample.tiles) if sample.tiles is not None else None,
        seed_interval=seed_interval(list(sample.by_seed.values())),
        parcel_interval=interval(sample.parcels) if sample.parcels is not None else None,
        ece=float(np.mean(errors)) if np.isfinite(errors).all() else None,
        every_label=float(np.mean(trivial)) if np.isfinite(trivial).all() else None,
        tiles=len(next(iter(tiles.values()))[0].names),
        published=row.published or None,
        source=row.source,
    ), sample


def _sample(study, mine: Sequence[Finished], subset, scores, tiles: Mapping[int, Sequence[Tiles]]) -> _Sample:
    """Folds test on different tiles: each is resampled for itself, and their scores are averaged as those of seeds are."""
    by_run = {(done.run.seed, done.run.fold): score for done, score in zip(mine, scores)}
    seeds = sorted({seed for seed, _ in by_run})
    whole = len(by_run) == len(seeds) * len(tiles)
    by_seed = {seed: float(np.mean([by_run[seed, fold] for fold in tiles])) for seed in seeds} if whole else {}
    parcels: dict[int, list[Parcels]] = {fold: [] for fold in tiles}
    for done in mine:
        found = read_parcels(done.folder, done.results, _position(done.results, subset)) if done.results["task"] == "segment" else None
        parcels[done.run.fold] += [found] if found else []
    drawn, names = _resample(tiles, study.resamples)
    if sum(map(len, parcels.values())) < len(mine):
        return _Sample(by_seed, names, drawn)
    of_parcels, units = _resample(parcels, study.resamples)
    return _Sample(by_seed, names, drawn, units, of_parcels)


def _resample(folds: Mapping[int, Sequence[Resampled]], times: int) -> tuple[np.ndarray, dict[int, Sequence[Hashable]]]:
    """(D,) mean scores over the folds, which are resampled independently of each other, and the names of what was drawn in each."""
    drawn = [bootstrap(folds[fold], times, stream) for stream, fold in enumerate(sorted(folds))]
    return np.mean(drawn, 0), {fold: runs[0].names for fold, runs in folds.items()}


def _difference(entry: Entry, sample: _Sample, base: Entry, base_sample: _Sample) -> Difference | None:
    """The paired difference to the baseline, None where the two were not tested on the same tiles."""
    if base is entry or sample.names != base_sample.names:
        return None
    if sample.tiles is None or base_sample.tiles is None or entry.mean is None or base.mean is None:
        return None
    paired = [score - base_sample.by_seed[seed] for seed, score in sample.by_seed.items() if seed in base_sample.by_seed]
    parcels = None
    if sample.parcels is not None and base_sample.parcels is not None and sample.units == base_sample.units:
        parcels = interval(sample.parcels - base_sample.parcels)
    return Difference(base.row, entry.mean - base.mean, interval(sample.tiles - base_sample.tiles), seed_interval(paired), parcels)
