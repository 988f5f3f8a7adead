"""What the finished runs of a study say together: a table in Markdown, CSV, LaTeX and JSON."""

import csv
import dataclasses
import io
import math
import pathlib
import shlex
import sys

import numpy as np

from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files.atomic import write_json, write_text
from omnisat_jax.files.json_file import read_json
from omnisat_jax.report import escaping
from omnisat_jax.report.run_files import SCORED, fit, read_arrays, read_results
from omnisat_jax.study.grid import Study, runs
from omnisat_jax.study.runner import is_done
from omnisat_jax.study.statistics import LEVEL, Tiles, bootstrap, interval

METRIC = {"segment": ("miou", "mIoU"), "classify": ("f1_macro", "macro F1")}


def summarise(study: Study, folder, outcomes=None) -> dict:
    """Reads the finished runs and writes table.md, table.csv, table.tex and study.json.

    Args:
      study: the grid.
      folder: of the study.
      outcomes: {run name: Outcome} of the call that ran it, for what failed.

    Returns:
      What study.json says: {"command", "study", "simulated", "protocols", "entries": [...], "failed", "waiting"}.
    """
    folder = pathlib.Path(folder)
    finished, missing = {}, []
    for run in runs(study):
        if is_done(folder, run):
            finished[run.name] = (run, read_results(folder / "runs" / run.name, SCORED))
        else:
            missing.append(run.name)
    _check_data(folder, finished.values())
    entries = [
        entry
        for name, row in study.rows.items()
        for share in study.label_shares
        if (entry := _entry(study, folder, name, row, share, finished))
    ]
    _compare(study, entries)
    for entry in entries:
        entry.pop("draws")
    failed = {name: o.reason for name, o in (outcomes or {}).items() if o.state == "failed"}
    about = {
        "command": shlex.join(sys.argv),
        "study": dataclasses.asdict(study),
        "simulated": any(results["protocol"]["simulated"] for _, results in finished.values()),
        "protocols": sorted({_protocol(results) for _, results in finished.values()}),
        "cores": sorted({count for name in finished if (count := _cores(folder / "runs" / name))}),
        "entries": entries,
        "failed": failed,
        "waiting": [name for name in missing if name not in failed],
    }
    about |= {
        "columns": COLUMNS,
        "cells": [_cells(about, entry) for entry in entries],
        "notes": notes(about),
        "words": _words(about),
    }
    write_json(folder / "study.json", about)
    write_text(folder / "table.md", markdown(about))
    write_text(folder / "table.csv", as_csv(about))
    write_text(folder / "table.tex", latex(about))
    return about


_DATA = ("data.dataset", "data.raw_dir", "data.prepared_dir", "data.nomenclature", "data.on_bad", "data.float16", "data.simulated.")


def _check_data(folder, finished):
    """Shows that runs which name the same data were made from the same: a folder may change between them.

    Raises:
      UserError: they were not; names runs of either.
    """
    first = {}
    for run, results in finished:
        known = results["protocol"].get("fingerprint")
        named = tuple(sorted((key, str(value)) for key, value in run.settings.items() if key.startswith(_DATA)))
        # Fingerprints of earlier versions are of another length, and cannot be compared.
        other, name = first.setdefault((named, len(known or "")), (known, run.name))
        if other != known:
            raise UserError(
                f"{folder / 'runs'}: {name} was made from data {other}, {run.name} from {known}, so they cannot share a table. Restore the "
                "data, delete the folders of the runs that were made from others, and start the study again"
            )


def _protocol(results):
    p = results["protocol"]
    simulated = ", SIMULATED" if p["simulated"] else ""
    return f"{p['dataset']}{simulated}, {p['protocol']}, test {' '.join(p['test'])} ({p['test_tiles']} tiles), train {p['train_tiles']} tiles"


def _cores(folder):
    """CPU cores of a run that computed on them, else None."""
    path = folder / "run.json"
    if not path.is_file():
        return None
    about = read_json(path, what="the description of a run")
    fit(about, {"device?": {"platform?": str}, "cores?": int})
    return about.value.get("cores") if about.value.get("device", {}).get("platform") == "cpu" else None


