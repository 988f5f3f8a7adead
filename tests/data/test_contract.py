"""Mistakes in a reader, one for every value that it returns: each is one sentence that names the reader and the tile, where the value enters."""

import dataclasses
import pathlib

import numpy as np
import pytest

from data.reading import datasets, raw
from data.reading.datasets import open_dataset
from data.reading.index import check_index
from data.reading.raw import DataError, RawDataset, RawModality
from omnisat_jax.errors import UserError

MODALITIES = {
    "s2": RawModality("series", (4, 4, 2), "int16", ("red", "nir")),
    "aerial": RawModality("image", (8, 8, 1), "uint8", ("gray",), (0.1,), (0.0,), 0.2),
    "location": raw.location_modality(),
}
ENTRIES = {
    "s2": {"values": np.ones((3, 4, 4, 2), np.int16), "dates": np.array([10, 10, 900], np.int32), "valid": np.ones(3, bool)},
    "aerial": {"values": np.ones((1, 8, 8, 1), np.uint8)},
    "location": {"values": np.array([[8.5, 47.4]], np.float32)},
    "labels": {"labels": np.array([[0, 1], [255, 1]], np.uint8), "parcels": np.zeros((2, 2), np.int64)},
}


def dataset(entries=ENTRIES, **changes):
    made = RawDataset(
        name="meadow",
        root=pathlib.Path("meadow"),
        simulated=True,
        citation="made up",
        task="segment",
        classes=("dry", "wet"),
        ignore=255,
        background=-1,
        label_side=2,
        modalities=MODALITIES,
        parts={"train": ("a",), "test": ("b",)},
        readers={name: lambda tile, name=name: entries[name] for name in MODALITIES},
        labels=lambda tile: entries["labels"],
        path_of=lambda tile, name: pathlib.Path("meadow", tile, name),
    )
    return dataclasses.replace(made, **changes)


def returning(name, entry):
    return dataset(ENTRIES | {name: entry})


def test_a_right_reader_is_read():
    example = datasets.check(check_index(dataset(), "meadow")).read("a")
    assert example["s2"] is ENTRIES["s2"] and example["labels"].dtype == np.uint8
    absent = {name: raw.absent(modality, "clouds") for name, modality in MODALITIES.items()}
    assert dataset(ENTRIES | absent).read("a")["remarks"] == dict.fromkeys(MODALITIES, "clouds")
    tile_labels = {"labels": np.array([0, 1], np.float32)}
    assert dataset(ENTRIES | {"labels": tile_labels}, task="classify", label_side=0).read("a")["labels"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("s2", {"values": np.ones((3, 4, 4, 2), np.int32)}, r"values of s2 as int16 \(T, 4, 4, 2\), found int32 \(3, 4, 4, 2\)"),
        ("s2", {"values": np.ones((3, 2, 4, 4), np.int16)}, r"values of s2 as int16 \(T, 4, 4, 2\), found int16 \(3, 2, 4, 4\)"),
        ("s2", {"values": np.ones((4, 4, 2), np.int16)}, r"values of s2 as int16 \(T, 4, 4, 2\), found int16 \(4, 4, 2\)"),
        ("s2", {"values": [1, 2]}, "values of s2 as int16 .*, found list"),
        ("s2", {"dates": np.array([1, 2], np.int32)}, r"dates of s2 as int32 \(3,\), found int32 \(2,\)"),
        ("s2", {"dates": np.array(["2020-01-01"] * 3, "datetime64[D]")}, r"dates of s2 as int32 \(3,\), found datetime64\[D\] \(3,\)"),
        ("s2", {"dates": np.array([20200101] * 3, np.int32)}, "dates of s2 as days since 1970-01-01, from 1970 to 2100, found 20200101"),
        ("s2", {"dates": np.array([-1, 2, 3], np.int32)}, "dates of s2 as days since .* from 1970 to 2100, found -1"),
        ("s2", {"dates": np.array([3, 2, 4], np.int32)}, "dates of s2 in ascending order"),
        ("s2", {"valid": np.ones(3, np.uint8)}, r"valid of s2 as bool \(3,\), found uint8"),
        ("s2", {"more": 1}, "s2 as a dictionary of 'values' and 'dates' and 'valid', found values, dates, valid, more"),
        ("aerial", {"dates": np.zeros(1, np.int32)}, "aerial as a dictionary of 'values', found values, dates"),
        ("aerial", {"values": np.ones((8, 8, 1), np.uint8)}, r"values of aerial as uint8 \(0 or 1, 8, 8, 1\), found uint8 \(8, 8, 1\)"),
        ("aerial", {"values": np.ones((2, 8, 8, 1), np.uint8)}, "at most one image as values of aerial, found 2"),
        ("aerial", {"remark": 3}, "a text as remark of aerial, found int"),
        ("location", {"values": np.array([8.5, 47.4], np.float32)}, r"values of location as float32 \(0 or 1, 2\), found float32 \(2,\)"),
        ("location", {"values": np.array([[47.4, 98.5]], np.float32)}, "longitude and latitude in degrees as values of location, found .47.4"),
        ("location", {"values": np.array([[np.nan, 8.5]], np.float32)}, "longitude and latitude in degrees"),
        ("labels", {"labels": np.zeros((2, 2), np.int64)}, r"labels of labels as uint8 \(2, 2\), found int64 \(2, 2\)"),
        ("labels", {"labels": np.zeros((4, 4), np.uint8)}, r"labels of labels as uint8 \(2, 2\), found uint8 \(4, 4\)"),
        ("labels", {"labels": np.full((2, 2), 2, np.uint8)}, "labels from 0 to 1, or 255 for unknown, found 2"),
        ("labels", {"parcels": np.zeros((2, 2), np.int32)}, r"parcels of labels as int64 \(2, 2\), found int32"),
    ],
)
def test_wrong_values_are_refused_where_they_enter(name, changes, message):
    wrong = returning(name, ENTRIES[name] | changes)
    with pytest.raises(DataError, match=rf"^tile a: meadow/a/{name}: expected the reader of meadow to return {message}.*Correct the reader"):
        wrong.read("a")


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize(("entry", "found"), [(None, "NoneType"), (np.zeros(2), "ndarray"), ({}, "an empty one")])
def test_something_else_than_an_entry_is_refused(name, entry, found):
    with pytest.raises(DataError, match=f"the reader of meadow to return {name} as a dictionary of .*, found {found}"):
        returning(name, entry).read("a")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1]), r"as float32 \(2,\), found int64 \(2,\)"),
        (np.array([[0, 1]], np.float32), r"as float32 \(2,\), found float32 \(1, 2\)"),
        (np.array([0, 3], np.float32), "labels from 0 to 1, one for each class, found 0 to 3"),
        (np.array([0, np.nan], np.float32), "labels from 0 to 1"),
    ],
)
def test_wrong_labels_of_tiles_are_refused(labels, message):
    with pytest.raises(DataError, match=f"tile a: .*the reader of meadow to return .*{message}"):
        dataset(ENTRIES | {"labels": {"labels": labels}}, task="classify", label_side=0).read("a")


