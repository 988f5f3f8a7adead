"""What parcels contribute to the scores: collected from results, written, read again, and refused when damaged."""

import numpy as np
import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.metrics.parcels import parcel_confusion
from omnisat_jax.report.contributions import PARCELS, ParcelCollector, read_parcels
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
