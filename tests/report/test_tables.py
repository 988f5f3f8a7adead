"""Tables of results, on the terminal and in Markdown, with the protocol of their numbers."""

import io
import re

import pytest
from rich.console import Console

from omnisat_jax.cli import terminal
from omnisat_jax.report import tables
from tests.report.examples import classification, entry, named, scaling, segmentation
from tests.report.hostile import HOSTILE


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        ({"simulated": True}, "SIMULATED, not comparable with published numbers"),
        ({"validation": ["fold_4"]}, "validation fold_4, test fold_5 (2 tiles)"),
        ({"validation": []}, "validation none (last checkpoint)"),
        ({"checkpoint_is": "best"}, "Checkpoint: step 8 (best). Pre-training: 3 steps."),
        ({"probe": "knn"}, "Frozen tokens (pre-trained for 3 steps), knn probe fitted with all modalities; one class per patch."),
        ({"probe": "knn", "pretrain_steps": 0}, "Frozen tokens (random), knn probe"),
        ({"pretrain_from": "runs/x"}, "Pre-trained by the run in runs/x."),
        ({"label_share": 0.1}, "Labels: 10 % of the training tiles (1 tile)."),
        ({"label_share": 0.5}, "Labels: 50 % of the training tiles (3 tiles)."),
        ({"missing_modalities": ["s1"]}, "Configured, but not in the data: s1."),
        ({"dates": {"s2": 4}}, "Dates per series in evaluation, at most (longer series are sampled evenly): s2 4."),
        ({"min_pixels": 7}, "Only classes with at least 7 labeled pixels enter mIoU."),
        ({"unscored": ["Corn"]}, "Predicted, but not in the mean: Corn."),
        ({"broken": {"on_bad": "mask", "tiles": 3}}, "Tiles with broken files: 3 (data.on_bad=mask)."),
        ({"void_test_parcels": True}, "Training pixels of parcels that also appear in test tiles are void."),
    ],
)
def test_every_part_of_the_protocol_is_shown(protocol, sentence):
    assert sentence in "\n".join(tables.protocol_lines(segmentation(**protocol)))
    assert sentence in tables.markdown(segmentation(**protocol))


def test_tile_labels_have_their_own_scores():
    found = classification()
    assert dict(tables.rows(found)) == {"s2+spot": ["50.0", "60.0", "70.0", "-"]}
    text = tables.markdown(found)
    assert "a prediction of every label for every tile scores macro F1 20.0, mAP 10.0" in text
    assert "| Corn | absent |" in text and r"| Meadow \<b\> | 60.0 |" in text


@pytest.mark.parametrize("make", [segmentation, classification])
def test_a_temperature_is_shown(make):
    assert tables.calibration_lines(make()) == [] and "Calibration:" not in tables.markdown(make())
    lines = [
        "Temperature: 1.500, fitted to fold_4 with all modalities. Scores do not depend on it.",
        "With the temperature, the expected calibration error on the test tiles is 3.00 % instead of 12.00 %, "
        "and the negative log-likelihood 0.5000 instead of 0.7500.",
    ]
    found = make() | {"temperature_scaling": scaling()}
    assert tables.calibration_lines(found) == lines
    assert "\n\nCalibration:\n\n- Temperature: 1.500" in tables.markdown(found)
    console = Console(record=True, width=300)
    tables.show(console, found)
    shown = console.export_text()
    assert all(line in shown for line in lines)


def test_remarks_on_a_temperature_are_shown():
    nothing = {"nll": None, "ece": None, "counts": []}
    found = {"temperature_scaling": scaling(temperature=1.0, remark="None is fitted", validation=[], predictions=0, before=nothing, after=nothing)}
    assert tables.calibration_lines(found) == ["Temperature: 1.000. Scores do not depend on it.", "None is fitted."]
    found["temperature_scaling"] |= {"predictions": 3, "before": nothing | {"ece": 2.0}, "after": nothing | {"ece": 1.0}}
    assert tables.calibration_lines(found)[-1].endswith("is 1.00 % instead of 2.00 %, and the negative log-likelihood - instead of -.")


def test_numbers_of_tiles():
    found = segmentation()
    counts = [[5, 1, 0, 0], [0, 5, 0, 0], [0, 0, 5, 0]]
    found["subsets"] = [entry(("a", "b"), counts, tiles=2, tiles_with_all=0), entry(("a",), [[0] * 4] * 3, tiles=0, tiles_with_all=0)]
    assert {name: cells[-1] for name, cells in tables.rows(found)} == {"a+b": "2 (0 with all)", "a": "0"}
    assert dict(tables.rows(found))["a"] == ["-", "-", "0"]
    assert "scored over the test tiles that hold at least one of its modalities" in tables.markdown(found)


def test_random_weights_of_a_probe_are_the_floor():
    found = segmentation()
    names = [name for name, _ in tables.rows(found | {"floor": found["subsets"]})]
    assert names == ["s2+spot", "s2", "spot", "random weights: s2+spot", "random weights: s2", "random weights: spot"]


def test_names_are_shown_on_a_terminal_and_in_markdown():
    for is_terminal in (True, False):
        out = io.StringIO()
        tables.show(terminal.console(file=out, force_terminal=is_terminal, width=5000), named(HOSTILE))
        shown = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())  # our own colors
        assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown and "\ud800" not in shown
        for name in ("[/bold]", "[red]x", "[link=http://x]y[/link]", ":smile:", r"\x1b[2J\x1b]0;x", r"\u202egnp.exe", r"\ud800"):
            assert name in shown
    text = tables.markdown(named(HOSTILE))
    assert text.encode() and not re.search(r"(?<!\\)[<$`]", text)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 1 + len(set(HOSTILE))


def test_names_are_shown_on_any_console_of_rich():
    out = io.StringIO()
    tables.show(Console(file=out, width=5000), named([name for name in HOSTILE if name.isprintable()]))
    assert "[/bold]" in out.getvalue() and "[red]x" in out.getvalue() and ":smile:" in out.getvalue()
