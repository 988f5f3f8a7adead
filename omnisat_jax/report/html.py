"""One HTML file that tells a run or a study: no network, no other file.

python -m omnisat_jax.report RUN_OR_STUDY_DIR
"""

import math
import pathlib

import jinja2
import numpy as np

from omnisat_jax.errors import DataError, UserError, printable
from omnisat_jax.files.atomic import write_text
from omnisat_jax.files.json_file import read_json
from omnisat_jax.report import charts, pictures, representation, tables
from omnisat_jax.report.run_files import NUMBER, PICTURED, fit, read_arrays, read_results
from omnisat_jax.train.writers import read_rows

LIMIT = 10_000_000  # bytes of a report
WIDEST = 640  # px of an input picture in it


class ReportError(UserError):
    """A folder that no report can be made of; the message says what it must hold."""


def write(folder) -> pathlib.Path:
    """Writes <folder>/report.html of a finished run or a study.

    Raises:
      ReportError: neither results.json nor study.json in the folder.
    """
    folder = pathlib.Path(folder)
    if (folder / "study.json").is_file():
        page = _study(folder)
    elif (folder / "results.json").is_file():
        page = _run(folder)
    else:
        raise ReportError(f"{folder}: expected results.json of a finished run or study.json of a study, found neither")
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=_shown,
    ).get_template("report.html.j2")  # fmt: skip
    path = folder / "report.html"
    write_text(path, template.render(page))
    return path


def _shown(value):
    """What stands in the page; texts from files as they can be printed, and jinja2 escapes them."""
    return printable(value, None) if isinstance(value, str) and not value.isprintable() else value


def _run(folder):
    results, about = read_results(folder, PICTURED), _about(folder / "run.json")
    protocol, task = results["protocol"], results["task"]
    metrics, lost = read_rows(folder / "metrics.jsonl")
    columns = list(tables.COLUMNS[task]) + ([("ece", "ECE")] if "ece" in results["subsets"][0]["scores"] else [])
    first, main = results["subsets"][0], columns[0]
    each = first["scores"]["iou" if task == "segment" else "f1"]
    colours = pictures.class_colours(len(protocol["classes"]), protocol["colours"])[:-1] if task == "segment" else None
    figures = [
        (f"{stage}: loss and validation", figure, "")
        for stage in ("pretrain", "finetune")
        if (figure := charts.curves(metrics, stage))
    ]
    learned = (
        (representation.EMBEDDING, "What pre-training learned", "It never saw the labels: alike colours are alike tokens."),
        (representation.ATTENTION, "Which dates it looks at", "Attention of the encoders of series after pre-training."),
    )
    figures += [
        (name, charts.as_file(path), note) for file, name, note in learned if (path := folder / "pretrain" / file).is_file()
    ]
    subsets = {"+".join(entry["modalities"]): entry["scores"][main[0]] for entry in results["subsets"]}
    robustness = charts.bars(subsets, f"{main[1]} in %", missing=tables.NONE)
    classes = charts.bars(each, "IoU in %" if task == "segment" else "F1 in %", colours)
    sections = [
        ("What each subset of modalities reaches", robustness, f"{main[1]} of the same model with only these modalities present; {tables.NONE}: in no test tile."),
        ("Class by class", classes, f"With {' + '.join(first['modalities'])}."),
    ]
    if "confusion" in first:
        shown = charts.as_svg(pictures.confusion_figure(first["confusion"], protocol["classes"], ""))
        sections.append(("Confusion", shown, "Rows are labels, in % of their pixels."))
    if "calibration" in first:
        sections.append(
            ("Calibration", charts.reliability(first["calibration"]), f"Expected calibration error {tables.shown(first['scores']['ece'])} %.")
        )
    seconds = {stage: _total(starts) for stage, starts in about.get("seconds", {}).items()}
    if seconds:
        sections.append(("Where the time went", charts.time_spent(seconds), "All starts of the run added up."))
    return {
        "title": results["name"],
        "simulated": protocol["simulated"],
        "summary": _words(results, main),
        "protocol": tables.protocol_lines(results) + ([f"Lines of metrics.jsonl that cannot be read: {lost}."] if lost else []),
        "tables": [_subset_table(results, columns)],
        "figures": figures + sections,
        "panels": _panels(folder, protocol),
        "settings": about.get("config", {}),
        "environment": _environment(about),
        "command": "python " + about["command"] if about.get("command") else "",
    }


ABOUT = {
    "command": str, "config": {"*": (str, int, float, bool, list, dict, type(None))}, "data": {"source": str, "fingerprint": str},
    "git": (dict, type(None)), "versions": {"*": str}, "device": {"kind": str, "platform": str, "count": int}, "cores?": int, "processes": int,
    "mesh": {"*": int}, "precision": str, "seconds?": {"*": [{"*": NUMBER}]},
}  # fmt: skip


def _about(path):
    """run.json, {} where there is none."""
    if not path.is_file():
        return {}
    about = read_json(path, what="the description of a run", advice="Delete it: the report then lacks what it says.")
    fit(about, ABOUT)
    if about.value["git"]:
        fit(about.get("git"), {"revision": str, "dirty": bool})
    return about.value


def _total(starts):
    total = {}
    for seconds in starts:
        for cause, value in seconds.items():
            if cause != "total":
                total[cause] = total.get(cause, 0) + value
    return total