def test_an_error_of_a_reader_is_one_sentence_and_others_pass():
    wrong = returning("s2", None)
    with pytest.raises(DataError, match="tile a: meadow/a/aerial: expected the reader of meadow to read aerial, found KeyError: 'aerial'"):
        dataclasses.replace(wrong, readers=wrong.readers | {"aerial": lambda tile: {}["aerial"]}).read_modality("aerial", "a")
    with pytest.raises(DataError, match="tile a: meadow: expected the reader of meadow to return s2"):  # of which not even the path can be told
        dataclasses.replace(wrong, path_of=lambda tile, name: 1 / 0).read("a")
    with pytest.raises(MemoryError):
        dataclasses.replace(wrong, labels=_no_memory).read_labels("a")


def _no_memory(tile):
    raise MemoryError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "a text as name, found 3"),
        ({"task": "detect"}, "segment or classify as task, found 'detect'"),
        ({"label_side": 2.0}, "label_side from 1 on, found 2.0"),
        ({"task": "classify"}, "label_side 0, as tiles are labeled, found 2"),
        ({"ignore": None}, "a whole number from -1 to 255 as ignore, found None"),
        ({"classes": ("dry", 2)}, "a tuple of texts as classes"),
        ({"parts": ["train"]}, "{part: tile ids} as parts"),
        ({"parts": {"train": "abc"}}, "a tuple of tile ids as part train, found 'abc'"),
        ({"parts": {"train": (1, 2)}}, "texts as tile ids of part train, found 1"),
        ({"unlabelled": ("a",)}, "a set of tile ids as RawDataset.unlabelled"),
        ({"modalities": {"s2": "int16"}}, "a RawModality as modality s2"),
        ({"readers": {}}, "readers of s2, aerial, location, found {}"),
        ({"readers": dict.fromkeys(MODALITIES)}, "a function as the reader of s2, found None"),
        ({"labels": None}, "a function as labels, found None"),
    ],
)
def test_a_wrong_index_is_refused(changes, message):
    with pytest.raises(DataError, match=f"^meadow: expected the reader of meadow to give {message}"):
        check_index(dataset(**changes), "meadow")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "video"}, "one of series, image, location as kind of s2, found 'video'"),
        ({"dtype": "float64"}, "one of int16, .* as dtype of s2, found 'float64'"),
        ({"shape": (4, 4)}, r"\(H, W, C\) as shape of s2, found \(4, 4\)"),
        ({"shape": [4, 4, 2]}, r"\(H, W, C\) as shape of s2"),
        ({"kind": "location"}, r"\(2,\) as shape of s2"),
        ({"bands": ("red",)}, "the names of 2 bands of s2, as its shape says"),
        ({"scale": (1.0,)}, "one scale for each of the 2 bands of s2, or none"),
        ({"scale": (1.0, 0.0)}, "one scale for each of the 2 bands of s2, or none"),
        ({"offset": (1.0, float("nan"))}, "one offset for each of the 2 bands of s2, or none"),
        ({"resolution": -1}, "meters per pixel, or 0, as resolution of s2"),
    ],
)
def test_a_wrong_modality_is_refused(changes, message):
    modalities = MODALITIES | {"s2": dataclasses.replace(MODALITIES["s2"], **changes)}
    with pytest.raises(DataError, match=f"^meadow: expected the reader of meadow to give {message}"):
        check_index(dataset(modalities=modalities), "meadow")


def test_what_is_no_index_is_refused(monkeypatch, tmp_path):
    def opening(result):
        monkeypatch.setitem(datasets.DATASETS, "meadow", lambda: type("Reader", (), {"open_raw": staticmethod(result)}))
        return open_dataset("meadow", tmp_path)

    with pytest.raises(UserError, match="the reader of meadow: expected open_raw to return a RawDataset, found dict"):
        opening(lambda root: {})
    with pytest.raises(UserError, match="the reader of meadow: expected open_raw to index .*, found KeyError: 'x'"):
        opening(lambda root: {}["x"])
    assert opening(lambda root: dataset()).tiles == ("a", "b")
