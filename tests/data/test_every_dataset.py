"""What must hold for every dataset, whatever its reader."""

import dataclasses
import shutil

import numpy as np
import pytest

from data.reading.datasets import check, open_dataset, simulator
from data.reading.raw import SAMPLE, DataError, RawModality, location_modality, sample_evenly
from data.verification.checks import check_tile

IMAGE = RawModality("image", (8, 8, 3), "uint8", ("R", "G", "B"))


@pytest.fixture(scope="session")
def treesat(tmp_path_factory):
    return simulator("treesat").simulate(tmp_path_factory.mktemp("treesat") / "t", tiles=10, tile_size=304, seed=0)


CONTRADICTIONS = {
    "no tile": ({"parts": {"fold_1": (), "fold_2": ()}}, "at least one tile"),
    "no part": ({"parts": {}}, "at least one tile"),
    "a tile in two parts": ({"parts": {"a": ("1", "2"), "b": ("2", "3")}}, "tile 2: .*once, in one part, found parts a and b, and 0 more"),
    "a tile twice in a part": ({"parts": {"a": ("1", "1")}}, "tile 1: .*once, in one part, found part a twice"),
    "a part that is a path": ({"parts": {"../x": ("1",)}}, "the name of a part"),
    "an absolute part": ({"parts": {"/tmp/x": ("1",)}}, "the name of a part"),
    "a tile that is a path": ({"parts": {"a": ("../1",)}}, "the name of a tile"),
    "a tile with an escape": ({"parts": {"a": ("\x1b[31m1",)}}, "the name of a tile"),
    "a sensor called labels": ({"modalities": {"labels": IMAGE}}, "no modality called .*labels.*, found labels"),
    "a sensor called remarks": ({"modalities": {"remarks": IMAGE}}, "no modality called"),
    "a sensor called location": ({"modalities": {"location": IMAGE}}, "location: image"),
    "a location of another name": ({"modalities": {"s2": location_modality()}}, "s2: location"),
    "no modality": ({"modalities": {}}, "at least one modality"),
    "too few colors": ({"colours": ("#000000",)}, "a color for each of the 19 classes, found 1"),
    "colors of another form": ({"colours": ("red",) * 19}, "colors #rrggbb"),
    "two classes of one name": ({"classes": ("Grass", "Maize", "Grass"), "colours": ()}, "each class once, found Grass"),
    "a class with an escape": ({"classes": ("Grass", "\x1b[31m"), "colours": ()}, "the name of a class"),
    "a class without a name": ({"classes": ("Grass", " "), "colours": ()}, "the name of a class"),
    "one class": ({"classes": ("Grass",), "colours": ()}, "2 to 255 classes"),
    "void that is a class": ({"ignore": 3}, "a void label that is not a class"),
    "void beyond uint8": ({"ignore": 256}, "a void label that is not a class"),
    "a background that is not a class": ({"background": 19}, "a background that is a class"),
    "an unscored class that does not exist": ({"unscored": ("Rye",)}, "unscored classes among the classes, found Rye"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused(simulated, name):
    changes, message = CONTRADICTIONS[name]
    good = open_dataset("pastis", simulated)
    assert check(good) is good
    with pytest.raises(DataError, match=message):
        check(dataclasses.replace(good, **changes))


@pytest.mark.parametrize(
    ("name", "convert", "found"),
    [
        ("spot", lambda values: values.astype(np.uint16) + 300, r"spot as uint8 .*found uint16"),  # as uint8, 300 would be 44
        ("s2", lambda values: values.astype(np.int32), r"s2 as int16 \(T, .*found int32"),
        ("s1a", lambda values: values.transpose(0, 3, 1, 2), r"s1a as float32 \(T, .*, 3\), found float32 .*3, "),
    ],
)
def test_a_reader_of_another_form_than_it_declares_is_refused(simulated, name, convert, found):
    good = open_dataset("pastis", simulated)
    reader, tile = good.readers[name], good.tiles[0]
    odd = dataclasses.replace(good, readers={**good.readers, name: lambda tile: (entry := reader(tile)) | {"values": convert(entry["values"])}})
    assert good.read(tile)[name].keys() == odd.readers[name](tile).keys()
    with pytest.raises(DataError, match=f"tile {tile}: .*{found}"):
        odd.read(tile)
    findings, _ = check_tile(odd, tile)
    assert any(finding.kind == "unreadable" and name in finding.expected for finding in findings)


def test_a_sample_reaches_from_the_first_item_to_the_last_ones():
    for count in (1, 64, 65, 127, 128, 1000):
        found = sample_evenly(range(count))
        assert found[0] == 0 and len(found) <= SAMPLE and found[-1] >= count - max(1, count // 20)


@pytest.mark.parametrize(("source", "target"), [("train", "test"), ("val", "test"), ("train", "val")])
def test_lists_that_share_tiles_are_refused_when_opened(treesat, tmp_path, source, target):
    root = shutil.copytree(treesat, tmp_path / "t")
    shared = (root / f"{source}_filenames.lst").read_text().split()[0]
    with open(root / f"{target}_filenames.lst", "a") as names:
        names.write(f"\n{shared}\n")
    with pytest.raises(DataError, match="in one part"):
        open_dataset("treesat", root)


def test_a_repeated_line_of_a_list_is_refused(treesat, tmp_path):
    root = shutil.copytree(treesat, tmp_path / "t")
    path = root / "train_filenames.lst"
    path.write_text(path.read_text() + "\n" + path.read_text())
    with pytest.raises(DataError, match="part train twice, and 5 more"):
        open_dataset("treesat", root)
