"""A baseline without a network: a random forest on monthly medians of each pixel (scikit-learn), under the protocol of a run.

    python -m benchmarks.random_forest --records=DIR [--protocol=auto] [--folds=1] [--modalities=s2,s1a] [--void_test_parcels]

The features of a pixel are the median of each band over the valid dates of each calendar month since day 0; a month without valid dates gets the
median over all dates. Only series are used, as a forest of pixels sees no texture. The scores are those of omnisat_jax.metrics.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from omnisat_jax.cli.command import run_command
from omnisat_jax.dates import day_zero
from omnisat_jax.metrics.segmentation import SegmentationScores, confusion_counts
from omnisat_jax.missing import measured
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split, choose_split

MONTH, MONTHS = 30.44, 15  # days; of the longest series


@dataclasses.dataclass(frozen=True)
class ForestConfig:
    """How a forest is trained.

    Attributes:
      modalities: names of the series that are its features.
      origin: day 0 of dates, as `data.origin` of a run.
      void_test_parcels: leave out training pixels of parcels that test tiles contain.
      seed, trees: of the forest.
    """

    modalities: tuple[str, ...]
    origin: str
    void_test_parcels: bool
    seed: int
    trees: int


def features(example: Mapping[str, Any], names: Sequence[str], origin: str) -> np.ndarray:
    """(H*W, F) float32 monthly medians of one tile."""
    zero = day_zero(origin, [example[name]["dates"] for name in names])
    columns = []
    for name in names:
        series = example[name]
        stored = series["values"][:]
        values = stored.astype(np.float32)
        values = np.where(measured(stored), values, np.nan)
        values = values[series["valid"]]
        months = np.clip(((series["dates"][series["valid"]] - zero) / MONTH).astype(int), 0, MONTHS - 1)
        overall = np.nanmedian(values, 0)
        for month in range(MONTHS):
            chosen = values[months == month]
            median = np.nanmedian(chosen, 0) if len(chosen) else overall
            columns.append(np.where(np.isfinite(median), median, overall).reshape(-1, values.shape[-1]))
    return np.nan_to_num(np.concatenate(columns, 1)).astype(np.float32)


def run(records: Records, split: Split, config: ForestConfig) -> SegmentationScores:
    """Scores of a forest that is trained on split.train and tested on split.test."""
    void = records.parcels(split.test) if config.void_test_parcels else np.zeros(0, np.int64)
    rows, labels = [], []
    for example in records.source(split.train):
        keep = (example["labels"] != records.ignore) & ~np.isin(example["parcels"], void)
        rows.append(features(example, config.modalities, config.origin)[keep.reshape(-1)])
        labels.append(example["labels"][keep])
    forest = RandomForestClassifier(
        config.trees, n_jobs=-1, random_state=config.seed, min_samples_leaf=2, class_weight="balanced_subsample"
    )
    forest.fit(np.concatenate(rows), np.concatenate(labels))
    scores = SegmentationScores(records.classes, records.unscored)
    for example in records.source(split.test):
        predicted = forest.predict(features(example, config.modalities, config.origin)).reshape(1, *example["labels"].shape)
        counts = confusion_counts(
            predicted, example["labels"][None], np.ones(1), classes=len(records.classes), ignore=records.ignore
        )
        scores.add(counts)
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line of JSON per seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", required=True, help="folder of prepared records (runs/cache/...)")
    parser.add_argument("--protocol", default="auto")
    parser.add_argument("--folds", default="1", help="comma-separated; counts of all folds are added")
    parser.add_argument("--modalities", default="", help="comma-separated series; default: all")
    parser.add_argument("--origin", default="2018-09-01")
    parser.add_argument("--void_test_parcels", action="store_true")
    parser.add_argument("--min_pixels", type=int, default=0, help="classes with fewer labelled pixels are left out of mIoU")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--trees", type=int, default=200)
    options = parser.parse_args(arguments)
    records = Records(options.records)
    series = [name for name, stored in records.modalities.items() if stored.kind == "series"]
    names = tuple(options.modalities.split(",") if options.modalities else series)
    for seed in map(int, options.seeds.split(",")):
        scores = SegmentationScores(records.classes, records.unscored)
        for fold in options.folds.split(","):
            split = choose_split(options.protocol, records.parts, int(fold))
            config = ForestConfig(names, options.origin, options.void_test_parcels, seed, options.trees)
            scores.add(run(records, split, config).confusion)
        found = {"modalities": names, "folds": options.folds, "seed": seed, "simulated": records.info.simulated}
        print(json.dumps(found | scores.compute(options.min_pixels)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