def _entry(study, folder, name, row, share, finished):
    """One row of the table, or None where no run of it is finished."""
    mine = [(run, results) for run, results in finished.values() if name in run.rows and run.label_share == share]
    if not mine:
        return None
    key, metric = METRIC[mine[0][1]["task"]]
    wanted = row.subset.split("+") if row.subset else mine[0][1]["subsets"][0]["modalities"]
    scores, errors, floors, tiles, by_fold, counted = [], [], [], [], {}, {}
    for run, results in mine:
        position = next((i for i, s in enumerate(results["subsets"]) if sorted(s["modalities"]) == sorted(wanted)), None)
        if position is None:
            return None
        entry = results["subsets"][position]
        found = {name: math.nan if value is None else value for name, value in entry["scores"].items()}
        scores.append(found[key])
        errors.append(found.get("ece", math.nan))
        floors.append(found.get("f1_every_label", math.nan))
        counted.setdefault(run.fold, (entry.get("tiles", results["protocol"]["test_tiles"]), entry.get("tiles_with_all")))
        by_fold.setdefault(run.fold, []).append(_tiles(folder / "runs" / run.name, results, position))
    tiles = [part for parts in by_fold.values() for part in parts]
    # Folds test on different tiles: they are resampled each for itself, and their scores averaged as those of seeds are.
    known = bool(np.isfinite(scores).all())  # else a fold has no tile with any of the modalities
    draws = np.mean([bootstrap(parts, study.resamples) for parts in by_fold.values()], 0) if known else None
    whole = [count for _, count in counted.values()]
    return {
        "row": name,
        "label_share": share,
        "modalities": wanted,
        "metric": metric,
        "seeds": sorted({run.seed for run, _ in mine}),
        "folds": sorted(by_fold),
        "scores": [None if math.isnan(score) else score for score in scores],
        "scored": sum(count for count, _ in counted.values()),
        "scored_with_all": None if None in whole else sum(whole),
        "mean": float(np.mean(scores)) if known else None,
        "spread": float(np.std(scores, ddof=1)) if known and len(scores) > 1 else None,
        "interval": list(interval(draws)) if known else None,
        "ece": float(np.mean(errors)) if np.isfinite(errors).all() else None,
        "every_label": float(np.mean(floors)) if np.isfinite(floors).all() else None,
        "tiles": len(tiles[0].names),
        "published": row.published or None,
        "source": row.source,
        "draws": draws,
    }


def _tiles(folder, results, position) -> Tiles:
    about, path = results["protocol"], folder / "tiles.npz"
    arrays = read_arrays(path, "what each test tile adds to the scores")
    dense, classes = results["task"] == "segment", len(about["classes"])
    subsets, tiles = len(results["subsets"]), arrays.get("tile", np.zeros(0)).shape
    shape = tiles + (subsets, classes)
    expected = {"tile": tiles} | ({"counts": (*shape, classes + 1)} if dense else {"predicted": shape, "labels": (*tiles, classes)})
    expected |= {"some": (*tiles, subsets)} if "some" in arrays else {}
    found = {name: array.shape for name, array in arrays.items()}
    if len(tiles) != 1 or not tiles[0] or not expected.items() <= found.items():
        raise DataError(tile="-", path=path, expected=f"arrays {expected}", found=f"{found}", advice="Evaluate the run again.")
    order = np.argsort(arrays["tile"])
    arrays = {key: value[order] for key, value in arrays.items()}
    predicted, labels = (None, None) if dense else (arrays["predicted"][:, position], arrays["labels"])
    if not dense and "some" in arrays:
        # A tile that holds nothing of the subset has neither label nor prediction, as in its scores.
        some = arrays["some"][:, position, None]
        predicted, labels = np.where(some, predicted, 0), np.where(some, labels, 0)
    return Tiles(
        names=tuple(arrays["tile"].tolist()),
        counts=arrays["counts"][:, position].astype(np.float64) if dense else None,
        predicted=predicted,
        labels=labels,
        classes=tuple(about["classes"]),
        unscored=tuple(about["unscored"]),
        threshold=about["threshold"],
    )


def _compare(study, entries):
    """The paired difference of each entry to the baseline with the same share of labels."""
    base = {entry["label_share"]: entry for entry in entries if entry["row"] == study.baseline}
    for entry in entries:
        other = base.get(entry["label_share"])
        entry["difference"] = None
        # Only the same tests can be paired.
        same = other and other is not entry and (other["folds"], other["tiles"]) == (entry["folds"], entry["tiles"])
        if same and entry["draws"] is not None and other["draws"] is not None:
            low, high = interval(entry["draws"] - other["draws"])
            entry["difference"] = {"to": study.baseline, "mean": entry["mean"] - other["mean"], "interval": [low, high]}


COLUMNS = (
    "row",
    "labels",
    "modalities",
    "seeds",
    "tiles",
    "mean",
    "spread",
    "95 % interval",
    "difference to the baseline",
    "ECE",
    "published",
)


def _cells(about, entry):
    difference = entry["difference"]
    shown = f"{difference['mean']:+.1f} [{difference['interval'][0]:+.1f}, {difference['interval'][1]:+.1f}]" if difference else "-"
    comparable = ", not comparable" if about["simulated"] else ""
    return (
        entry["row"],
        f"{100 * entry['label_share']:g} %",
        "+".join(entry["modalities"]),
        str(len(entry["seeds"])),
        str(entry["scored"]) + ("" if entry["scored_with_all"] in (None, entry["scored"]) else f" ({entry['scored_with_all']} with all)"),
        "-" if entry["mean"] is None else f"{entry['mean']:.1f}",
        "-" if entry["spread"] is None else f"{entry['spread']:.1f}",
        "-" if entry["interval"] is None else f"[{entry['interval'][0]:.1f}, {entry['interval'][1]:.1f}]",
        shown,
        "-" if entry["ece"] is None else f"{entry['ece']:.1f}",
        f"{entry['published']:.1f}{comparable}" if entry["published"] else "-",
    )


