"""Tiles without labels: a fault unless the user says that they have none; then they are kept for pre-training, and counted."""

import io
import json
import os
import shutil
import types

import numpy as np
import pytest
from rich.console import Console

from data import show
from data.figures.tile import draw_tile
from data.preparation.options import PreparationOptions
from data.preparation.preparing import prepare_folder
from data.preparation.report import print_report
from data.preparation.writing import summaries
from data.reading import datasets
from data.reading.datasets import open_dataset
from data.reading.raw import DataError
from data.treesat.reader import LABELS
from data.verification.findings import DOUBT
from data.verification.options import VerificationOptions
from data.verification.raw_check import verify_raw
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.records.reader import Records
from tests.fuzz.datasets import MAKERS


def files_of(root, name, tile):
    """The file of labels of a tile, where each tile has its own."""
    pattern = {"pastis": f"TARGET_{tile}.npy", "flair": f"MSK_{tile}.tif", "tiles": f"labels/{tile}.tif"}[name]
    return list(root.rglob(pattern))


def strip(root, name, tiles):
    """Removes the labels of these tiles."""
    if name == "treesat":
        table = json.loads((root / LABELS).read_text())
        (root / LABELS).write_text(json.dumps({key: row for key, row in table.items() if key.removesuffix(".tif") not in tiles}))
        return
    for tile in tiles:
        (path,) = files_of(root, name, tile)
        path.unlink()


def strip_all(root, name):
    """Removes every trace of labels."""
    if name == "treesat":
        shutil.rmtree((root / LABELS).parent)
        return
    strip(root, name, open_dataset(name, root).tiles)
    if name == "tiles":
        description = json.loads((root / "dataset.json").read_text())
        (root / "dataset.json").write_text(json.dumps({key: value for key, value in description.items() if key not in ("classes", "ignore")}))


@pytest.fixture(params=MAKERS)
def name(request):
    return request.param


@pytest.fixture
def root(intact, name, tmp_path):
    return shutil.copytree(intact[name], tmp_path / name)


@pytest.fixture
def quiet():
    with open(os.devnull, "w") as nothing:
        yield Console(file=nothing)


def first_tile(name, root):
    return open_dataset(name, root).tiles[0]


def assert_same_sensors(a, b, modalities):
    for modality in modalities:
        for key in a[modality]:
            np.testing.assert_array_equal(a[modality][key], b[modality][key], err_msg=f"{modality} {key}")


def test_missing_labels_are_a_fault_whose_message_names_the_option(name, root):
    tile = first_tile(name, root)
    strip(root, name, [tile])
    with pytest.raises(DataError, match="data.unlabelled=pretrain") as error:
        open_dataset(name, root).read(tile)
    assert error.value.tile == tile and "\n" not in str(error.value)


def test_declared_tiles_are_read_without_labels(intact, name, root):
    before, tile = open_dataset(name, intact[name]), first_tile(name, root)
    strip(root, name, [tile])
    after = open_dataset(name, root, unlabelled="pretrain")
    assert after.unlabelled == {tile} and after.parts == before.parts and after.label_side == before.label_side
    example, whole = after.read(tile), before.read(tile)
    assert not example["labelled"] and whole["labelled"] and example["labels"].shape == whole["labels"].shape
    assert (example["labels"] == (0 if after.task == "classify" else after.ignore)).all()
    assert_same_sensors(example, whole, before.modalities)
    for other in before.tiles[1:]:
        np.testing.assert_array_equal(after.read(other)["labels"], before.read(other)["labels"])


def test_broken_labels_stay_a_fault(name, root):
    tile = first_tile(name, root)
    if name == "treesat":
        table = json.loads((root / LABELS).read_text())
        table[f"{tile}.tif"] = [["Ulmus", 1.0]]
        (root / LABELS).write_text(json.dumps(table))
    else:
        (path,) = files_of(root, name, tile)
        path.write_bytes(path.read_bytes()[:50])
    dataset = open_dataset(name, root, unlabelled="pretrain")
    assert not dataset.unlabelled
    with pytest.raises(DataError):
        dataset.read(tile)


def test_data_that_never_had_labels_are_prepared(intact, name, root, tmp_path, quiet):
    before = open_dataset(name, intact[name])
    strip_all(root, name)
    with pytest.raises(DataError, match="data.unlabelled=pretrain"):
        open_dataset(name, root).read(before.tiles[0])
    info = prepare_folder(name, root, tmp_path / "out", "", PreparationOptions(unlabelled="pretrain"), quiet)
    records = Records(tmp_path / "out")
    assert info.made_with.unlabelled == "pretrain" and records.labelled_tiles(records.parts) == () and len(records.source(records.parts)) == 0
    assert set(records.tile_ids) == set(before.tiles) and len(records.every_tile(records.parts)) == len(before.tiles)
    assert_same_sensors(records.every_tile(records.parts)[0], before.read(records.tile_ids[0]), before.modalities)
    assert records.classes == (() if name == "tiles" else before.classes) and not records.label_counts(records.parts).any()


