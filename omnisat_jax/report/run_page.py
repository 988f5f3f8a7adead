"""The page of one run: scores of every subset of modalities, curves, predictions, and where the time went."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnisat_jax.errors import DataError
from omnisat_jax.report import charts, outcome, pictures, representation, tables
from omnisat_jax.report.page import Chart, Page, Panels, PanelTile, Table
from omnisat_jax.report.run_files import REPORT_PROTOCOL, Results, read_arrays, read_results, read_run_info
from omnisat_jax.train.writers import read_rows

WIDEST = 640  # px of an input image in the report
_LEARNED = (
    Chart("What pre-training learned", representation.EMBEDDING, "Similar tokens have similar colours. Pre-training never saw the labels."),
    Chart("Attention to dates", representation.ATTENTION, "Attention of the series encoders after pre-training."),
)


def read_page(folder: pathlib.Path) -> Page:
    """Reads the files of a finished run.

    Raises:
      DataError: a file is missing or damaged.
    """
    results, info = read_results(folder, REPORT_PROTOCOL), read_run_info(folder)
    protocol = results["protocol"]
    metrics, unreadable = read_rows(folder / "metrics.jsonl")
    columns = tables.columns(results)
    if "ece" in results["subsets"][0]["scores"]:
        columns.append(("ece", "ECE"))
    seconds = {stage: _total(starts) for stage, starts in info.get("seconds", {}).items()}
    found = _curves(metrics) + _learned(folder) + _score_charts(results)
    if seconds:
        found.append(Chart("Time per stage", charts.time_spent(seconds), "Sum over all starts of the run."))
    rows = [[name, *cells] for name, cells in tables.rows(results, columns)]
    note = [f"Lines of metrics.jsonl that cannot be read: {unreadable}."] if unreadable else []
    return Page(
        title=results["name"],
        simulated=protocol["simulated"],
        summary=outcome.sentences(folder, results) + _remarks(results),
        protocol=tables.protocol_lines(results) + note,
        tables=[Table("Scores by modalities", ["modalities", *(title for _, title in columns), "tiles"], rows)],
        charts=found,
        panels=_panels(folder, protocol),
        command=f"python {info['command']}" if info.get("command") else "",
        environment=_environment(info),
        configuration=info.get("config", {}),
    )


def _curves(metrics):
    drawn = {stage: charts.curves(metrics, stage) for stage in ("pretrain", "finetune")}
    return [Chart(f"{stage}: training loss and validation score", image) for stage, image in drawn.items() if image]


def _learned(folder):
    """The pictures that pre-training left."""
    files = [(chart, folder / "pretrain" / chart.image) for chart in _LEARNED]
    return [Chart(chart.title, charts.as_file(path), chart.note) for chart, path in files if path.is_file()]


def _score_charts(results):
    """Bars of subsets and classes, calibration and, of dense predictions, confusion."""
    protocol, dense, first = results["protocol"], results["task"] == "segment", results["subsets"][0]
    key, title = tables.COLUMNS[results["task"]][0]
    subsets = {"+".join(entry["modalities"]): entry["scores"][key] for entry in results["subsets"]}
    bars = charts.bars(subsets, f"{title} in %", missing=tables.NONE)
    colours = pictures.class_colours(len(protocol["classes"]), protocol["colours"])[:-1] if dense else None
    classes = charts.bars(first["scores"]["iou" if dense else "f1"], "IoU in %" if dense else "F1 in %", colours=colours)
    note = f"{title} of the same model when only these modalities are present; {tables.NONE}: no test tile holds any of them."
    found = [Chart("Scores by subset of modalities", bars, note), Chart("Scores by class", classes, f"With {' + '.join(first['modalities'])}.")]
    if "confusion" in first:
        image = charts.as_svg(pictures.confusion_figure(first["confusion"], protocol["classes"], ""))
        found.append(Chart("Confusion matrix", image, "Rows are labels, in % of their pixels."))
    return found + _calibration(results)


def _calibration(results):
    """The reliability diagram with all modalities, before and after the temperature if there is one."""
    first, scaling, dense = results["subsets"][0], results.get("temperature_scaling"), results["task"] == "segment"
    if scaling:
        image = charts.reliability(scaling["before"]["counts"], scaling["after"]["counts"], dense=dense)
        return [Chart("Calibration", image, " ".join(tables.calibration_lines(results)))]
    if "calibration" in first:
        error = f"Expected calibration error: {tables.shown(first['scores']['ece'])} %."
        return [Chart("Calibration", charts.reliability(first["calibration"]), error)]
    return []


def _total(starts):
    """{cause: seconds} over all starts of a stage."""
    total: dict[str, float] = {}
    for seconds in starts:
        for cause, value in seconds.items():
            if cause != "total":
                total[cause] = total.get(cause, 0) + value
    return total


def _remarks(results: Results) -> list[str]:
    """Which modality the score with all of them needs most."""
    key = tables.COLUMNS[results["task"]][0][0]
    scores = {"+".join(entry["modalities"]): entry["scores"][key] for entry in results["subsets"]}
    known = {subset: score for subset, score in scores.items() if score is not None and not math.isnan(score)}
    whole, names = next(iter(scores)), results["subsets"][0]["modalities"]
    if whole not in known:
        return []
    costs = {gone: known[whole] - known[rest] for gone in names if (rest := "+".join(n for n in names if n != gone)) in known}
    if len(names) < 2 or not costs:
        return []
    worst = max(costs, key=lambda gone: costs[gone])
    if costs[worst] > 0:
        return [f"The score drops most without {worst}: by {costs[worst]:.1f} points."]
    return ["The score does not drop without any one of the modalities."]


def _panels(folder: pathlib.Path, protocol: Mapping[str, Any]) -> Panels | None:
    """Test tiles with their inputs, labels and the prediction from every subset."""
    path = folder / "panels.npz"
    if not path.is_file():
        return None
    what, classes, colours = "the pictures of test tiles", protocol["classes"], protocol["colours"]
    arrays = read_arrays(path, what)
    if gone := {"subsets", "tile", "labels", "predictions"} - set(arrays):
        raise DataError(tile="-", path=path, expected=what, found=f"no array {min(gone)!r}", advice="Evaluate the run again.")
    subsets, tiles, seen = arrays["subsets"].tolist(), [], set()
    for index, tile in enumerate(arrays["tile"].tolist()):
        inputs = {key.split("/", 2)[2]: _smaller(value) for key, value in arrays.items() if key.startswith(f"input/{index}/")}
        maps = {"label": arrays["labels"][index]} | dict(zip(subsets, arrays["predictions"][index]))
        seen |= {int(value) for image in maps.values() for value in np.unique(np.minimum(image, len(classes)))}
        tiles.append(
            PanelTile(
                name=tile,
                inputs={name: charts.as_png(image) for name, image in inputs.items()},
                maps={name: charts.class_map(_smaller(image), len(classes), colours) for name, image in maps.items()},
            )
        )
    return Panels(tiles=tiles, choices=["label", *subsets], start=subsets[0], legend=_legend(sorted(seen), classes, colours))


def _legend(seen: Sequence[int], classes, colours):
    names, palette = [*classes, "void"], pictures.class_colours(len(classes), colours)
    return [(names[i], "#" + "".join(f"{round(255 * part):02x}" for part in palette[i])) for i in seen]


def _smaller(image):
    step = -(-image.shape[0] // WIDEST)
    return image[::step, ::step]


def _environment(info):
    """Versions and hardware, from run.json."""
    if not info:
        return {}
    device, git = info["device"], info["git"]
    revision = f"{git['revision'][:12]}{' with local changes' if git['dirty'] else ''}" if git else "unknown"
    return info["versions"] | {
        "device": f"{device['count']} x {device['kind']} ({device['platform']})",
        "CPU cores": info.get("cores", "unknown"),
        "processes": info["processes"],
        "mesh": " x ".join(f"{axis} {size}" for axis, size in info["mesh"].items()),
        "precision": info["precision"],
        "code revision": revision,
        "data": f"{info['data']['source']} ({info['data']['fingerprint']})",
    }
