"""Tables and reports of subsets of modalities that few tiles have, or none."""

import json

import numpy as np
import pytest
from rich.console import Console

from omnisat_jax.metrics.segmentation import SegmentationScores
from omnisat_jax.report import charts, folds, html, results, tables
from tests.report.examples import PROTOCOL

NAMES = ("aerial", "radar")
SOME, NONE = [[5, 1, 0, 0], [0, 5, 0, 0], [0, 0, 5, 0]], np.zeros((3, 4), int)


def entry(names, counts, tiles, whole):
    scores = SegmentationScores(("Background", "Meadow", "Corn"))
    scores.add(np.array(counts), np.zeros((15, 3)))
    return {
        "modalities": list(names), "scores": results.plain(scores.compute()), "confusion": scores.confusion.tolist(),
        "calibration": scores.calibration.tolist(), "tiles": tiles, "tiles_with_all": whole,
    }  # fmt: skip


def report_of(**changes):
    rows = [entry(NAMES, SOME, 2, 0), entry(NAMES[:1], NONE, 0, 0), entry(NAMES[1:], SOME, 2, 2)]
    protocol = PROTOCOL | {"classes": ["Background", "Meadow", "Corn"]} | changes
    return {"name": "trial", "task": "segment", "protocol": protocol, "subsets": rows}


def test_every_table_says_so(tmp_path):
    found = report_of()
    assert dict(tables.rows(found))["aerial"] == ["-", "-", "0"]
    assert dict(tables.rows(found))["aerial+radar"][-1] == "2 (0 with all)"
    text = tables.markdown(found)
    assert "| aerial | - | - | 0 |" in text and "over the test tiles that hold at least one of its modalities" in text
    console = Console(record=True, width=200)
    tables.show(console, found)
    assert "nan" not in console.export_text().lower()
    (tmp_path / "results.json").write_text(json.dumps(found, allow_nan=False))
    page = html.write(tmp_path).read_text()
    assert "<td>-</td>" in page.replace('<td class="number">', "<td>") and ">nan<" not in page.lower()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_report_of_no_score_at_all_is_made(tmp_path, value):
    """As of a run whose test tiles have no label."""
    found = report_of()
    for row in found["subsets"]:
        row |= entry(row["modalities"], NONE, row["tiles"], row["tiles_with_all"])
        row["scores"] |= {"miou": value, "oa": value, "ece": value}
    (tmp_path / "results.json").write_text(json.dumps(found))
    assert "there is no mIoU" in html.write(tmp_path).read_text()
    assert charts.bars({"a": value, "b": value}, "%", intervals={"a": (np.nan, np.nan)}, missing="-")


def test_joined_folds_add_tiles():
    joined = folds.join({"a": report_of(test=["fold_1"]), "b": report_of(test=["fold_2"])})
    both, aerial, radar = joined["subsets"]
    assert (both["tiles"], both["tiles_with_all"], radar["tiles"]) == (4, 0, 4)
    assert aerial["tiles"] == 0 and aerial["scores"]["miou"] is None