@pytest.fixture
def partly(name, root, tmp_path, quiet):
    """Records of which the first tile of the first part has no labels."""
    strip(root, name, [first_tile(name, root)])
    prepare_folder(name, root, tmp_path / "out", "", PreparationOptions(unlabelled="pretrain"), quiet)
    return Records(tmp_path / "out")


def test_records_keep_tiles_with_and_without_labels_apart(partly, intact, name, tmp_path, quiet):
    whole_folder = tmp_path / "whole"
    prepare_folder(name, intact[name], whole_folder, "", PreparationOptions(), quiet)
    whole, tile = Records(whole_folder), partly.tile_ids[0]
    assert partly.tile_ids == whole.tile_ids and partly.fingerprint != whole.fingerprint
    assert partly.labelled_tiles(partly.parts) == partly.tile_ids[1:] and whole.labelled_tiles(whole.parts) == whole.tile_ids
    assert [partly.tile_ids[example["tile_index"]] for example in partly.source(partly.parts)] == list(partly.tile_ids[1:])
    labels = whole.source(whole.parts)[0]["labels"]
    counts = labels > 0 if whole.task == "classify" else np.bincount(labels.ravel(), minlength=256)[: len(whole.classes)]
    np.testing.assert_array_equal(whole.label_counts(whole.parts) - partly.label_counts(partly.parts), counts)
    assert tile not in partly.labelled_tiles(partly.parts) and partly.statistics(partly.parts) == whole.statistics(whole.parts)
    for share in (0.3, 0.7):
        kept = partly.source(partly.parts, share, seed=3)
        assert len(kept) == max(1, round(share * (len(partly.tile_ids) - 1)))
        assert tile not in {partly.tile_ids[example["tile_index"]] for example in kept}


def test_the_report_counts_labelled_tiles(partly, tmp_path):
    console = Console(record=True, width=300, file=io.StringIO())
    print_report(console, partly.info, summaries(partly.root, partly.info), partly.root)
    text = console.export_text()
    assert "labeled tiles" in text and "--config.data.unlabelled=pretrain" in text
    assert f"{len(partly.tile_ids) - 1} tiles with labels; 1 tile without, only for pre-training" in text


def test_verify_reports_missing_labels_unless_they_are_declared(name, root, quiet):
    tile = first_tile(name, root)
    strip(root, name, [tile])

    def about_labels(unlabelled):
        findings = verify_raw(name, root, VerificationOptions(unlabelled=unlabelled, update=True), quiet)
        return [finding for finding in findings if finding.kind != DOUBT and "labels" in finding.expected or "mask" in finding.expected]

    assert len(about_labels("refuse")) == 1 and not about_labels("pretrain")


def test_a_folder_of_tiles_with_labels_needs_classes(intact, tmp_path):
    root = shutil.copytree(intact["tiles"], tmp_path / "tiles")
    description = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({key: value for key, value in description.items() if key not in ("classes", "ignore")}))
    with pytest.raises(DataError, match="expected classes and ignore, as there are files in labels, found neither"):
        open_dataset("tiles", root, unlabelled="pretrain")
    (root / "dataset.json").write_text(json.dumps({key: value for key, value in description.items() if key != "classes"}))
    with pytest.raises(DataError, match="found no classes"):
        open_dataset("tiles", root, unlabelled="pretrain")


@pytest.mark.parametrize("every", [False, True])
def test_a_tile_without_labels_is_drawn(intact, tmp_path, every):
    root = shutil.copytree(intact["tiles"], tmp_path / "tiles")
    tile = first_tile("tiles", root)
    strip_all(root, "tiles") if every else strip(root, "tiles", [tile])
    out = tmp_path / "tile.png"
    assert run_command(show.main, ["tiles", "--raw", str(root), "--tile", tile, "--out", str(out)]) == 0 and out.stat().st_size
    figure = draw_tile(open_dataset("tiles", root, unlabelled="pretrain"), tile)
    assert "without labels" in figure.get_suptitle() and "labels" not in {axes.get_title() for axes in figure.axes}


def test_a_reader_that_knows_no_tiles_without_labels_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(datasets.DATASETS, "meadow", lambda: types.SimpleNamespace(open_raw=lambda root: None))
    with pytest.raises(UserError, match="data.unlabelled of meadow: expected 'refuse', as its reader knows no tiles without labels"):
        open_dataset("meadow", tmp_path, unlabelled="pretrain")
