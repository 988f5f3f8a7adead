"""What parcels contribute to the scores: collected from results, written, read again, and refused when damaged."""

import json

import numpy as np
import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.metrics.parcels import parcel_confusion
from omnisat_jax.report import comparison, contributions, folds
from omnisat_jax.report.contributions import PARCELS, TILES, ParcelCollector, read_parcels
from omnisat_jax.report.results import parcel_entry, training_labels


@pytest.fixture(scope="module")
def evaluated(records):
    """Labels of the test tiles as the first subset predicts them, and class 0 everywhere from the second, which one tile lacks."""
    parts = records.parts[4:]
    collector, source = ParcelCollector(records, parts, 2), records.source(parts)
    tiles = [source[position] for position in range(len(source))]
    labels = np.stack([tile["labels"] for tile in tiles])
    has_any = np.ones((2, len(tiles)), bool)
    has_any[1, 0] = False
    index = np.array([tile["tile_index"] for tile in tiles])
    # A filler, which counts nothing.
    collector({
        "predicted": np.concatenate([np.stack([labels, 0 * labels]), np.zeros((2, 1, *labels.shape[1:]), np.uint8)], 1),
        "has_any": np.concatenate([has_any, np.ones((2, 1), bool)], 1), "tile_index": np.append(index, 0), "weight": np.append(np.ones(len(tiles)), 0),
    })  # fmt: skip
    return collector, tiles


def test_parcels_are_counted_from_the_maps_of_each_subset(records, evaluated):
    collector, tiles = evaluated
    right, zero = collector.confusions()
    labelled = [np.unique(tile["parcels"][(tile["labels"] != records.ignore) & (tile["parcels"] > 0)]) for tile in tiles]
    assert right.sum() == np.trace(right[:, :-1]) == sum(map(len, labelled))
    assert zero[:, 0].sum() == zero.sum() == sum(map(len, labelled[1:]))


def test_no_file_is_written_without_parcels(records, tmp_path):
    collector = ParcelCollector(records, records.parts[4:], 1)
    collector.save(tmp_path / PARCELS)
    assert collector.compute() == collector.confusions() == [] and not (tmp_path / PARCELS).exists()


def test_the_file_is_read_again_and_damage_is_named(records, evaluated, tmp_path):
    collector, _ = evaluated
    collector.save(tmp_path / PARCELS)
    entries = [{"parcels": parcel_entry(confusion, records.classes, ())} for confusion in collector.confusions()]
    results = {"subsets": entries, "protocol": {"classes": list(records.classes), "unscored": []}}
    found = read_parcels(tmp_path, results, 1)
    np.testing.assert_array_equal(parcel_confusion(found.counts, len(records.classes)), collector.confusions()[1])
    assert read_parcels(tmp_path, results | {"subsets": [{}, {}]}, 0) is None
    with np.load(tmp_path / PARCELS) as stored:
        arrays = dict(stored)
    for change in ({"pixels": arrays["pixels"][1:]}, {"label": arrays["label"] + 99}, {"unit": arrays["unit"].astype(float)}, {"pixels": -arrays["pixels"]}):
        np.savez(tmp_path / PARCELS, **arrays | change)
        with pytest.raises(DataError, match="parcels.npz"):
            read_parcels(tmp_path, results, 0)
    (tmp_path / PARCELS).unlink()
    with pytest.raises(DataError, match="parcels.npz"):
        read_parcels(tmp_path, results, 0)


def test_training_labels_leave_out_parcels_of_test_tiles(records):
    parts, test = records.parts[:3], records.parts[4:]
    whole = training_labels(records, parts, 1.0, 0, ())
    source = records.source(parts)
    labelled = [np.unique(tile["parcels"][tile["labels"] != records.ignore]) for tile in map(source.__getitem__, range(len(source)))]
    assert whole["pixels"] == records.label_counts(parts).tolist() and sum(whole["parcels"]) == sum((numbers > 0).sum() for numbers in labelled)
    assert training_labels(records, parts, 1.0, 0, test) == whole  # simulated tiles share no parcel
    assert training_labels(records, parts, 1.0, 0, parts)["parcels"] == [0] * len(records.classes)
    assert sum(training_labels(records, parts, 0.34, 0, ())["pixels"]) < sum(whole["pixels"])


def write(folder, counts, name):
    """A run of two tiles, without parcels, that is scored from counts (2,2,3)."""
    folder.mkdir()
    np.savez(folder / TILES, tile=np.array(["t0", "t1"]), counts=counts[:, None], some=np.ones((2, 1), bool))
    protocol = {
        "dataset": "x", "simulated": False, "fingerprint": "abc", "protocol": "fixed", "fold": 1, "train": ["train"], "validation": [], "test": ["test"],
        "train_tiles": 1, "test_tiles": 2, "classes": ["a", "b"], "unscored": [], "threshold": 0.5, "seed": 0, "void_test_parcels": False, "dates": {},
        "checkpoint": 0, "pretrain_steps": 0, "pretrain_from": "", "label_share": 1.0, "modalities": ["s2"], "missing_modalities": [], "probe": "none",
        "broken": {"on_bad": "raise", "tiles": 0},
    }  # fmt: skip
    entry = {"modalities": ["s2"], "scores": {"miou": 1.0}, "confusion": counts.sum(0).tolist(), "tiles": 2, "tiles_with_all": 2}
    training = [{"pixels": [4, 0], "parcels": [0, 0]}]
    (folder / "results.json").write_text(json.dumps({"name": name, "task": "segment", "protocol": protocol, "subsets": [entry], "training": training}))
    return str(folder)


def test_methods_are_compared_on_the_same_tiles(tmp_path, capsys):
    good, bad = np.array([[[9, 1, 0], [0, 5, 0]], [[9, 0, 0], [1, 5, 0]]]), np.array([[[9, 1, 0], [5, 0, 0]], [[9, 0, 0], [6, 0, 0]]])
    runs = [write(tmp_path / "good", good, "good"), "--beside", write(tmp_path / "bad", bad, "bad")]
    assert folds.main([*runs, "--resamples=50", "--min_training=1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "scored, but not learnable: b" in text and "on the same resampled tiles and parcels" in text
    methods = [comparison.Method(found := folds.read([run]), folds.join(found)) for run in (runs[0], runs[2])]
    first, second = comparison._rows(methods, 50)
    assert first[2][-3:] == ["-", "-", "-"] and first[2][0] == f"{100 * (18 / 20 + 10 / 12) / 2:.1f}"
    difference = methods[1].joined["subsets"][0]["scores"]["miou"] - methods[0].joined["subsets"][0]["scores"]["miou"]
    assert second[2][-3] == f"{difference:+.1f}" and second[2][-2].startswith("[-") and second[2][-1] == "-"
    assert contributions.read_tiles(tmp_path / "good", next(iter(methods[0].runs.values())), 0).names == ("t0", "t1")
