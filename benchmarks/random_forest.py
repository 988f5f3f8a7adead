"""The baseline to beat: a random forest on monthly medians of each pixel (scikit-learn), under a run's own protocol.

    python -m benchmarks.random_forest --records=DIR [--protocol=auto] [--folds=1] [--modalities=s2,s1a] [--void_test_parcels]

Features of a pixel: the median of each band over the usable dates of each calendar month since day 0; months without one take the
pixel's overall median. Series only: a forest of pixels sees no texture. Scores: those of omnisat_jax.metrics.
"""

import argparse
import json
import sys

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from omnisat_jax.cli.command import run_command
from omnisat_jax.input.transforms import day_zero
from omnisat_jax.metrics.segmentation import SegmentationScores, confusion_counts
from omnisat_jax.missing import NO_DATA_INT16
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import choose_split

MONTH = 30.44


def features(example, names, origin):
    """(H*W, F) float32 monthly medians of one tile."""
    zero = day_zero(origin, [example[name]["dates"] for name in names])
    columns = []
    for name in names:
        stored = example[name]
        held = stored["values"][:]
        values = held.astype(np.float32)
        values = np.where(held == NO_DATA_INT16, np.nan, values) if held.dtype == np.int16 else values
        values = values[stored["valid"]]
        months = np.clip(((stored["dates"][stored["valid"]] - zero) / MONTH).astype(int), 0, 14)
        whole = np.nanmedian(values, 0)
        for month in range(15):
            chosen = values[months == month]
            median = np.nanmedian(chosen, 0) if len(chosen) else whole
            columns.append(np.where(np.isfinite(median), median, whole).reshape(-1, values.shape[-1]))
    return np.nan_to_num(np.concatenate(columns, 1)).astype(np.float32)


def run(records, split, names, *, origin, void_test_parcels, seed, trees=200):
    """Scores of a forest trained on split.train and tested on split.test."""
    void = records.parcels(split.test) if void_test_parcels else np.zeros(0, np.int64)
    rows, labels = [], []
    for example in records.source(split.train):
        keep = (example["labels"] != records.ignore) & ~np.isin(example["parcels"], void)
        rows.append(features(example, names, origin)[keep.reshape(-1)])
        labels.append(example["labels"][keep])
    forest = RandomForestClassifier(trees, n_jobs=-1, random_state=seed, min_samples_leaf=2, class_weight="balanced_subsample")
    forest.fit(np.concatenate(rows), np.concatenate(labels))
    scores = SegmentationScores(records.classes, records.unscored)
    for example in records.source(split.test):
        side = example["labels"].shape[0]
        predicted = forest.predict(features(example, names, origin)).reshape(1, side, side)
        counts = confusion_counts(
            predicted, example["labels"][None], np.ones(1), classes=len(records.classes), ignore=records.ignore
        )
        scores.add(counts)
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", required=True, help="folder of prepared records (runs/cache/...)")
    parser.add_argument("--protocol", default="auto")
    parser.add_argument("--folds", default="1", help="comma-separated; counts of all folds are added")
    parser.add_argument("--modalities", default="", help="comma-separated series; default all")
    parser.add_argument("--origin", default="2018-09-01")
    parser.add_argument("--void_test_parcels", action="store_true")
    parser.add_argument("--min_pixels", type=int, default=0, help="classes with fewer labelled pixels are left out of mIoU")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    options = parser.parse_args()
    records = Records(options.records)
    series = [name for name, stored in records.modalities.items() if stored.kind == "series"]
    names = options.modalities.split(",") if options.modalities else series
    for seed in options.seeds.split(","):
        scores = SegmentationScores(records.classes, records.unscored)
        for fold in options.folds.split(","):
            split = choose_split(options.protocol, records.parts, int(fold))
            found = run(records, split, names, origin=options.origin, void_test_parcels=options.void_test_parcels, seed=int(seed))
            scores.add(found.confusion)
        about = {"modalities": names, "folds": options.folds, "seed": int(seed), "simulated": records.info.simulated}
        print(json.dumps(about | scores.compute(options.min_pixels)), flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
