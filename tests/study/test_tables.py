"""Tables of studies: what their cells and notes say, and that names are shown, never interpreted."""

import csv
import dataclasses
import io
import json
import re

import pytest

from omnisat_jax.report import html
from omnisat_jax.study import runner, summary, tables
from omnisat_jax.study.tables import Difference, Entry, Summary
from tests.report.hostile import active
from tests.study.player import make

BASE = Entry(
    row="base", label_share=1.0, modalities=["s1", "s2"], metric="mIoU", seeds=[0, 1], folds=[1], scores=[49.0, 51.0], scored=3, scored_with_all=1,
    mean=50.0, spread=1.41, interval=(40.0, 60.0), ece=None, every_label=None, tiles=3, published=None, source="",
)  # fmt: skip
BETTER = dataclasses.replace(
    BASE, row="better", mean=55.5, scored_with_all=3, published=60.0, source="a paper", ece=3.21, seed_interval=(30.0, 70.0),
    parcel_interval=(45.0, 55.0), difference=Difference("base", 5.5, (1.0, 9.0), (-2.0, 13.0), (0.5, 8.0)),
)  # fmt: skip
WITH_ENDS = "+5.5, seeds [-2.0, +13.0], tiles [+1.0, +9.0], parcels [+0.5, +8.0]"
NONE = dataclasses.replace(BASE, row="none", mean=None, spread=None, interval=None, scored=0, scored_with_all=0)
STUDY = {"name": "trial", "folds": [1], "resamples": 10, "baseline": "base", "label_shares": [1.0]}


def make_summary(*entries, **changes):
    summary = Summary(command="", study=STUDY, simulated=False, protocols=["p"], cores=[], entries=entries, failed={}, waiting=[])
    return dataclasses.replace(summary, **changes)


def test_cells():
    found = make_summary(BASE, BETTER, NONE)
    assert tables.cells(found, BASE) == ["base", "100 %", "s1+s2", "2", "3 (1 with all)", "50.0", "1.4", "-", "[40.0, 60.0]", "-", "-", "-", "-"]
    assert tables.cells(found, BETTER)[4:] == ["3", "55.5", "1.4", "[30.0, 70.0]", "[40.0, 60.0]", "[45.0, 55.0]", WITH_ENDS, "3.2", "60.0"]
    assert tables.cells(found, NONE)[4:11] == ["0", *"------"]
    assert tables.cells(dataclasses.replace(found, simulated=True), BETTER)[-1] == "60.0, not comparable"


def test_every_format_has_every_entry():
    found = make_summary(BASE, BETTER, NONE)
    assert "| none | 100 % | s1+s2 | 2 | 0 | - | - | - | - | - |" in tables.markdown(found)
    assert "none & 100 \\% & s1+s2 & 2 & 0 & - & - & - & - & - &" in tables.latex(found)
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(found))))
    assert [row["row"] for row in rows] == ["base", "better", "none"]
    assert rows[1]["difference"] == "5.5" and rows[1]["difference_low"] == "1.0" and rows[1]["difference_seeds_high"] == "13.0" and rows[0]["difference"] == "" and rows[2]["mean"] == rows[2]["high"] == "-"
    content = json.loads(json.dumps(tables.as_json(found)))
    assert content["entries"][1]["difference"] == {
        "to": "base", "mean": 5.5, "interval": [1.0, 9.0], "seed_interval": [-2.0, 13.0], "parcel_interval": [0.5, 8.0],
    }  # fmt: skip
    assert content["columns"] == list(tables.COLUMNS) and len(content["cells"][0]) == len(content["columns"])


def test_conclusions():
    (text,) = tables.conclusions(make_summary(BASE, BETTER, NONE))
    assert text == (
        "The highest score is that of better, 55.5 % mIoU [40.0, 60.0]; the interval of the difference to base lies above zero over tiles for 1 of 1 row, "
        "over seeds for 0 of 1."
    )
    assert tables.conclusions(make_summary(BASE)) == [] and tables.conclusions(make_summary(NONE)) == []
    shares = make_summary(BASE, BETTER, study=STUDY | {"label_shares": [0.1, 1.0]})
    assert [line.split(",")[0] for line in tables.conclusions(shares)] == ["With 100 % of the labels"]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, "mIoU in %: mean over seeds, standard deviation between them, and 95 % intervals of the mean: over seeds, by Student's t"),
        ({"study": STUDY | {"folds": [1, 2]}}, "mean over seeds and folds"),
        ({"entries": []}, "no metric yet in %"),
        ({"cores": [2]}, "CPU cores per run: 2; another number changes the rounding."),
        ({"cores": [2, 4]}, "CPU cores per run: 2 and 4; runs with different numbers of cores round differently"),
        ({"simulated": True}, "SIMULATED data: these numbers do not describe real fields."),
        ({"failed": {"a": "no reason"}}, "Failed: a (no reason)."),
        ({"waiting": ["a", "b"]}, "Not finished: 2 runs (a, b)."),
        ({"waiting": list("abcde")}, "Not finished: 5 runs (a, b, c, d, ...)."),
        ({"entries": [BETTER]}, "Published: a paper."),
        ({"entries": [dataclasses.replace(BASE, every_label=12.34)]}, "A prediction of every label for every tile scores 12.3 % macro F1."),
    ],
)
def test_notes(changes, note):
    assert any(line.startswith(note) or note in line for line in tables.notes(make_summary(BASE, **changes) if "entries" not in changes else make_summary(**changes)))


def test_names_are_shown_never_interpreted(launcher, tmp_path, console):
    """Names come from runs (dataset, parts, modalities, classes) and from the study (rows, sources, reasons)."""
    study, folder = make(label_shares=(1.0,), seeds=(0,)), tmp_path / "study"
    runner.run_study(study, folder, launcher, console=console)
    bad = "x\n\\input{/etc/passwd}|<b>$y$[/bold]"
    for path in (folder / "runs").glob("*/results.json"):
        results = json.loads(path.read_text())
        results["protocol"] |= {"dataset": bad, "protocol": bad, "test": [bad], "classes": [bad, "b"]}
        results["subsets"][0]["modalities"] = [bad, "spot"]
        path.write_text(json.dumps(results))
    rows = {name: dataclasses.replace(row, source=bad) for name, row in study.rows.items()}
    failed = {"plain-seed0-fold1": runner.Outcome("failed", bad)}
    summary.summarise(dataclasses.replace(study, rows=rows), folder, failed)
    tex, markdown = (folder / "table.tex").read_text(), (folder / "table.md").read_text()
    body, comments = tex.split("\\end{tabular}\n")
    assert all(line.startswith("% ") for line in comments.splitlines()) and "input" in comments
    cells = [cell for line in body.splitlines() if line.endswith(" \\\\") for cell in line.removesuffix(" \\\\").split(" & ")]
    assert any("passwd" in cell for cell in cells) and not any(set(active(cell)) & set("\\&%$#_{}~^") for cell in cells)
    lines = markdown.splitlines()
    assert all(re.match(r"# |\| |\|---|- |$", line) for line in lines) and "passwd" in markdown
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")}
    assert len(widths) == 1 and not re.search(r"(?<!\\)[<$]", markdown)
    page = html.write(folder).read_text()
    assert "<b>" not in page and "&lt;b&gt;" in page
