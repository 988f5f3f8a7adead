"""The outcome of an evaluation in every form: results.json, results.md, tiles.npz and pictures.

Letters: N tiles, S subsets of modalities, B batch, K classes.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.files import atomic
from omnisat_jax.input.spec import InputSpec
from omnisat_jax.metrics.subsets import PerSubset
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split
from omnisat_jax.report import html, panels, pictures, tables
from omnisat_jax.report.panels import PanelCollector
from omnisat_jax.report.run_files import Results
from omnisat_jax.types import StrPath

__all__ = ["PanelCollector", "TileCollector", "entries", "plain", "protocol", "restore_reports", "write_results"]


class TileCollector:
    """Keeps what each test tile contributes to the scores, so that a study can resample tiles."""

    def __init__(self, tile_names: Sequence[str]):
        """tile_names: in the order of `tile_index`."""
        self._tile_names = tile_names
        self._kept: dict[str, list] = {"tile": [], "some": [], "counts": [], "predicted": [], "labels": []}

    def __call__(self, result: Mapping[str, np.ndarray]) -> None:
        """Keeps the tiles of a batch; `result` is what `evaluate` returned for it."""
        rows = np.flatnonzero(result["weight"] > 0)
        self._kept["tile"] += [self._tile_names[index] for index in result["tile_index"][rows]]
        self._kept["some"].append(result["has_any"][:, rows].swapaxes(0, 1))
        if "tiles" in result:
            self._kept["counts"].append(result["tiles"][:, rows].swapaxes(0, 1))
        else:
            self._kept["predicted"].append(result["predicted"][:, rows].swapaxes(0, 1))
            self._kept["labels"].append(result["labels"][rows])

    def save(self, path: StrPath) -> None:
        """Writes a .npz file with the subsets in the order of results.json.

        Its arrays are "tile" (N,), "some" (N,S), whether a tile counts for a subset, and "counts" (N,S,K,K+1) of dense labels, or
        "predicted" (N,S,K) and "labels" (N,K) of tile labels.
        """
        arrays = {name: np.concatenate(values) for name, values in self._kept.items() if values and name != "tile"}
        np.savez_compressed(path, tile=np.array(self._kept["tile"]), **arrays)  # pyright: ignore[reportArgumentType]


def entries(subsets: Sequence[Sequence[str]], values: Sequence[Mapping[str, Any]], scores: PerSubset) -> list[dict[str, Any]]:
    """The entries of results.json: modalities, scores and numbers of tiles of each subset.

    "tiles" hold at least one modality of the subset and are scored; "tiles_with_all" of them hold every one. Scores of no tile are None.
    Folds are joined by adding counts, never by averaging scores, so dense predictions keep the confusion counts of every subset.

    Args:
      subsets: names of modalities.
      values: scores of each subset.
      scores: the score object after the evaluation.
    """
    rows = []
    for subset, value, tiles, whole in zip(subsets, values, scores.tiles.tolist(), scores.tiles_with_all.tolist(), strict=True):
        rows.append({"modalities": list(subset), "scores": plain(value), "tiles": tiles, "tiles_with_all": whole})
    for row, of_subset in zip(rows, scores.scores, strict=True):
        if hasattr(of_subset, "confusion"):
            row["confusion"] = of_subset.confusion.tolist()
            if of_subset.calibration is not None:
                row["calibration"] = of_subset.calibration.tolist()
    return rows


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
        figure.savefig(workdir / "confusion.png", dpi=110)
        plt.close(figure)
    if collector and collector.panels:
        bands = {name: records.modalities[name].bands for name in subsets[0]}
        shown = panels.shown_subsets(subsets, records.modalities)
        legend = panels.ClassLegend(facts["classes"], records.colours, records.ignore)
        panels.save_panels(workdir / "panels.png", collector.panels, bands=bands, shown=shown, classes=legend, title=title)
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
        "dataset": records.info.dataset,
        "simulated": records.info.simulated,
        "fingerprint": records.fingerprint,
        **dataclasses.asdict(split),
        "fold": config.data.fold,
        "train_tiles": len(records.tiles(split.train)),
        "test_tiles": len(records.tiles(split.test)),
        "broken": {"on_bad": records.info.made_with.on_bad, "tiles": len({entry["tile"] for entry in records.bad})},
        "void_test_parcels": config.data.void_test_parcels,
        "classes": list(input_spec.classes),
        "colours": list(records.colours),
        "unscored": list(records.unscored),
        "statistics": config.data.statistics,
        "threshold": config.eval.threshold,
        "dates": {m.name: m.dates for m in input_spec.evaluation.modalities if m.dates},
        "seed": config.seed,
        **checkpoint,
        "pretrain_steps": config.pretrain.steps,
        "pretrain_from": config.pretrain_from,
        "label_share": config.data.label_share,
        "modalities": [spec.name for spec in input_spec.specs],
        "missing_modalities": list(input_spec.dropped),
        "probe": config.eval.probe,
    }
