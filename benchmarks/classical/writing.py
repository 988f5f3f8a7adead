"""The results of a classifier in the files of a run, so that the reports of runs read them."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.classical.folds import Fitted, Fold, count
from omnisat_jax.metrics.segmentation import SegmentationScores
from omnisat_jax.metrics.subsets import PerSubset
from omnisat_jax.records.reader import Records
from omnisat_jax.report import results as reporting
from omnisat_jax.report.contributions import PARCELS, TILES, ParcelCollector, TileCollector


def results_of(records: Records, fold: Fold, fitted: Fitted, number: int) -> tuple[dict[str, Any], TileCollector, ParcelCollector]:
    """Tests a classifier: the content of results.json, and what each tile and parcel contributes.

    Args:
      records: the data.
      fold: that is tested.
      fitted: the classifier.
      number: of the fold.
    """
    parts = fold.split.test
    scores = PerSubset(lambda: SegmentationScores(records.classes, records.unscored), lambda result: [(result["tiles"].sum((0, 1)),)], records.tile_ids)
    tiles, parcels = TileCollector(records.tile_ids), ParcelCollector(records, parts, 1)
    for tile in fold.test(fitted):
        result = {
            "tiles": count(records, tile)[None, None], "predicted": tile.predicted[None, None], "has_any": np.array([[tile.has_any]]),
            "has_all": np.array([[tile.has_all]]), "finite": np.ones((1, 1), bool), "weight": np.ones(1), "tile_index": np.array([tile.tile_index]),
        }  # fmt: skip
        for add in (scores.add, tiles, parcels):
            add(result)
    training = [reporting.training_labels(records, fold.split.train, fold.config.label_share, fold.seed, fold.void)]
    names = [list(fold.config.features.modalities)]
    entries = reporting.entries(names, scores.compute(), scores, parcels.confusions(), training)
    results = {"name": f"{fold.config.model} on {'+'.join(names[0])}", "task": "segment", "protocol": _protocol(records, fold, fitted, number)}
    return results | {"training": training, "subsets": entries}, tiles, parcels


def _protocol(records: Records, fold: Fold, fitted: Fitted, number: int) -> dict[str, Any]:
    """What `report.results.protocol` says of a run; there is neither a checkpoint nor pre-training."""
    config, features = fold.config, fold.config.features
    what = f"{config.trees} extra trees" if config.model == "extra_trees" else "logistic regression"
    return reporting.data_protocol(records, fold.split, number, config.void_test_parcels) | {
        "statistics": "all", "threshold": 0.5, "dates": {}, "seed": fold.seed, "checkpoint": 0, "checkpoint_is": "none", "checkpoint_checksum": None,
        "pretrain_steps": 0, "pretrain_from": "", "label_share": config.label_share, "modalities": list(features.modalities), "missing_modalities": [],
        "probe": "none",
        "method": f"Without a network: {what} on features of each pixel (benchmarks/classical), every {features.days} days, radar "
        f"over {features.window} x {features.window} pixels",
        "fitted": {"pixels": fitted.pixels, "filled": dict(fitted.filled), "C": fitted.strength, "chosen_on": list(fitted.chosen_on)},
    }  # fmt: skip


def write(folder: pathlib.Path, records: Records, results: Mapping[str, Any], tiles: TileCollector, parcels: ParcelCollector) -> None:
    """Writes results.json, results.md, confusion.png, tiles.npz and parcels.npz.

    Args:
      folder: is made; files of an earlier call are replaced.
      records: the data.
      results, tiles, parcels: of `results_of`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tiles.save(folder / TILES)
    parcels.save(folder / PARCELS)
    reporting.write_results(folder, dict(results), None, records)
