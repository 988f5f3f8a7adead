"""The page of a study: its table, and the mean score of every row with its interval."""

import pathlib

from omnisat_jax.files.json_file import read_json
from omnisat_jax.report import charts, tables
from omnisat_jax.report.page import Chart, Page, Table
from omnisat_jax.report.run_files import NUMBER, fit

# study.json, as far as the page shows it; `omnisat_jax.study.summary` writes it.
_STUDY = {
    "command": str, "study": {"name": str}, "simulated": bool, "columns": [str], "cells": [[str]], "notes": [str], "words": [str],
    "entries": [{"row": str, "label_share": NUMBER, "mean": (*NUMBER, type(None)), "metric": str,
                 "interval": (list, type(None))}],
}  # fmt: skip


def read_page(folder: pathlib.Path) -> Page:
    """Reads study.json of a study.

    Raises:
      DataError: the file is missing or damaged.
    """
    value = read_json(folder / "study.json", what="the results of a study", advice="Start the study again: it writes the file anew.")
    fit(value, _STUDY)
    study = value.value
    return Page(
        title=study["study"]["name"],
        simulated=study["simulated"],
        summary=study["words"],
        protocol=study["notes"],
        key="",
        facts=(),
        picture=None,
        tables=[Table("Rows", study["columns"], study["cells"])],
        charts=_charts(study["entries"]),
        panels=None,
        command=f"python {study['command']}",
        environment={},
        configuration={key: setting for key, setting in study["study"].items() if key != "rows"},
    )


def _charts(entries):
    """One chart per share of labels."""
    found, shares = [], sorted({entry["label_share"] for entry in entries})
    for share in shares:
        mine = [entry for entry in entries if entry["label_share"] == share]
        means = {entry["row"]: entry["mean"] for entry in mine}
        intervals = {entry["row"]: entry["interval"] for entry in mine if entry["interval"]}
        image = charts.bars(means, f"{mine[0]['metric']} in %", intervals=intervals, missing=tables.NONE)
        alt = f"Bars of {mine[0]['metric']} in %: {charts.in_words(means, tables.NONE)}."
        title = "Scores by row" if len(shares) == 1 else f"With {100 * share:g} % of the labels"
        found.append(Chart(title, image, "Black lines are 95 % intervals over the test tiles, which do not cover other seeds.", alt))
    return found
