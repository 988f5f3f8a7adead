"""The results of a study as a table in Markdown, CSV, LaTeX and JSON, with notes that explain the numbers."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

from omnisat_jax.metrics.intervals import LEVEL
from omnisat_jax.report import escaping
from omnisat_jax.words import number_of

COLUMNS = (
    "row", "labels", "modalities", "seeds", "tiles", "mean", "spread", f"{LEVEL} % over seeds (t)", f"{LEVEL} % over tiles (bootstrap)",
    f"{LEVEL} % over parcels (bootstrap)", "difference to the baseline", "ECE", "published",
)  # fmt: skip
CSV_COLUMNS = (
    "row", "label_share", "modalities", "metric", "seeds", "folds", "tiles", "tiles_with_all", "mean", "spread", "seeds_low", "seeds_high", "low",
    "high", "parcels_low", "parcels_high", "difference", "difference_seeds_low", "difference_seeds_high", "difference_low", "difference_high",
    "difference_parcels_low", "difference_parcels_high", "ece", "published", "simulated",
)  # fmt: skip
NONE = "-"
NAMED = 4  # unfinished runs that a note names


@dataclasses.dataclass(frozen=True)
class Difference:
    """A paired difference of scores in points.

    Attributes:
      to: the row that it is the difference to.
      mean: the difference, of the runs whose seed and fold both rows have.
      interval: its 95 % interval over resampled test tiles.
      seed_interval: the t-interval of the differences of equal seeds; None with fewer than two.
      parcel_interval: the interval over resampled parcels; None where they are not known.
    """

    to: str
    mean: float
    interval: tuple[float, float]
    seed_interval: tuple[float, float] | None = None
    parcel_interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of a study at one share of labels. Scores are in %, and None where they are unknown.

    Attributes:
      row: its name.
      label_share: of the training tiles, in (0, 1].
      modalities: that it is scored on.
      metric: name of the score.
      seeds, folds: of the finished runs.
      scores: of each run.
      scored: test tiles with at least one of the modalities, over all folds.
      scored_with_all: test tiles with all of them; None for runs of earlier versions.
      mean, spread: mean (over seeds, then over folds) and standard deviation of the scores.
      interval: 95 % interval of the mean over resampled test tiles.
      ece: expected calibration error.
      every_label: score of a prediction of every label for every tile.
      tiles: test tiles of one fold.
      published: score reported for the method.
      source: where it was reported.
      difference: to the baseline.
      seed_interval: 95 % t-interval of the mean over seeds; None with fewer than two.
      parcel_interval: 95 % interval of the mean over resampled parcels; None where they are not known.
    """

    row: str
    label_share: float
    modalities: Sequence[str]
    metric: str
    seeds: Sequence[int]
    folds: Sequence[int]
    scores: Sequence[float | None]
    scored: int
    scored_with_all: int | None
    mean: float | None
    spread: float | None
    interval: tuple[float, float] | None
    ece: float | None
    every_label: float | None
    tiles: int
    published: float | None
    source: str
    difference: Difference | None = None
    seed_interval: tuple[float, float] | None = None
    parcel_interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
    """The results of a study.

    Attributes:
      command: that made it.
      study: its configuration.
      simulated: whether any run used simulated data.
      protocols: the different data and protocols of the runs, in words.
      cores: the different numbers of CPU cores of the runs that were computed on CPUs.
      entries: rows of the table.
      failed: {run: reason}.
      waiting: runs that are not finished.
    """

    command: str
    study: Mapping[str, Any]
    simulated: bool
    protocols: Sequence[str]
    cores: Sequence[int]
    entries: Sequence[Entry]
    failed: Mapping[str, str]
    waiting: Sequence[str]


def as_json(summary: Summary) -> dict[str, Any]:
    """The content of study.json: the summary, with the table and its notes as text."""
    return dataclasses.asdict(summary) | {
        "columns": COLUMNS,
        "cells": [cells(summary, entry) for entry in summary.entries],
        "notes": notes(summary),
        "words": conclusions(summary),
    }


def cells(summary: Summary, entry: Entry) -> list[str]:
    """One row of the table, in the order of `COLUMNS`."""
    partial = entry.scored_with_all not in (None, entry.scored)
    comparable = ", not comparable" if summary.simulated else ""
    difference = entry.difference
    return [
        entry.row,
        f"{100 * entry.label_share:g} %",
        "+".join(entry.modalities),
        str(len(entry.seeds)),
        str(entry.scored) + (f" ({entry.scored_with_all} with all)" if partial else ""),
        _number(entry.mean),
        _number(entry.spread),
        *(_interval(ends) for ends in (entry.seed_interval, entry.interval, entry.parcel_interval)),
        _difference(difference) if difference else NONE,
        _number(entry.ece),
        f"{entry.published:.1f}{comparable}" if entry.published else NONE,
    ]


def _difference(difference):
    """The difference with the intervals that are known."""
    ends = {"seeds": difference.seed_interval, "tiles": difference.interval, "parcels": difference.parcel_interval}
    return ", ".join([f"{difference.mean:+.1f}", *(f"{over} {_interval(pair, '+.1f')}" for over, pair in ends.items() if pair)])


def _number(value):
    return NONE if value is None else f"{value:.1f}"


