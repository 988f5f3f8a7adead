"""The page of a study."""

import json

import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.report import html, study_page

STUDY = {
    "command": "launch.py --study=x.py", "study": {"name": "trial", "seeds": [0], "rows": {"a": {}}}, "simulated": False,
    "columns": ["row", "mean"], "cells": [["a", "50.0"], ["<b>", "-"]], "notes": ["a note"], "words": ["a is highest"],
    "entries": [
        {"row": "a", "label_share": 0.1, "mean": 50.0, "metric": "mIoU", "interval": [40.0, 60.0]},
        {"row": "<b>", "label_share": 0.1, "mean": None, "metric": "mIoU", "interval": None},
        {"row": "a", "label_share": 1.0, "mean": 70.0, "metric": "mIoU", "interval": [60.0, 80.0]},
    ],
}  # fmt: skip


def test_a_whole_page(tmp_path):
    (tmp_path / "study.json").write_text(json.dumps(STUDY))
    page = study_page.read_page(tmp_path)
    assert page.title == "trial" and page.summary == ["a is highest"] and page.protocol == ["a note"]
    assert [chart.title for chart in page.charts] == ["With 10 % of the labels", "With 100 % of the labels"]
    assert page.tables[0].rows == STUDY["cells"] and page.configuration == {"name": "trial", "seeds": [0]}
    text = html.write(tmp_path).read_text()
    assert "python launch.py --study=x.py" in text and "&lt;b&gt;" in text and "<b>" not in text and "Simulated data" not in text


def test_a_single_share_of_labels(tmp_path):
    (tmp_path / "study.json").write_text(json.dumps(STUDY | {"entries": STUDY["entries"][:2]}))
    assert [chart.title for chart in study_page.read_page(tmp_path).charts] == ["Scores by row"]


@pytest.mark.parametrize(("key", "value"), [("study", {}), ("entries", [{"row": 3}]), ("cells", [[1]]), ("simulated", "no")])
def test_a_damaged_page_is_named(key, value, tmp_path):
    (tmp_path / "study.json").write_text(json.dumps(STUDY | {key: value}))
    with pytest.raises(DataError, match=f"study.json: expected {key}.* Start the study again"):
        study_page.read_page(tmp_path)
