"""The page of one run: scores of every subset of modalities, curves, predictions, and where the time went."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnisat_jax.errors import DataError
from omnisat_jax.report import charts, outcome, pictures, representation, tables
from omnisat_jax.report.page import Chart, Fact, Page, Panels, PanelTile, Picture, Table
from omnisat_jax.report.run_files import REPORT_PROTOCOL, Results, read_arrays, read_results, read_run_info
from omnisat_jax.train.writers import read_rows

WIDEST = 640  # px of an input image in the report
_LEARNED = (
    Chart("What pre-training learned", representation.EMBEDDING, "Similar tokens have similar colors. Pre-training never saw the labels."),
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
        spent = ", ".join(f"{stage} {sum(parts.values()):.0f}" for stage, parts in seconds.items())
        found.append(Chart("Time per stage", charts.time_spent(seconds), "Sum over all starts of the run.", f"Bars of seconds by cause: {spent}."))
    rows = [[name, *cells] for name, cells in tables.rows(results, columns)]
    panels, lines = _panels(folder, protocol), tables.protocol_lines(results)
    note = [f"Lines of metrics.jsonl that cannot be read: {unreadable}."] if unreadable else []
    return Page(
        title=results["name"],
        simulated=protocol["simulated"],
        summary=outcome.sentences(folder, results) + _remarks(results),
        protocol=lines + note,
        key=next(line for line in lines if line.startswith("Protocol")),
        facts=_facts(results),
        picture=_picture(panels, results),
        tables=[Table("Scores by modalities", ["modalities", *(title for _, title in columns), "tiles"], rows)],
        charts=found,
        panels=panels,
        command=f"python {info['command']}" if info.get("command") else "",
        environment=_environment(info),
        configuration=info.get("config", {}),
    )


def _curves(metrics):
    drawn = {stage: charts.curves(metrics, stage) for stage in ("pretrain", "finetune")}
    return [Chart(f"{stage}: training loss and validation score", image, alt=_course(metrics, stage)) for stage, image in drawn.items() if image]


def _course(metrics, stage):
    """The course of a stage in words."""
    losses = [row["loss"] for row in metrics if row["stage"] == stage and row.get("loss") is not None]
    text = f"Curve: the training loss of {stage} goes from {losses[0]:.3g} to {losses[-1]:.3g}."
    keys = [f"validation_{name}" for name in charts.VALIDATION]
    scores = [(key, row[key]) for row in metrics if row["stage"] == stage for key in keys if row.get(key) is not None]
    first = next((key for key in keys if any(key == name for name, _ in scores)), None)
    shown = [f"{value:.3g}" for name, value in scores if name == first]  # in %, or a share
    return f"{text} {first.replace('_', ' ').capitalize()}: {', '.join(shown)}." if first else text


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
    of_classes = first["scores"]["iou" if dense else "f1"]
    found = [
        Chart("Scores by subset of modalities", bars, note, f"Bars of {title} in %: {charts.in_words(subsets, tables.NONE)}."),
        Chart("Scores by class", classes, f"With {' + '.join(first['modalities'])}.", f"Bars of {'IoU' if dense else 'F1'} in %: {charts.in_words(of_classes)}."),
    ]
    if "confusion" in first:
        image = charts.as_svg(pictures.confusion_figure(first["confusion"], protocol["classes"], ""))
        found.append(Chart("Confusion matrix", image, "Rows are labels, in % of their pixels.", _confused(first["confusion"], protocol["classes"])))
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


def _confused(confusion, classes):
    """The most frequent confusions in words."""
    counts = np.asarray(confusion)[:, : len(classes)]
    share = np.round(100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(int)
    np.fill_diagonal(share, 0)
    worst = [np.unravel_index(index, share.shape) for index in np.argsort(share, axis=None)[::-1][:3]]
    pairs = [f"{share[row, column]} % of {classes[row]} are taken for {classes[column]}" for row, column in worst if share[row, column]]
    return f"Confusion matrix. {'; '.join(pairs) or 'No class is taken for another'}."


def _facts(results: Results) -> list[Fact]:
    """The numbers of the overview: with all modalities, with the best single one, and of a prediction that looks at nothing."""
    (key, title), entry, single = tables.COLUMNS[results["task"]][0], results["subsets"][0], outcome.best_single(results)
    found = [(entry, "all sensors" if len(entry["modalities"]) > 1 else outcome.names(entry["modalities"]))]
    found += [(single, f"best single: {outcome.names(single['modalities'])}")] if single else []
    facts = []
    for scored, name in found:
        accuracy = scored["scores"].get("oa")
        note = f"{tables.shown(accuracy)} % of the pixels are right" if accuracy is not None else ""
        notes = [note, f"on {fewer}" if (fewer := outcome.fewer_tiles(results, scored)) else ""]
        facts.append(Fact(name, f"{tables.shown(scored['scores'][key])} % {title}", ", ".join(filter(None, notes))))
    trivial = tables.TRIVIAL[results["task"]]
    if (floor := entry["scores"].get(trivial[0][0])) is not None:
        facts.append(Fact("knowing nothing", f"{tables.shown(floor)} % {title}", trivial[1]))
    return facts


def _picture(panels: Panels | None, results: Results) -> Picture | None:
    """The test tile with the most classes: its sharpest image, its labels, and what the model makes of all sensors and of the best one."""
    if panels is None or not panels.tiles:
        return None
    tile, single = max(panels.tiles, key=lambda tile: tile.classes), outcome.best_single(results)
    images = dict(list(tile.inputs.items())[-1:]) | {"label": tile.maps["label"], "predicted from all sensors": tile.maps[panels.start]}
    if single and (name := "+".join(single["modalities"])) in tile.maps:
        images[f"predicted from {name} alone"] = tile.maps[name]
    return Picture(f"Test tile {tile.name}", images, panels.legend)


def _remarks(results: Results) -> list[str]:
    """Which modality the score with all of them needs most, among those without which the same tiles are scored."""
    key, first = tables.COLUMNS[results["task"]][0][0], results["subsets"][0]
    entries = {tuple(entry["modalities"]): entry for entry in results["subsets"]}
    known = {subset: score for subset, entry in entries.items() if (score := entry["scores"][key]) is not None and not math.isnan(score)}
    names = tuple(first["modalities"])
    if len(names) < 2 or names not in known:
        return []
    without = {gone: tuple(name for name in names if name != gone) for gone in names}
    without = {gone: rest for gone, rest in without.items() if rest in known}
    # The tiles of a subset are among those of all sensors.
    costs = {gone: known[names] - known[rest] for gone, rest in without.items() if entries[rest].get("tiles") == first.get("tiles")}
    found = [
        f"Without {outcome.names([gone])}, {outcome.fewer_tiles(results, entries[rest])} can be scored, so what it adds is not known."
        for gone, rest in without.items() if gone not in costs
    ]  # fmt: skip
    if not costs:
        return found
    worst = max(costs, key=lambda gone: costs[gone])
    if costs[worst] > 0:
        return [f"The score drops most without {outcome.names([worst])}: by {costs[worst]:.1f} points.", *found]
    return [f"The score does not drop without any one of the{' other' if found else ''} modalities.", *found]


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
                classes=int((np.unique(arrays["labels"][index]) < len(classes)).sum()),
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
