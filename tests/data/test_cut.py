"""Cutting rasters into tiles: every pixel at its place, and rasters that do not fit are named."""

import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from data.reading.datasets import open_dataset
from data.reading.raw import DataError
from data.tiles import cut
from omnisat_jax.cli.command import run_command
from omnisat_jax.files import atomic
from omnisat_jax.missing import NO_DATA_INT16

CORNER = (400_000.0, 5_900_000.0)


def write(path, bands, pixel=10.0, crs="EPSG:32632", corner=CORNER, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = dict(driver="GTiff", count=len(bands), height=bands.shape[1], width=bands.shape[2], dtype=bands.dtype, crs=crs)
    with rasterio.open(path, "w", transform=from_origin(*corner, pixel, pixel), **profile, **more) as target:
        target.write(bands)
    return path


@pytest.fixture
def region(tmp_path):
    """12 x 20 label pixels, a series of two dates that covers the left 16 columns, and an image of 2.5 m."""
    labels = np.arange(240).reshape(1, 12, 20) % 5
    write(tmp_path / "labels.tif", labels.astype(np.uint8))
    for position, day in enumerate(("2020-06-30", "20200105")):
        values = 1000 * position + np.arange(2 * 12 * 16).reshape(2, 12, 16)
        write(tmp_path / "s" / f"a_{day}_x.tif", values.astype(np.uint16), nodata=7)
    image = np.arange(3 * 48 * 80).reshape(3, 48, 80) % 251
    write(tmp_path / "image.tif", image.astype(np.uint8), pixel=2.5)
    return tmp_path


def run(region, **changes):
    options = {
        "labels": "labels.tif",
        "series": "s",
        "image": "image.tif",
        "size": 4,
        "folds": 3,
        "block": 1,
        "classes": "a,b,c,d,e",
    } | changes
    arguments = ["--labels", str(region / options["labels"]), "--classes", options["classes"], "--out", str(region / "out")]
    arguments += ["--series", f"s={region / options['series']}", "--image", f"i={region / options['image']}:R,G,B"]
    return run_command(
        cut.main, [*arguments, "--size", str(options["size"]), "--folds", str(options["folds"]), "--block", str(options["block"])]
    )


def test_labels_that_are_not_stored_are_refused(region, capsys):
    write(region / "labels.tif", np.zeros((1, 12, 20), np.uint8), sparse_ok=True)
    assert run(region) == 1
    assert "labels.tif: expected pixels everywhere, or a nodata value" in capsys.readouterr().err and not (region / "out").exists()


def test_every_pixel_keeps_its_place(region, capsys):
    assert run(region) == 0
    assert "15 tiles in 3 folds" in (shown := capsys.readouterr().out) and "s: 3 tiles without it, which not every date covers completely" in shown
    dataset = open_dataset("tiles", region / "out")
    with rasterio.open(region / "labels.tif") as source:
        labels = source.read(1)
    with rasterio.open(region / "image.tif") as source:
        image = source.read().transpose(1, 2, 0)
    with rasterio.open(region / "s" / "a_20200105_x.tif") as source:
        january = source.read().transpose(1, 2, 0)
    for row in range(3):
        for column in range(5):
            example = dataset.read(f"r{row:04d}_c{column:04d}")
            np.testing.assert_array_equal(example["labels"], labels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4])
            window = image[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            np.testing.assert_array_equal(example["i"]["values"][0], window)
            if column == 4:
                assert example["s"]["values"].shape == (0, 4, 4, 2)
                continue
            np.testing.assert_array_equal(example["s"]["dates"], [18_266, 18_443])  # in order, whatever the names of the files
            np.testing.assert_array_equal(example["s"]["values"][0], january[4 * row : 4 * row + 4, 4 * column : 4 * column + 4])
    with rasterio.open(region / "out" / "s" / "r0001_c0002.tif") as tile:
        assert tile.crs.to_epsg() == 32632 and tile.bounds.left == CORNER[0] + 80 and tile.bounds.top == CORNER[1] - 40
        assert tile.descriptions[0] == "20200105 band1"
    assert {part: len(tiles) for part, tiles in dataset.parts.items()} == {"fold_1": 5, "fold_2": 5, "fold_3": 5}


def test_missing_pixels_stay_missing(region):
    assert run(region) == 0
    series = open_dataset("tiles", region / "out").read("r0000_c0001")["s"]["values"]
    # 7 is the files' nodata: the first band of one pixel of the June file.
    assert (series == NO_DATA_INT16).sum() == 1 and (series[1] == NO_DATA_INT16)[0, 3].tolist() == [True, False]


def test_blocks_keep_neighbours_together(region):
    assert run(region, block=2, folds=2) == 0
    parts = open_dataset("tiles", region / "out").parts
    part_of = {tile: part for part, tiles in parts.items() for tile in tiles}
    assert part_of["r0000_c0000"] == part_of["r0001_c0001"] != part_of["r0000_c0002"]


def test_rasters_that_do_not_fit_are_named(region, capsys):
    def refused(message, **changes):
        assert run(region, **changes) == 1
        error = capsys.readouterr().err
        assert message in error, error
        assert not (region / "out").exists() and not list(region.glob("out.partial*"))

    image = np.zeros((3, 48, 80), np.uint8)
    write(region / "other_crs.tif", image, pixel=2.5, crs="EPSG:32633")
    refused("expected EPSG:32632, like the labels or --grid, found EPSG:32633", image="other_crs.tif")
    write(region / "shifted.tif", image, pixel=2.5, corner=(CORNER[0] + 1, CORNER[1]))
    refused("expected pixels that nest", image="shifted.tif")
    write(region / "three.tif", image, pixel=3.0)
    refused("expected pixels that nest", image="three.tif")
    write(region / "far.tif", image, pixel=2.5, corner=(CORNER[0] + 4000, CORNER[1]))
    refused("to cover at least one tile of the labels", image="far.tif")
    write(region / "undated" / "a.tif", image)
    refused("expected a date in the file's name", series="undated")
    (region / "empty").mkdir()
    refused("expected GeoTIFFs of series s", series="empty")
    write(region / "twice" / "2020-01-05.tif", image[:2])
    write(region / "twice" / "20200105.tif", image[:2])
    refused("one file per date", series="twice")
    write(region / "bands" / "2020-01-05.tif", image[:2, :12, :16])
    write(region / "bands" / "2020-01-09.tif", image[:3, :12, :16])
    refused("expected 2 bands", series="bands")
    write(region / "large" / "2020-01-05.tif", np.full((2, 12, 20), 40_000, np.uint16))
    refused("found 40000", series="large")
    refused("use a smaller --size", size=50)
    refused("use a smaller --block", block=9)
    write(region / "float_labels.tif", np.zeros((1, 12, 20), np.float32))
    refused("one band of integers", labels="float_labels.tif")
    (region / "image_broken.tif").write_bytes(b"II*\0")
    refused("It is cut off", image="image_broken.tif")


def test_an_existing_folder_is_never_overwritten(region, capsys):
    assert run(region) == 0
    assert run(region) == 1
    assert "does not exist yet" in capsys.readouterr().err


def test_a_label_beyond_the_classes_is_named(region, capsys):
    assert run(region, classes="a,b,c,d") == 1
    assert "classes 0 to 3, or 255 for unknown, found 4 in tile r0000_c0001" in capsys.readouterr().err
    assert run(region) == 0
    description = region / "out" / "dataset.json"
    description.write_text(description.read_text().replace('"d",\n  "e"', '"d"'))
    with pytest.raises(DataError, match="classes 0 to 3, or 255.*found 4"):
        open_dataset("tiles", region / "out").read("r0000_c0001")


def test_a_broken_description_is_named(region):
    assert run(region) == 0
    path = region / "out" / "dataset.json"
    for text, message in (("{", "JSON"), ("{}", "no name, citation"), ('{"name": 1}', "no citation")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            open_dataset("tiles", region / "out")


def test_a_folder_that_cannot_be_made_is_one_sentence(region, capsys):
    arguments = ["--labels", str(region / "labels.tif"), "--classes", "a,b,c,d,e", "--image", f"i={region / 'image.tif'}", "--size", "4"]
    assert run_command(cut.main, [*arguments, "--out", str(region / "labels.tif" / "out")]) == 1
    assert (error := capsys.readouterr().err).count("\n") == 1 and "labels.tif: it already exists" in error


def test_the_remains_of_a_killed_cut_are_removed(region):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = atomic.partial_name(region / "out")
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
    left.mkdir()
    (left / atomic.MARK).touch()
    assert run(region) == 0
    assert not left.exists() and not list(region.glob("*partial*"))


def cut_with_grid(region, *arguments):
    return run_command(cut.main, [
        "--grid", str(region / "labels.tif"), "--out", str(region / "out"), "--series", f"s={region / 's'}", "--size", "4", "--folds", "3", *arguments,
    ])  # fmt: skip


def test_tiles_without_labels_are_cut_along_a_grid(region, capsys):
    assert cut_with_grid(region) == 0
    assert "labels: 0 of 15 tiles have some; the others serve pre-training" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(DataError, match="data.unlabelled=pretrain"):
        open_dataset("tiles", region / "out")
    found = open_dataset("tiles", region / "out", unlabelled="pretrain")
    assert found.unlabelled == set(found.tiles) and found.classes == () and found.label_side == 4
    assert run(region, image="image.tif", classes="a,b,c,d,e") == 1  # the folder exists
    (region / "out").rename(region / "without")
    assert run(region) == 0
    whole = open_dataset("tiles", region / "out")
    for tile in ("r0000_c0000", "r0002_c0003"):
        np.testing.assert_array_equal(found.read(tile)["s"]["values"], whole.read(tile)["s"]["values"])
        assert found.read(tile)["location"]["values"] == pytest.approx(whole.read(tile)["location"]["values"])


def test_labels_of_a_part_of_the_region(region, capsys):
    labels = np.full((1, 8, 10), 9, np.uint8)
    labels[:, :4, :4] = 1
    write(region / "few.tif", labels)  # covers 2 x 2 tiles completely, and half of 2 more; one of them is known
    options = ("--labels", str(region / "few.tif"), "--classes", "a,b", "--ignore", "9")
    assert cut_with_grid(region, *options) == 0
    assert "labels: 1 of 15 tiles have some" in " ".join(capsys.readouterr().out.split())
    found = open_dataset("tiles", region / "out", unlabelled="pretrain")
    assert set(found.tiles) - found.unlabelled == {"r0000_c0000"} and (found.read("r0000_c0000")["labels"] == 1).all()


def test_grid_and_labels_must_fit(region, capsys):
    write(region / "void.tif", np.full((1, 12, 20), 9, np.uint8))
    write(region / "elsewhere.tif", np.ones((1, 12, 20), np.uint8), crs="EPSG:32633")
    for arguments, message in (
        (("--classes", "a,b"), "--classes: expected none without --labels, found a, b"),
        (("--labels", str(region / "labels.tif")), "--classes: expected 2 to 254 names"),
        (("--labels", str(region / "void.tif"), "--classes", "a,b", "--ignore", "9"), "expected known labels that cover a tile of --grid completely"),
        (("--labels", str(region / "elsewhere.tif"), "--classes", "a,b"), "expected EPSG:32632"),
    ):
        assert cut_with_grid(region, *arguments) == 1
        assert message in capsys.readouterr().err and not (region / "out").exists()
    assert run_command(cut.main, ["--out", str(region / "out"), "--series", f"s={region / 's'}"]) == 1
    assert "expected --labels, or --grid for tiles without labels, found neither" in capsys.readouterr().err