def _words(results, main):
    """The outcome in sentences."""
    key, name = main
    scores = {"+".join(entry["modalities"]): entry["scores"][key] for entry in results["subsets"]}
    known = {subset: score for subset, score in scores.items() if score is not None and not math.isnan(score)}
    whole = next(iter(scores))
    if whole not in known:
        return [f"No test tile has a label and a measurement, so there is no {name}."]
    tiles = results["subsets"][0].get("tiles", results["protocol"]["test_tiles"])
    lines = [f"With {whole.replace('+', ' + ')} the model reaches {scores[whole]:.1f} % {name} on {tiles} test tiles."]
    single = {subset: score for subset, score in known.items() if "+" not in subset and subset != whole}
    if single:
        best = max(single, key=single.get)
        lines.append(
            f"The best single modality is {best} with {single[best]:.1f} %, a difference of {scores[whole] - single[best]:+.1f}."
        )
    names = results["subsets"][0]["modalities"]
    costs = {gone: scores[whole] - known[rest] for gone in names if (rest := "+".join(n for n in names if n != gone)) in known}
    if len(names) > 1 and costs:
        worst = max(costs, key=costs.get)
        if costs[worst] > 0:
            lines.append(f"Taking one modality away costs most for {worst}: {costs[worst]:.1f} points.")
        else:
            lines.append("Taking any one modality away costs nothing.")
    error = results["subsets"][0]["scores"].get("ece")
    if error is not None:
        lines.append(f"Its probabilities are off by {error:.1f} points on average (expected calibration error).")
    return lines


def _subset_table(results, columns):
    rows = [[name, *cells] for name, cells in tables.rows(results, columns)]
    return {"title": "Scores by modalities", "head": ["modalities", *(title for _, title in columns), "tiles"], "rows": rows}


def _panels(folder, protocol):
    """Tiles with their pictures, labels and the prediction of every subset."""
    path = folder / "panels.npz"
    if not path.is_file():
        return None
    classes, colours = protocol["classes"], protocol["colours"]
    arrays = read_arrays(path, "the pictures of test tiles")
    if gone := {"subsets", "tile", "labels", "predictions"} - set(arrays):
        raise DataError(tile="-", path=path, expected="the pictures of test tiles", found=f"no array {min(gone)!r}", advice="Evaluate the run again.")
    subsets, tiles, seen = arrays["subsets"].tolist(), [], set()
    for index, tile in enumerate(arrays["tile"].tolist()):
        inputs = {key.split("/", 2)[2]: _smaller(value) for key, value in arrays.items() if key.startswith(f"input/{index}/")}
        maps = {"label": arrays["labels"][index]} | dict(zip(subsets, arrays["predictions"][index]))
        seen |= {int(value) for image in maps.values() for value in np.unique(np.minimum(image, len(classes)))}
        tiles.append(
            {
                "name": tile,
                "inputs": {name: charts.as_png(image) for name, image in inputs.items()},
                "maps": {name: charts.class_map(_smaller(image), len(classes), colours) for name, image in maps.items()},
            }
        )
    names = [*classes, "void"]
    palette = pictures.class_colours(len(classes), colours)
    legend = [(names[i], "#" + "".join(f"{round(255 * part):02x}" for part in palette[i])) for i in sorted(seen)]
    return {"tiles": tiles, "shown": ["label", *subsets], "start": subsets[0], "legend": legend}


def _smaller(image):
    step = -(-image.shape[0] // WIDEST)
    return image[::step, ::step]


def _environment(about):
    if not about:
        return {}
    device, git = about["device"], about.get("git")
    revision = f"{git['revision'][:12]}{' with changes' if git['dirty'] else ''}" if git else "unknown"
    return about["versions"] | {
        "device": f"{device['count']} x {device['kind']} ({device['platform']})",
        "CPU cores": about.get("cores", "unknown"),
        "processes": about["processes"],
        "mesh": " x ".join(f"{axis} {size}" for axis, size in about["mesh"].items()),
        "precision": about["precision"],
        "code revision": revision,
        "data": f"{about['data']['source']} ({about['data']['fingerprint']})",
    }


STUDY = {
    "command": str, "study": {"name": str}, "simulated": bool, "columns": [str], "cells": [[str]], "notes": [str], "words": [str],
    "entries": [{"row": str, "label_share": NUMBER, "mean": (*NUMBER, type(None)), "metric": str,
                 "interval": (list, type(None))}],
}  # fmt: skip


def _study(folder):
    study = read_json(folder / "study.json", what="the results of a study", advice="Start the study again: it writes them anew.")
    fit(study, STUDY)
    about = study.value
    entries, head, rows = about["entries"], about["columns"], about["cells"]
    figures = []
    for share in sorted({entry["label_share"] for entry in entries}):
        mine = [entry for entry in entries if entry["label_share"] == share]
        intervals = {e["row"]: e["interval"] for e in mine if e["interval"]}
        figure = charts.bars({e["row"]: e["mean"] for e in mine}, f"{mine[0]['metric']} in %", intervals=intervals, missing=tables.NONE)
        title = "Every row" if len({e["label_share"] for e in entries}) == 1 else f"With {100 * share:g} % of the labels"
        figures.append((title, figure, "Lines are 95 % intervals over test tiles."))
    settings = {k: v for k, v in about["study"].items() if k != "rows"}
    return {
        "title": about["study"]["name"],
        "simulated": about["simulated"],
        "summary": about["words"],
        "protocol": about["notes"],
        "tables": [{"title": "Rows", "head": head, "rows": rows}],
        "figures": figures,
        "panels": None,
        "settings": settings,
        "environment": {},
        "command": "python " + about["command"],
    }