def _interval(ends, form=".1f"):
    return NONE if ends is None else f"[{ends[0]:{form}}, {ends[1]:{form}}]"


def conclusions(summary: Summary) -> list[str]:
    """The outcome in sentences, one per share of labels."""
    study, lines = summary.study, []
    for share in study["label_shares"]:
        entries = [entry for entry in summary.entries if entry.label_share == share]
        differences = [entry.difference for entry in entries if entry.difference]
        known = [(entry.mean, entry) for entry in entries if entry.mean is not None]
        if not differences or not known:
            continue
        mean, best = max(known, key=lambda item: item[0])
        better = sum(difference.interval[0] > 0 for difference in differences)
        known_seeds = [difference.seed_interval for difference in differences if difference.seed_interval]
        seeds = f", over seeds for {sum(low > 0 for low, _ in known_seeds)} of {len(known_seeds)}" if known_seeds else ""
        start = f"With {100 * share:g} % of the labels, the" if len(study["label_shares"]) > 1 else "The"
        lines.append(
            f"{start} highest score is that of {best.row}, {mean:.1f} % {best.metric} {_interval(best.interval)}; "
            f"the interval of the difference to {study['baseline']} lies above zero over tiles for {better} of {number_of(len(differences), 'row')}{seeds}."
        )
    return lines


def notes(summary: Summary) -> list[str]:
    """What the numbers of the table mean, and which runs are missing from it."""
    study, entries = summary.study, summary.entries
    metric = " and ".join(sorted({entry.metric for entry in entries})) or "no metric yet"
    folds = " and folds" if len(study["folds"]) > 1 else ""
    lines = [f"Data and protocol: {protocol}." for protocol in summary.protocols]
    lines += [
        f"{metric} in %: mean over seeds{folds}, standard deviation between them, and {LEVEL} % intervals of the mean: over seeds, by Student's t, for "
        f"other trainings on the same fields (two seeds or more); over {study['resamples']} resamples of the test tiles, and of their parcels, for other "
        "fields with the same trainings. None covers both.",
        f"Differences are to {study['baseline']}, of equal seeds{folds}, and on the same resampled tiles and parcels; rows that are scored on other tiles have none.",
    ]
    if summary.cores:
        several = "runs with different numbers of cores round differently, so their digits are not exactly comparable"
        meaning = several if len(summary.cores) > 1 else "another number changes the rounding"
        lines.append(f"CPU cores per run: {' and '.join(map(str, summary.cores))}; {meaning}.")
    trivial = sorted({round(entry.every_label, 1) for entry in entries if entry.every_label is not None})
    lines += [f"A prediction of every label for every tile scores {score:.1f} % macro F1." for score in trivial]
    if summary.simulated:
        lines.append(
            "SIMULATED data: these numbers do not describe real fields. Published numbers are for real data and cannot be compared with them."
        )
    lines += [f"Published: {source}." for source in sorted({entry.source for entry in entries if entry.source})]
    lines += [f"Failed: {name} ({reason})." for name, reason in summary.failed.items()]
    if summary.waiting:
        more = ", ..." if len(summary.waiting) > NAMED else ""
        lines.append(f"Not finished: {number_of(len(summary.waiting), 'run')} ({', '.join(summary.waiting[:NAMED])}{more}).")
    return lines


def markdown(summary: Summary) -> str:
    """The content of table.md."""
    escape = escaping.markdown
    lines = [f"# {escape(summary.study['name'])}", "", "| " + " | ".join(COLUMNS) + " |"]
    lines += ["|---|---:|---|" + "---:|" * (len(COLUMNS) - 3)]
    lines += ["| " + " | ".join(map(escape, cells(summary, entry))) + " |" for entry in summary.entries]
    return "\n".join([*lines, "", *(f"- {escape(line)}" for line in notes(summary))]) + "\n"


def as_csv(summary: Summary) -> str:
    """The content of table.csv: one row per entry, with unrounded numbers."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    for e in summary.entries:
        d, unknown = e.difference, ("", "")
        scores = [NONE] * 8
        if e.mean is not None and e.interval is not None:
            scores = [e.mean, e.spread, *(e.seed_interval or unknown), *e.interval, *(e.parcel_interval or unknown)]
        difference = [d.mean, *(d.seed_interval or unknown), *d.interval, *(d.parcel_interval or unknown)] if d else [""] * 7
        writer.writerow([e.row, e.label_share, "+".join(e.modalities), e.metric, " ".join(map(str, e.seeds)), " ".join(map(str, e.folds)),
                         e.scored, e.scored_with_all, *scores, *difference, e.ece, e.published, summary.simulated])  # fmt: skip
    return out.getvalue()


def latex(summary: Summary) -> str:
    """The content of table.tex, for the package booktabs."""
    clean = escaping.latex
    lines = ["\\begin{tabular}{lrl" + "r" * (len(COLUMNS) - 3) + "}", "\\toprule", " & ".join(map(clean, COLUMNS)) + " \\\\", "\\midrule"]
    lines += [" & ".join(map(clean, cells(summary, entry))) + " \\\\" for entry in summary.entries]
    lines += ["\\bottomrule", "\\end{tabular}", *map(escaping.comment, notes(summary))]
    return "\n".join(lines) + "\n"
