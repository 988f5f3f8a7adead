"""The outcome of an evaluation, written to the run's folder in every form."""

import dataclasses
import math
import pathlib

import matplotlib.pyplot as plt
import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.files import atomic
from omnisat_jax.input.spec import InputSpec
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split
from omnisat_jax.report import html, pictures, tables


class PanelCollector:
    """Keeps the first `limit` real test samples that an evaluation passes by, with the predictions of two subsets."""

    def __init__(self, limit: int, subsets, tile_names, rows):
        """rows: those of the global batch that the host batches hold."""
        self._limit, self._tile_names, self._rows, self.samples = limit, tile_names, rows, []
        self._subsets = ["+".join(subset) for subset in subsets]
        # All modalities, and the single one a user is most likely to have.
        single = next((i for i, s in enumerate(subsets) if s == ("s2",)), len(subsets) - 1)
        self._shown = {f"all: {'+'.join(subsets[0])}": 0}
        if single:
            self._shown[f"only {'+'.join(subsets[single])}"] = single

    def __call__(self, host, result):
        for index in np.flatnonzero(host["weight"] > 0):
            if len(self.samples) >= self._limit:
                return
            row = self._rows[index]
            predicted = [_unless_from_nothing(result["predicted"][s][row], result["has_any"][s][row]) for s in range(len(self._subsets))]
            self.samples.append(
                {
                    "tile": self._tile_names[host["tile_index"][index]],
                    "batch": host,
                    "index": index,
                    "labels": host["labels"][index],
                    "predictions": {name: predicted[s] for name, s in self._shown.items() if predicted[s].size},
                    "all": dict(zip(self._subsets, predicted, strict=True)),
                }
            )

    def save(self, path, bands):
        """Writes what the report shows of dense predictions: tile (N,), labels (N,H,W), predictions (N,S,H,W), and inputs as pictures.

        Args:
          bands: {modality: names of its bands}, in order.
        """
        arrays = {
            "tile": np.array([sample["tile"] for sample in self.samples]),
            "subsets": np.array(self._subsets),
            "labels": np.stack([sample["labels"] for sample in self.samples]),
            "predictions": np.stack([np.stack(list(sample["all"].values())) for sample in self.samples]),
        }
        for index, sample in enumerate(self.samples):
            for name, names in bands.items():
                entry = sample["batch"][name]
                shown = pictures.render(entry, sample["index"], names) if entry["values"].ndim > 2 else None
                if shown is not None:
                    arrays[f"input/{index}/{name}"] = (255 * shown[0]).astype(np.uint8)
        np.savez_compressed(path, **arrays)


def _unless_from_nothing(predicted, some):
    """A prediction (H,W) or (K,); of a tile that holds nothing of the subset it is void everywhere, or empty."""
    if some:
        return predicted
    return np.full_like(predicted, 255) if predicted.ndim == 2 else predicted[:0]


class TileCollector:
    """Keeps what every test tile adds to the scores, so that a study can resample tiles."""

    def __init__(self, tile_names):
        self._tile_names, self._kept = tile_names, {"tile": [], "some": [], "counts": [], "predicted": [], "labels": []}

    def __call__(self, result):
        rows = np.flatnonzero(result["weight"] > 0)
        self._kept["tile"] += [self._tile_names[index] for index in result["tile_index"][rows]]
        self._kept["some"].append(result["has_any"][:, rows].swapaxes(0, 1))
        if "tiles" in result:
            self._kept["counts"].append(result["tiles"][:, rows].swapaxes(0, 1))
        else:
            self._kept["predicted"].append(result["predicted"][:, rows].swapaxes(0, 1))
            self._kept["labels"].append(result["labels"][rows])

    def save(self, path):
        """Writes tile (N,), some (N,S), which tiles count for which subset, and counts (N,S,K,K+1), or predicted (N,S,K) and labels (N,K).

        Subsets are as in results.json.
        """
        arrays = {name: np.concatenate(values) for name, values in self._kept.items() if values and name != "tile"}
        np.savez_compressed(path, tile=np.array(self._kept["tile"]), **arrays)


def entries(subsets, values, scores) -> list[dict]:
    """One entry per subset: its modalities, scores, how many tiles they are of and, of dense labels, confusion counts.

    "tiles" hold at least one modality of the subset and are scored; "tiles_with_all" of them hold every one. Where no tile is, scores are None.
    Folds are joined by adding counts, never by averaging scores, so counts are kept for every subset.

    Args:
      subsets: names of modalities.
      values: scores of each.
      scores: the score object after the evaluation, see `metrics.subsets.PerSubset`.
    """
    rows = []
    for subset, value, tiles, whole in zip(subsets, values, scores.tiles, scores.tiles_with_all, strict=True):
        row = {"modalities": list(subset), "scores": plain(value), "tiles": int(tiles), "tiles_with_all": int(whole)}
        rows.append(row)
    for row, part in zip(rows, scores.scores, strict=True):
        if hasattr(part, "confusion"):
            row["confusion"] = part.confusion.tolist()
            if part.calibration is not None:
                row["calibration"] = part.calibration.tolist()
    return rows


def plain(scores: dict) -> dict:
    """Scores as JSON knows them: None for what is not known."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in scores.items()}


def write_results(workdir, results: dict, panels: PanelCollector | None, records: Records):
    """Writes results.json, results.md and the pictures.

    Args:
      results: {"name", "task", "protocol", "subsets": see `entries`, maybe "floor": the same of random weights}.
      panels: watched the evaluation; None for no pictures of tiles.
      records: what was evaluated on.
    """
    workdir = pathlib.Path(workdir)
    about = results["protocol"]
    kind = "simulated" if about["simulated"] else "real"
    what = f"{results['name']} ({kind} data, test {' '.join(about['test'])})"
    if results["task"] == "segment":
        figure = pictures.confusion_figure(results["subsets"][0]["confusion"], about["classes"], what)
        figure.savefig(workdir / "confusion.png", dpi=110)
        plt.close(figure)
    if panels and panels.samples:
        bands = {name: records.modalities[name].bands for name in results["subsets"][0]["modalities"]}
        pictures.save_panels(workdir / "panels.png", panels.samples, bands, about["classes"], records.ignore, what, records.colours)
        if results["task"] == "segment":
            panels.save(workdir / "panels.npz", bands)
    atomic.write_json(workdir / "results.json", results)
    atomic.write_text(workdir / "results.md", tables.markdown(results))


def restore_reports(workdir, results: dict) -> None:
    """Writes results.md and report.html of a finished run again if they are gone."""
    workdir = pathlib.Path(workdir)
    if not (workdir / "results.md").exists():
        atomic.write_text(workdir / "results.md", tables.markdown(results))
    if not (workdir / "report.html").exists():
        html.write(workdir)


def protocol(config: schema.ExperimentConfig, records: Records, split: Split, input_spec: InputSpec, checkpoint: dict) -> dict:
    """All that a score must be read with.

    Args:
      checkpoint: that was scored: "checkpoint" (its step), "checkpoint_is" ("best" of the validation, "last", or "random" weights) and
        "checkpoint_checksum".
    """
    return {
        "dataset": records.about["dataset"],
        "simulated": records.about["simulated"],
        "fingerprint": records.fingerprint,
        **dataclasses.asdict(split),
        "fold": config.data.fold,
        "train_tiles": len(records.tiles(split.train)),
        "test_tiles": len(records.tiles(split.test)),
        "broken": {"on_bad": records.about["made_with"]["on_bad"], "tiles": len({entry["tile"] for entry in records.bad})},
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
