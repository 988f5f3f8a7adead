"""Splits use every part or refuse it by name, and parts without labels are neither trained on nor scored."""

import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data.prepare import prepare
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import check_labels, choose_split
from tests.conftest import tiny

FIVE = tuple(f"fold_{i}" for i in range(1, 6))
TEN = tuple(f"fold_{i}" for i in range(1, 11))


@pytest.mark.parametrize("fold", range(1, 6))
def test_official_folds(fold):
    split = choose_split("official_5fold", FIVE, fold)
    assert sorted(split.train + split.validation + split.test) == list(FIVE)
    assert split.validation[0] == f"fold_{(fold + 2) % 5 + 1}" and split.test[0] == f"fold_{(fold + 3) % 5 + 1}"


def test_protocols():
    assert choose_split("single_split", FIVE, 3).test == ("fold_5",)
    assert choose_split("auto", FIVE, 2).protocol == "official_5fold"
    four = choose_split("auto", FIVE[:4], 2)
    assert (four.protocol, four.test, four.validation) == ("leave_one_fold_out", ("fold_2",), ())
    assert choose_split("auto", ("train", "validation", "test"), 1).protocol == "fixed"
    with pytest.raises(UserError, match="needs fold_5"):
        choose_split("official_5fold", FIVE[:4], 1)
    with pytest.raises(UserError, match="1 to 4"):
        choose_split("leave_one_fold_out", FIVE[:4], 5)
    with pytest.raises(UserError, match="expected one of auto, .*found 'official_5fodl'"):
        choose_split("official_5fodl", FIVE, 1)


def test_more_than_the_official_folds_are_all_used():
    for fold in range(1, 11):
        split = choose_split("auto", sorted(TEN), fold)  # fold_1, fold_10, fold_2, ...
        assert split.protocol == "leave_one_fold_out" and split.test == (f"fold_{fold}",)
        assert set(split.train) == set(TEN) - set(split.test)
    for protocol in ("official_5fold", "single_split", "tile_f1"):
        with pytest.raises(UserError, match=r"would leave fold_6, fold_7, fold_8, fold_9, fold_10 unused"):
            choose_split(protocol, TEN, 1)


def test_folds_are_found_by_their_numbers():
    assert choose_split("auto", ("fold_01", "fold_02", "fold_10"), 10).test == ("fold_10",)
    assert choose_split("auto", ("fold_2", "fold_3", "fold_5"), 5).test == ("fold_5",)
    with pytest.raises(UserError, match="expected 2, 3, 5, of at least 2 parts"):
        choose_split("auto", ("fold_2", "fold_3", "fold_5"), 1)
    # Without numbers from 1 on, the position in the order of names counts.
    assert choose_split("auto", ("fold_1", "fold_0"), 1).test == ("fold_0",)
    assert choose_split("auto", ("north", "east"), 1).test == ("east",)
    with pytest.raises(UserError, match="two parts with the same number"):
        choose_split("auto", ("fold_1", "fold_01", "fold_2"), 1)
    with pytest.raises(UserError, match="a part twice"):
        choose_split("auto", ("fold_1", "fold_1", "fold_2"), 1)


def test_named_parts_are_used_or_refused_by_name():
    split = choose_split("auto", ("train", "val", "test"), 1)
    assert (split.protocol, split.train, split.validation, split.test) == ("fixed", ("train",), ("val",), ("test",))
    for parts, message in (
        (("train", "val", "validation", "test"), "validation.*found val and validation|found val and validation"),
        (("train", "test", "holdout"), "would leave holdout unused"),
        (("train", "valid", "test"), "would leave valid unused"),
        (("train", "val"), "needs test"),
        (("Train", "Test"), "needs train, test, but the dataset has Train, Test"),
    ):
        with pytest.raises(UserError, match=message):
            choose_split("auto", parts, 1)


names = st.sampled_from([*TEN, "train", "test", "val", "validation", "north", "fold_01", "a1b2", "7"])
protocols = st.sampled_from(["auto", "official_5fold", "single_split", "tile_f1", "leave_one_fold_out", "fixed"])