def _words(about) -> list[str]:
    """The outcome in sentences, with intervals."""
    study, lines = about["study"], []
    for share in study["label_shares"]:
        entries = [entry for entry in about["entries"] if entry["label_share"] == share]
        compared = [entry for entry in entries if entry["difference"]]
        if not compared:
            continue
        surely = [entry for entry in compared if entry["difference"]["interval"][0] > 0]
        best = max((entry for entry in entries if entry["mean"] is not None), key=lambda entry: entry["mean"])
        labels = f"With {100 * share:g} % of the labels, " if len(study["label_shares"]) > 1 else ""
        text = f"{labels}{best['row']} is highest with {best['mean']:.1f} % {best['metric']} [{best['interval'][0]:.1f}, {best['interval'][1]:.1f}]; "
        text += f"the interval of the difference to {study['baseline']} lies above zero for {len(surely)} of {len(compared)} rows."
        lines.append(text[:1].upper() + text[1:])
    return lines


def notes(about) -> list[str]:
    """What the numbers are."""
    study, entries = about["study"], about["entries"]
    metric = " and ".join(sorted({entry["metric"] for entry in entries})) or "no metric yet"
    lines = [f"Data and protocol: {protocol}." for protocol in about["protocols"]]
    lines += [
        f"{metric} in %: mean over seeds{' and folds' if len(study['folds']) > 1 else ''}, standard deviation between them, {LEVEL} % interval of the mean "
        f"over {study['resamples']} resamples of the test tiles (which says nothing of other seeds).",
        f"Differences are to {study['baseline']} on the same resampled tiles.",
    ]
    if about["cores"]:
        several = "runs of different numbers round differently and cannot be compared to the digit"
        meaning = several if len(about["cores"]) > 1 else "another number changes the rounding"
        lines.append(f"CPU cores of a run: {' and '.join(map(str, about['cores']))}; {meaning}.")
    floors = sorted({round(entry["every_label"], 1) for entry in entries if entry["every_label"] is not None})
    lines += [f"Every label given to every tile: {floor:.1f} % macro F1." for floor in floors]
    if about["simulated"]:
        lines.append(
            "SIMULATED data: no number describes real fields. Published numbers are of real data and cannot be compared with them."
        )
    sources = {entry["source"] for entry in entries if entry["source"]}
    lines += [f"Published: {source}." for source in sorted(sources)]
    lines += [f"Failed: {name} ({reason})." for name, reason in about["failed"].items()]
    if about["waiting"]:
        lines.append(
            f"Not finished: {len(about['waiting'])} runs ({', '.join(about['waiting'][:4])}{', ...' if len(about['waiting']) > 4 else ''})."
        )
    return lines


def markdown(about) -> str:
    """table.md."""
    escape = escaping.markdown
    lines = [f"# {escape(about['study']['name'])}", "", "| " + " | ".join(COLUMNS) + " |"]
    lines += ["|---|---:|---|" + "---:|" * (len(COLUMNS) - 3)]
    lines += ["| " + " | ".join(map(escape, _cells(about, entry))) + " |" for entry in about["entries"]]
    return "\n".join([*lines, "", *(f"- {escape(line)}" for line in notes(about))]) + "\n"


def as_csv(about) -> str:
    """table.csv, a row an entry, numbers unrounded."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["row", "label_share", "modalities", "metric", "seeds", "folds", "tiles", "tiles_with_all", "mean", "spread", "low", "high", "difference", "difference_low",
                     "difference_high", "ece", "published", "simulated"])  # fmt: skip
    for e in about["entries"]:
        d = e["difference"] or {"mean": "", "interval": ["", ""]}
        writer.writerow([e["row"], e["label_share"], "+".join(e["modalities"]), e["metric"], " ".join(map(str, e["seeds"])), " ".join(map(str, e["folds"])),
                         e["scored"], e["scored_with_all"], *_or_dashes(e), d["mean"], *d["interval"], e["ece"], e["published"], about["simulated"]])  # fmt: skip
    return out.getvalue()


def _or_dashes(entry):
    """Mean, spread and the ends of the interval."""
    return ["-"] * 4 if entry["mean"] is None else [entry["mean"], entry["spread"], *entry["interval"]]


def latex(about) -> str:
    """table.tex, for booktabs."""
    clean = escaping.latex
    lines = ["\\begin{tabular}{lrlrrrrrrrr}", "\\toprule", " & ".join(map(clean, COLUMNS)) + " \\\\", "\\midrule"]
    lines += [" & ".join(map(clean, _cells(about, entry))) + " \\\\" for entry in about["entries"]]
    lines += ["\\bottomrule", "\\end{tabular}", *map(escaping.comment, notes(about))]
    return "\n".join(lines) + "\n"
