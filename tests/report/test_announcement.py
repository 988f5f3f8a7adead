"""What a run prints of its data before it starts."""

import types

import numpy as np
from rich.console import Console

from omnisat_jax.records.splits import Split
from omnisat_jax.report.announcement import announce

SPLIT = Split(("fold_1",), (), ("fold_2",), "leave_one_fold_out")


def info(simulated):
    return types.SimpleNamespace(simulated=simulated, citation="somebody 2020", made_with=types.SimpleNamespace(on_bad="mask"))


def records(**changes):
    """Records of two parts with one tile each, of classes a and b; nothing is wrong with them."""
    content = {
        "info": info(simulated=False),
        "tiles": lambda parts: ("tile",) * len(parts),
        "labelled_tiles": lambda parts: ("tile",) * len(parts),
        "counts": lambda parts: {"s2": {"present": 2, "absent": 0, "wholly_unknown": 0, "invalid_dates": 0}},
        "label_counts": lambda parts: np.array([5, 5]),
        "constant_bands": lambda parts, clear: {"s2": ("B02",), "other": ("X",)} if clear else {},
        "bad": (), "parts": ("fold_1", "fold_2"), "classes": ("a", "b"),
    }  # fmt: skip
    return types.SimpleNamespace(**content | changes)


def shown(found, dropped=(), unused=(), clear=False):
    console = Console(record=True, width=300)
    specs = (types.SimpleNamespace(name="s2"),)
    announce(console, found, SPLIT, types.SimpleNamespace(specs=specs, dropped=dropped, unused=unused, classes=("a", "b")), clear=clear)
    return console.export_text()


def test_sound_data_need_two_lines():
    assert shown(records()).splitlines() == [
        "data: somebody 2020",
        "protocol leave_one_fold_out: train fold_1 (1 tile), validation none, test fold_2 (1 tile); modalities s2",
    ]


def test_whatever_is_missing_is_named():
    assert "configured, but not in the data: s1" in shown(records(), dropped=("s1",))
    assert "in the data, but not configured, so not used: spot" in shown(records(), unused=("spot",))
    assert "SIMULATED DATA: no score of this run describes real fields" in shown(records(info=info(simulated=True)))
    bad = [{"tile": "7", "action": "masked", "message": "tile 7: x.npy: expected [3], found 4."}] * 2
    text = shown(records(bad=bad))
    assert "broken files in 1 tile: 0 left out, 2 masked (data.on_bad=mask). The first:" in text and "expected [3], found 4" in text
    counts = {"s2": {"present": 1, "absent": 1, "wholly_unknown": 1, "invalid_dates": 4}}
    text = shown(records(counts=lambda parts: counts))
    assert "s2: absent from 1 of 2 tiles (1 of them with a file without any measurement); 4 dates without a usable pixel masked" in text


def test_bands_without_variation_are_named_once():
    text = shown(records(), clear=True)
    assert text.count("one value in all training tiles") == text.count("s2: one value in all training tiles (standard deviation 0) of B02; what") == 1


def test_classes_without_labels_are_named_if_there_are_labels_at_all():
    text = shown(records(label_counts=lambda parts: np.array([5, 0])))
    assert "classes without a label in the training parts: b" in text and "in the test parts: b" in text
    assert "without a label" not in shown(records(label_counts=lambda parts: np.array([0, 0])))


def test_tiles_without_labels_are_counted_by_use():
    assert "with labels" not in shown(records())
    text = shown(records(labelled_tiles=lambda parts: ("tile",) * (parts == ("fold_2",))))
    assert "with labels: 0 of 1 training tile, 1 of 1 test tile; those without serve pre-training if they are training tiles" in text
