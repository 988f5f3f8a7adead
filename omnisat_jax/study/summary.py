"""Summarizes the finished runs of a study: mean, spread, interval and difference to the baseline of every row."""

import dataclasses
import functools
import math
import pathlib
import shlex
import sys
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import write_json, write_text
from omnisat_jax.metrics.intervals import Resampled, Tiles, bootstrap, interval, seed_interval
from omnisat_jax.report.contributions import read_parcels, read_tiles
from omnisat_jax.report.run_files import STUDY_PROTOCOL, Results, read_cores, read_results
from omnisat_jax.study import tables
from omnisat_jax.study.folder import is_done, run_folder
from omnisat_jax.study.grid import Run, Study, runs
from omnisat_jax.study.runner import Outcome
from omnisat_jax.study.tables import Difference, Entry, Summary
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

T = TypeVar("T")
_Key = tuple[int, int]  # seed and fold of a run
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
    """The runs of a row, and what its intervals and its difference to another row are computed from.

    Attributes:
      scores: of each run.
      tiles, parcels: what the test tiles and the parcels of each run contribute; {} where that is not known.
      times: number of resampled test sets, D.
    """

    scores: Mapping[_Key, float]
    tiles: Mapping[_Key, Resampled]
    parcels: Mapping[_Key, Resampled]
    times: int

    @functools.cached_property
    def mean(self) -> float:
        """The mean score: over seeds in each fold, then over folds, as the resampled scores are, which matters where a run is missing."""
        folds = _by_fold(self.scores)
        even = len({len(found) for found in folds.values()}) == 1
        return float(np.mean(list(self.scores.values()) if even else [np.mean(found) for found in folds.values()]))

    @functools.cached_property
    def by_seed(self) -> dict[int, float]:
        """{seed: score, averaged over folds}; {} where seeds were not run on the same folds."""
        seeds, folds = ({key[part] for key in self.scores} for part in (0, 1))
        if len(self.scores) < len(seeds) * len(folds):
            return {}
        return {seed: float(np.mean([self.scores[seed, fold] for fold in sorted(folds)])) for seed in sorted(seeds)}

    @functools.cached_property
    def over_tiles(self) -> np.ndarray | None:
        """(D,) mean scores on resampled test tiles."""
        return _resample(self.tiles, self.times)

    @functools.cached_property
    def over_parcels(self) -> np.ndarray | None:
        """(D,) mean scores on resampled parcels."""
        return _resample(self.parcels, self.times)

    def of(self, keys: Collection[_Key]) -> "_Sample":
        """The same of some of the runs; itself for all of them, whose resampled scores it keeps."""
        if len(keys) == len(self.scores):
            return self

        def some(values: Mapping[_Key, T]) -> dict[_Key, T]:
            return {key: found for key, found in values.items() if key in keys}

        return _Sample(some(self.scores), some(self.tiles), some(self.parcels), self.times)


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
    tiles: list[Tiles] = []
    counts: dict[int, tuple[int, int | None]] = {}
    for done in mine:
        position = _position(done.results, subset)
        entry = done.results["subsets"][position]
        values = {score: math.nan if value is None else value for score, value in entry["scores"].items()}
        scores.append(values[key])
        errors.append(values.get("ece", math.nan))
        trivial.append(values.get("f1_every_label", math.nan))
        counts.setdefault(done.run.fold, (entry.get("tiles", done.results["protocol"]["test_tiles"]), entry.get("tiles_with_all")))
        tiles.append(read_tiles(done.folder, done.results, position))
    known = bool(np.isfinite(scores).all())  # else a fold has no tile with any of the modalities
    sample = _sample(study, mine, subset, scores, tiles) if known else _Sample({}, {}, {}, study.resamples)
    whole = [count for _, count in counts.values() if count is not None]
    row = study.rows[name]
    return Entry(
        row=name,
        label_share=mine[0].run.label_share,
        modalities=list(subset),
        metric=metric,
        seeds=sorted({done.run.seed for done in mine}),
        folds=sorted(counts),
        scores=[None if math.isnan(score) else score for score in scores],
        scored=sum(count for count, _ in counts.values()),
        scored_with_all=sum(whole) if len(whole) == len(counts) else None,
        mean=sample.mean if known else None,
        spread=float(np.std(scores, ddof=1)) if known and len(scores) > 1 else None,
        interval=interval(sample.over_tiles) if sample.over_tiles is not None else None,
        seed_interval=seed_interval(list(sample.by_seed.values())),
        parcel_interval=interval(sample.over_parcels) if sample.over_parcels is not None else None,
        ece=float(np.mean(errors)) if np.isfinite(errors).all() else None,
        every_label=float(np.mean(trivial)) if np.isfinite(trivial).all() else None,
        tiles=mine[0].results["protocol"]["test_tiles"],
        published=row.published or None,
        source=row.source,
    ), sample


def _sample(study, mine: Sequence[Finished], subset, scores, tiles: Sequence[Tiles]) -> _Sample:
    """The runs of a row, with the parcels of all of them or of none."""
    keys = [(done.run.seed, done.run.fold) for done in mine]
    parcels: dict[_Key, Resampled] = {}
    for key, done in zip(keys, mine, strict=True):
        found = read_parcels(done.folder, done.results, _position(done.results, subset)) if done.results["task"] == "segment" else None
        parcels |= {key: found} if found else {}
    return _Sample(dict(zip(keys, scores)), dict(zip(keys, tiles)), parcels if len(parcels) == len(mine) else {}, study.resamples)


def _by_fold(runs: Mapping[_Key, T]) -> dict[int, list[T]]:
    """{fold: what its runs have}, in the order of folds."""
    folds: dict[int, list[T]] = {fold: [] for fold in sorted({fold for _, fold in runs})}
    for (_, fold), found in runs.items():
        folds[fold].append(found)
    return folds


def _resample(runs: Mapping[_Key, Resampled], times: int) -> np.ndarray | None:
    """(D,) mean scores over the folds, or None without runs.

    Folds test on different tiles: each is resampled for itself, and their scores are averaged as those of seeds are.
    """
    folds = _by_fold(runs)
    return np.mean([bootstrap(folds[fold], times, stream) for stream, fold in enumerate(folds)], 0) if folds else None


def _names(runs: Mapping[_Key, Resampled]) -> dict[int, Sequence[Hashable]]:
    """The names of the resampled tiles or parcels, by fold."""
    return {fold: found[0].names for fold, found in _by_fold(runs).items()}


def _difference(entry: Entry, sample: _Sample, base: Entry, base_sample: _Sample) -> Difference | None:
    """The difference to the baseline over the seeds and folds that both have run, None where there are none or the two were not tested on the same tiles.

    Tiles may lack the modalities that one of the two is scored on, and have those of the other. Another seed can score several points higher: if one of the two lacks a run, the difference of their means is not one of the methods.
    """
    if base is entry or not sample.tiles or _names(sample.tiles) != _names(base_sample.tiles):
        return None
    both = [key for key in sample.scores if key in base_sample.scores]
    if not both:
        return None
    mine, theirs = sample.of(both), base_sample.of(both)
    assert mine.over_tiles is not None and theirs.over_tiles is not None  # there are tiles
    parcels = None
    if mine.over_parcels is not None and theirs.over_parcels is not None and _names(mine.parcels) == _names(theirs.parcels):
        parcels = interval(mine.over_parcels - theirs.over_parcels)
    paired = [score - theirs.by_seed[seed] for seed, score in mine.by_seed.items()]
    return Difference(base.row, mine.mean - theirs.mean, interval(mine.over_tiles - theirs.over_tiles), seed_interval(paired), parcels)