@hypothesis.given(protocols, st.lists(names, max_size=12), st.integers(-1, 12))
def test_no_part_is_ever_left_out_or_used_twice(protocol, parts, fold):
    try:
        split = choose_split(protocol, parts, fold)
    except UserError:
        return
    assert sorted(split.train + split.validation + split.test) == sorted(parts)
    assert split.train and split.test


def void(root, tiles):
    for tile in tiles:
        path = root / "ANNOTATIONS" / f"TARGET_{tile}.npy"
        np.save(path, np.full_like(np.load(path), 19))


def with_void(simulated, tmp_path, console, tiles):
    root = tmp_path / "raw"
    shutil.copytree(simulated, root)
    void(root, tiles)
    config = schema.parse(tiny(**{"data.raw_dir": str(root), "data.cache_dir": str(tmp_path / "cache")}))
    return Records(prepare(config.data, console))


def test_labels_are_counted(records, simulated):
    parts = ("fold_1", "fold_4")
    labels = np.concatenate([np.load(simulated / "ANNOTATIONS" / f"TARGET_{tile}.npy")[0].ravel() for tile in records.tiles(parts)])
    np.testing.assert_array_equal(records.label_counts(parts), np.bincount(labels, minlength=20)[:19])
    share = records.source(parts, 0.3, seed=2)
    few = np.concatenate([share[i]["labels"].ravel() for i in range(len(share))])
    np.testing.assert_array_equal(records.label_counts(parts, 0.3, seed=2), np.bincount(few, minlength=20)[:19])


# With ten tiles, tiles 10004 and 10009 are fold 5, 10003 and 10008 fold 4.
@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        (["10004", "10009"], "labeled pixel in the test parts fold_5, found none"),
        (["10003", "10008"], "labeled pixel in the validation parts fold_4, found none"),
        ([str(10000 + i) for i in range(10) if i % 5 < 3], "labeled pixel in the training parts fold_1, fold_2, fold_3, found none"),
    ],
)
def test_parts_without_labels_are_refused(simulated, tmp_path, console, tiles, message):
    records = with_void(simulated, tmp_path, console, tiles)
    split = choose_split("auto", records.parts, 1)
    with pytest.raises(UserError, match=message):
        check_labels(records, split, schema.parse(tiny()))
    # Pre-training alone sees no label.
    check_labels(records, split, schema.parse(tiny(**{"finetune.steps": 0})))


def test_a_share_without_labels_is_refused(simulated, tmp_path, console):
    kept = "10000"
    records = with_void(simulated, tmp_path, console, [str(10000 + i) for i in range(10) if i % 5 < 3 and str(10000 + i) != kept])
    split = choose_split("auto", records.parts, 1)
    check_labels(records, split, schema.parse(tiny()))
    outcomes = []
    for seed in range(8):
        source = records.source(split.train, 0.2, seed)
        labelled = kept in {records.tile_ids[source[i]["tile_index"]] for i in range(len(source))}
        config = schema.parse(tiny(**{"data.label_share": 0.2, "seed": seed}))
        if labelled:
            check_labels(records, split, config)
        else:
            with pytest.raises(UserError, match=r"training parts .* \(20 % of the tiles, data.label_share\), found none"):
                check_labels(records, split, config)
        outcomes.append(labelled)
    assert set(outcomes) == {True, False}


def test_parcels_of_the_test_parts_may_leave_no_label(records, monkeypatch):
    split, config = choose_split("auto", records.parts, 1), schema.parse(tiny(**{"data.void_test_parcels": True}))
    check_labels(records, split, config)
    every = np.unique(np.concatenate([example["parcels"].ravel() for example in records.source(records.parts)]))
    monkeypatch.setattr(records, "parcels", lambda parts: every)
    with pytest.raises(UserError, match="outside the parcels of the test parts, found none"):
        check_labels(records, split, config)
