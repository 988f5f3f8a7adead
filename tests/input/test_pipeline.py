"""The pipeline: one draw for all modalities, the same examples on any number of processes, position = step."""

import jax
import numpy as np
import pytest

from omnisat_jax import batch as batches
from omnisat_jax.config import schema
from omnisat_jax.input import pipeline
from omnisat_jax.input.spec import agree
from omnisat_jax.input.transforms import MakeBatch, tile_labels
from tests.conftest import tiny


def make_batch(records, settings, training=True, **changes):
    a = agree(settings, records)
    common = dict(grid=a.grid, origin=settings.data.origin, random=training, augment=True, ignore=19)
    layout = a.train if training else a.evaluation
    return MakeBatch(layout=layout, crop=a.crop if training else a.grid, **(common | changes)), layout


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def flatten(tree, prefix=""):
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in flatten(value, f"{prefix}/{key}").items()}
    return {prefix: tree}


def assert_same(a, b):
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_batches_have_the_declared_form(records, settings):
    transform, layout = make_batch(records, settings)
    data = pipeline.training(records.source(("fold_1",)), transform, seed=0, batch_size=4)
    batch = next(iter(data))
    batches.check_batch(batch, layout, 4)
    batch["s2"]["dates"] = batch["s2"]["dates"].astype(np.int64)
    with pytest.raises(ValueError, match=r"\['s2'\]\['dates'\].*int32.*int64"):
        batches.check_batch(batch, layout, 4)


@pytest.mark.parametrize("split", [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0,), (1,), (2,), (3,))])
def test_same_batch_however_its_rows_are_shared(records, settings, split):
    """Every row of every step, augmentation included, is the same on any number of processes and any order of devices."""
    transform, _ = make_batch(records, settings)
    source = records.source(("fold_1", "fold_2", "fold_3"))
    whole = take(iter(pipeline.training(source, transform, seed=3, batch_size=4)), 4)
    for rows in split:
        share = take(iter(pipeline.training(source, transform, seed=3, batch_size=4, rows=rows)), 4)
        for found, expected in zip(share, whole):
            assert_same(found, jax.tree.map(lambda x: x[list(rows)], expected))  # noqa: B023


def test_position_is_the_step(records, settings):
    transform, _ = make_batch(records, settings)
    data = pipeline.training(records.source(("fold_1", "fold_2")), transform, seed=1, batch_size=2)
    whole = take(iter(data), 6)
    for batch, expected in zip(take(pipeline.start_at(data, 4), 2), whole[4:]):
        assert_same(batch, expected)


@pytest.mark.parametrize(("batch_size", "split"), [(1, [(0,)]), (4, [(0, 1, 2, 3)]), (4, [(0, 1), (2, 3)]), (4, [(0, 2), (1, 3)])])
def test_evaluation_passes_every_tile_once(records, settings, batch_size, split):
    transform, layout = make_batch(records, settings, training=False)
    source = records.source(records.parts)
    seen, lengths = [], set()
    for rows in split:
        got = list(pipeline.evaluation(source, transform, batch_size=batch_size, rows=rows))
        lengths.add(len(got))
        for batch in got:
            batches.check_batch(batch, layout, len(rows))
            seen += batch["tile_index"][batch["weight"] > 0].tolist()
    assert sorted(seen) == list(range(10)) and len(lengths) == 1


def test_flips_and_crops_keep_modalities_aligned(records):
    """A marked square kilometre stays the same square in labels, series and the ten times finer image."""
    settings = schema.parse(tiny(**{"data.crop": 8}))
    transform, _ = make_batch(records, settings)
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


def test_void_parcels(records, settings):
    example = records.source(("fold_1",))[0]
    parcel = example["parcels"].max()
    transform, _ = make_batch(records, settings, augment=False, void_parcels=np.array([parcel]))
    labels = transform.sample(example, np.random.default_rng(0))["labels"]
    assert (labels[example["parcels"] == parcel] == 19).all()
    np.testing.assert_array_equal(labels[example["parcels"] != parcel], example["labels"][example["parcels"] != parcel])


def test_days_count_from_the_origin_and_may_be_negative(records, settings):
    example = records.source(("fold_1",))[0]
    transform, _ = make_batch(records, settings, training=False, origin="2019-06-01")
    dates = transform.sample(example, np.random.default_rng(0))["s2"]["dates"]
    assert dates.min() < 0 < dates.max()


def test_disagreements_are_explained(records):
    with pytest.raises(ValueError, match="modalities.s2: configured as series of 9 channels, stored as series of 10"):
        agree(schema.parse(tiny(**{"modalities.s2.channels": 9})), records)
    changes = {f"modalities.{name}.patch": 3 for name in ("s2", "s1a", "s1d")} | {"modalities.spot.patch": 30}
    with pytest.raises(ValueError, match="cannot be cut into patches of 3 px"):
        agree(schema.parse(tiny(**changes)), records)
    with pytest.raises(ValueError, match="data.crop must be a multiple of 4"):
        agree(schema.parse(tiny(**{"data.crop": 6})), records)
    assert agree(schema.parse(tiny(task="classify")), records).train.labels == (18,)


def test_a_modality_the_data_lack_is_dropped(records):
    config = tiny()
    config.modalities.unlock()
    config.modalities.thermal = config.modalities.s2.copy_and_resolve_references()
    assert agree(schema.parse(config), records).dropped == ("thermal",)


def test_labels_of_a_tile_are_the_classes_with_a_pixel():
    labels = np.array([[0, 3], [19, 1]], np.uint8)
    assert np.flatnonzero(tile_labels(labels, 18, 0)).tolist() == [0, 2]  # classes 1 and 3; neither background nor void
    assert np.flatnonzero(tile_labels(labels, 19, -1)).tolist() == [0, 1, 3]
    assert not tile_labels(np.array([[0, 19]], np.uint8), 18, 0).any()
