"""The outcome of an evaluation in every form: results.json, results.md and pictures.

Letters: K classes.
"""

import dataclasses
import math
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.files import atomic
from omnisat_jax.input.spec import InputSpec
from omnisat_jax.metrics.parcels import ParcelCounts, parcel_confusion, parcel_scores
from omnisat_jax.metrics.segmentation import learnable_classes, learnable_scores
from omnisat_jax.metrics.subsets import PerSubset
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split
from omnisat_jax.report import html, panels, pictures, tables
from omnisat_jax.report.panels import PanelCollector
from omnisat_jax.report.run_files import Results
from omnisat_jax.report.saving import save_figure
from omnisat_jax.types import StrPath

__all__ = ["PanelCollector", "entries", "plain", "protocol", "restore_reports", "training_labels", "write_results"]

PICTURE = "panels.png"  # inputs, labels and predictions of test tiles, in the folder of a run


def entries(
    subsets: Sequence[Sequence[str]],
    values: Sequence[Mapping[str, Any]],
    scores: PerSubset,
    parcels: Sequence[np.ndarray] = (),
    training: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """The entries of results.json: modalities, scores and numbers of tiles of each subset.

    "tiles" hold at least one modality of the subset and are scored; "tiles_with_all" of them hold every one. Scores of no tile are None.
    Folds are joined by adding counts, never by averaging scores, so dense predictions keep the confusion counts of every subset.

    Args:
      subsets: names of modalities.
      values: scores of each subset.
      scores: the score object after the evaluation.
      parcels: confusion (K,K+1) of the parcels of each subset; () for none.
      training: see `training_labels`; () without dense labels.
    """
    rows = []
    for subset, value, tiles, whole in zip(subsets, values, scores.tiles.tolist(), scores.tiles_with_all.tolist(), strict=True):
        rows.append({"modalities": list(subset), "scores": plain(value), "tiles": tiles, "tiles_with_all": whole})
    for row, of_subset in zip(rows, scores.scores, strict=True):
        if hasattr(of_subset, "confusion"):
            row["confusion"] = of_subset.confusion.tolist()
            if of_subset.calibration is not None:
                row["calibration"] = of_subset.calibration.tolist()
    for row, confusion in zip(rows, parcels):
        row["parcels"] = parcel_entry(confusion, scores.scores[0].classes, scores.scores[0].unscored)
    for row in rows if training else ():
        row["learnable"] = learnable_classes([np.asarray(row["confusion"])], training, scores.scores[0].classes)
        row["scores"] |= plain(learnable_scores(row["scores"]["iou"], row["learnable"], scores.scores[0].unscored))
    return rows


def parcel_entry(confusion: np.ndarray, classes: Sequence[str], unscored: Collection[str]) -> dict[str, Any]:
    """What results.json keeps of the parcels of a subset: scores and counts (K,K+1), which add up over folds."""
    return {"scores": plain(parcel_scores(confusion, classes, unscored)), "confusion": confusion.tolist()}


def training_labels(records: Records, parts: Sequence[str], share: float, seed: int, void: Sequence[str]) -> dict[str, list[int]]:
    """Counts what a run with dense labels learns each class from, after everything void is left out.

    Args:
      records: the data.
      parts: that train.
      share: of their tiles that has labels.
      seed: of the run, which chooses the share.
      void: parts whose parcels are void in training.

    Returns:
      {"pixels": K numbers, "parcels": K numbers of parcels by the class of most of their pixels; all 0 for data without parcels}.
    """
    counts, gone = ParcelCounts(len(records.classes), records.ignore), records.parcels(void)
    source = records.source(parts, share, seed)
    for position in range(len(source)):
        tile = source[position]
        labels = np.where(np.isin(tile["parcels"], gone), records.ignore, tile["labels"].astype(int)) if len(gone) else tile["labels"]
        counts.add(tile["parcels"], labels, labels, int(tile["tile_index"]))
    found = counts.compute()
    pixels = np.bincount(found.label, found.pixels, len(records.classes)).astype(int)
    return {"pixels": pixels.tolist(), "parcels": np.diag(parcel_confusion(found, len(records.classes))).tolist()}


def plain(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Scores as JSON can hold them: None in place of nan."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in scores.items()}


def write_results(workdir: StrPath, results: Results, collector: PanelCollector | None, records: Records) -> None:
    """Writes results.json, results.md and the pictures of a run.

    Args:
      workdir: folder of the run.
      results: what becomes results.json: {"name", "task", "protocol", "subsets": see `entries`, and of a probe "floor": the same of
        random weights}.
      collector: of the tiles to draw; None for no pictures of tiles.
      records: the data of the evaluation.
    """
    workdir = pathlib.Path(workdir)
    facts, subsets = results["protocol"], [entry["modalities"] for entry in results["subsets"]]
    kind = "simulated" if facts["simulated"] else "real"
    title = f"{results['name']} ({kind} data, test {' '.join(facts['test'])})"
    if results["task"] == "segment":
        figure = pictures.confusion_figure(results["subsets"][0]["confusion"], facts["classes"], title)
        save_figure(figure, workdir / "confusion.png", dpi=110)
        plt.close(figure)
    if collector and collector.panels:
        bands = {name: records.modalities[name].bands for name in subsets[0]}
        shown = panels.shown_subsets(subsets, records.modalities)
        legend = panels.ClassLegend(facts["classes"], records.colours, records.ignore)
        panels.save_panels(workdir / PICTURE, collector.panels, bands=bands, shown=shown, classes=legend, title=title)
        if results["task"] == "segment":
            collector.save(workdir / "panels.npz", bands)
    atomic.write_json(workdir / "results.json", results)
    atomic.write_text(workdir / "results.md", tables.markdown(results))


def restore_reports(workdir: StrPath, results: Results) -> None:
    """Writes results.md and report.html of a finished run again if they are missing."""
    workdir = pathlib.Path(workdir)
    if not (workdir / "results.md").exists():
        atomic.write_text(workdir / "results.md", tables.markdown(results))
    if not (workdir / "report.html").exists():
        html.write(workdir)


def protocol(
    config: schema.ExperimentConfig, records: Records, split: Split, input_spec: InputSpec, checkpoint: Mapping[str, Any]
) -> dict[str, Any]:
    """The protocol in results.json: everything that is needed to interpret a score.

    Args:
      config: of the run.
      records: the data.
      split: which parts train, validate and test.
      input_spec: modalities and classes.
      checkpoint: which one was scored: "checkpoint" (its step), "checkpoint_is" ("best" in validation, "last", or "random" weights) and
        "checkpoint_checksum".
    """
    return {
        **data_protocol(records, split, config.data.fold, config.data.void_test_parcels),
        "classes": list(input_spec.classes),
        "statistics": config.data.statistics,
        "threshold": config.eval.threshold,
        "dates": {m.name: m.dates for m in input_spec.evaluation.modalities if m.dates},
        "seed": config.seed,
        **checkpoint,
        "pretrain_steps": config.pretrain.steps,
        "pretrain_from": config.pretrain_from,
        "label_share": config.label_share,
        "modalities": [spec.name for spec in input_spec.specs],
        "missing_modalities": list(input_spec.dropped),
        "probe": config.eval.probe,
    }


def data_protocol(records: Records, split: Split, fold: int, void_test_parcels: bool) -> dict[str, Any]:
    """The part of the protocol that does not depend on a model.

    Args:
      records: the data.
      split: which parts train, validate and test.
      fold: number of the fold.
      void_test_parcels: whether training pixels of parcels of the test tiles are void.
    """
    return {
        "dataset": records.info.dataset,
        "simulated": records.info.simulated,
        "fingerprint": records.fingerprint,
        **dataclasses.asdict(split),
        "fold": fold,
        "train_tiles": len(records.labelled_tiles(split.train)),
        "test_tiles": len(records.labelled_tiles(split.test)),
        "unlabelled_train_tiles": len(records.tiles(split.train)) - len(records.labelled_tiles(split.train)),
        "broken": {"on_bad": records.info.made_with.on_bad, "tiles": len({entry["tile"] for entry in records.bad})},
        "void_test_parcels": void_test_parcels,
        "classes": list(records.classes),
        "colours": list(records.colours),
        "unscored": list(records.unscored),
    }
