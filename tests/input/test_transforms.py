"""Samples: one random draw for all modalities, dates, crops, flips and labels."""

import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.input.transforms import tile_labels
from tests.conftest import tiny
from tests.input.transform import make_batch


def test_flips_and_crops_keep_modalities_aligned(records):
    """A marked square stays at the same position in labels, series and the image of ten times the resolution."""
    config = schema.parse(tiny(**{"data.crop": 8}))
    transform, _ = make_batch(records, config)
    example = dict(records.source(("fold_1",))[0])
    mark = np.zeros((16, 16), np.uint8)
    mark[4:8, 8:12] = 1
    example["labels"] = mark
    example["s2"] = example["s2"] | {
        "values": np.broadcast_to(mark[None, :, :, None], example["s2"]["values"].shape).astype(np.int16)
    }
    fine = np.kron(mark, np.ones((10, 10), np.uint8))
    example["spot"] = {"values": np.broadcast_to(fine[None, :, :, None], (1, 160, 160, 3))}
    hits = 0
    for seed in range(12):
        out = transform.sample(example, np.random.default_rng(seed))
        label = out["labels"]
        assert label.shape == (8, 8) and out["spot"]["values"].shape == (80, 80, 3)
        for frame in out["s2"]["values"][out["s2"]["valid"]]:
            np.testing.assert_array_equal(frame[..., 0], label)
        np.testing.assert_array_equal(out["spot"]["values"][::10, ::10, 0], label)
        hits += label.any()
    assert hits > 0


def test_void_parcels(records, config):
    example = records.source(("fold_1",))[0]
    parcel = example["parcels"].max()
    transform, _ = make_batch(records, config, augment=False, void_parcels=np.array([parcel]))
    labels = transform.sample(example, np.random.default_rng(0))["labels"]
    assert (labels[example["parcels"] == parcel] == 19).all()
    np.testing.assert_array_equal(labels[example["parcels"] != parcel], example["labels"][example["parcels"] != parcel])


def test_draws_do_not_depend_on_what_a_tile_holds(records, config):
    transform, _ = make_batch(records, schema.parse(tiny(**{"data.crop": 8})))
    example = records.source(("fold_1",))[0]
    empty = {"values": example["s2"]["values"][:0], "dates": example["s2"]["dates"][:0], "valid": example["s2"]["valid"][:0]}
    for seed in range(5):
        one, other = (transform.random_map(e, np.random.default_rng(seed)) for e in (example, example | {"s2": empty}))
        assert (one.corner, one.turns, one.flip) == (other.corner, other.turns, other.flip)
        assert len(other.chosen["s2"]) == 0


def test_absent_modalities_and_fillers_are_zero(records, config):
    transform, layout = make_batch(records, config)
    example = records.source(("fold_1",))[0]
    absent = example | {"spot": {"values": example["spot"]["values"][:0]}}
    batch = transform.batch([transform.random_map(absent, np.random.default_rng(0)), None])
    assert batch["weight"].tolist() == [1, 0] and batch["spot"]["present"].tolist() == [False, False]
    assert not batch["spot"]["values"].any() and not batch["s2"]["valid"][1].any() and batch["s2"]["valid"][0].any()


def test_without_randomness_nothing_is_drawn(records, config):
    transform, _ = make_batch(records, config, training=False)
    example = records.source(("fold_1",))[0]
    drawn = transform.random_map(example, np.random.default_rng(0))
    assert (drawn.corner, drawn.turns, drawn.flip) == ((0, 0), 0, False)
    np.testing.assert_array_equal(transform.sample(example, np.random.default_rng(1))["labels"], example["labels"])


def test_days_count_from_the_origin_and_may_be_negative(records, config):
    example = records.source(("fold_1",))[0]
    transform, _ = make_batch(records, config, training=False, origin="2019-06-01")
    dates = transform.sample(example, np.random.default_rng(0))["s2"]["dates"]
    assert dates.min() < 0 < dates.max()


def test_labels_of_a_tile_are_the_classes_with_a_pixel():
    labels = np.array([[0, 3], [19, 1]], np.uint8)
    assert np.flatnonzero(tile_labels(labels, 18, 0)).tolist() == [0, 2]  # classes 1 and 3; neither background nor void
    assert np.flatnonzero(tile_labels(labels, 19, -1)).tolist() == [0, 1, 3]
    assert not tile_labels(np.array([[0, 19]], np.uint8), 18, 0).any()
