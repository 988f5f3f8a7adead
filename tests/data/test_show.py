"""`data.show`: the figure of a tile, for every kind of dataset."""

import json
import shutil
import warnings

import numpy as np
import pytest

from data import show
from data.figures.curves import ndvi, regions
from data.figures.tile import CLEAR, GREY, draw_tile, picture, save
from data.reading.datasets import open_dataset, simulator
from data.reading.raw import RawModality
from omnisat_jax.cli.command import run_command
from omnisat_jax.report.pictures import stretch
from tests.faults import TILE, breaking, change_array, tiles


def titles(figure):
    return [axes.get_title() + axes.get_title(loc="left") for axes in figure.axes]


def test_a_tile_of_pastis(simulated):
    figure = draw_tile(open_dataset("pastis", simulated), TILE)
    assert TILE in figure.get_suptitle() and "simulated" in figure.get_suptitle() and "° N" in figure.get_suptitle()
    found = titles(figure)
    assert sum(title.startswith("s2: 201") for title in found) == CLEAR
    for wanted in ("spot: true color", "labels", "s2: NDVI of clear dates", "s1a: VV", "s1d: VH"):
        assert wanted in found


def test_a_tile_without_dense_labels(tmp_path):
    root = simulator("treesat").simulate(tmp_path / "t", tiles=5, tile_size=304, seed=0)
    dataset = open_dataset("treesat", root)
    figure = draw_tile(dataset, dataset.parts["test"][0])
    assert any(name in figure.get_suptitle() for name in dataset.classes)
    found = titles(figure)
    assert "aerial: near infrared, red, green" in found and "labels" not in found


def test_a_tile_that_lacks_its_series(simulated, tmp_path):
    root = tmp_path / "pastis"
    shutil.copytree(simulated, root)
    for path in root.rglob(f"S*_{TILE}.npy"):
        path.unlink()
    assert titles(draw_tile(open_dataset("pastis", root), TILE)) == ["spot: true color", "labels"]


@pytest.fixture
def lowland(tmp_path):
    return tiles.write(tmp_path / "tiles")


def drawn(root, tile, tmp_path):
    """Titles of a figure that is drawn and saved without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        figure = draw_tile(open_dataset("tiles", root), tile)
        save(figure, tmp_path / "tile.png")
    return titles(figure)


def test_series_of_any_grid_are_drawn(lowland, tmp_path):
    found = drawn(lowland, "a", tmp_path)  # coarser than the labels
    assert found[:2] == ["radar: VV, mean of 3 dates", "aerial: true color"] and "radar: VH" in found
    for name in tiles.NAMES:  # 28 px over 8, and 3 over 8
        breaking.regrid_tiff(lowland / "radar" / f"{name}.tif", lambda b: np.kron(b, np.ones((7, 7), np.float32)))
    assert drawn(lowland, "a", tmp_path) == found
    for name in tiles.NAMES:
        breaking.regrid_tiff(lowland / "radar" / f"{name}.tif", lambda b: b[:, :3, :3])
    assert drawn(lowland, "a", tmp_path) == found


def test_regions_are_those_of_the_labels_under_a_pixel(simulated):
    dataset = open_dataset("pastis", simulated)
    example = dataset.read(TILE)
    same, finer = (regions(dataset, example, side) for side in (16, 48))
    assert list(same) == list(finer) and len(same) > 1
    for name, region in same.items():
        np.testing.assert_array_equal(finer[name].mask, np.kron(region.mask, np.ones((3, 3), bool)))


@pytest.mark.parametrize(
    ("scale", "offset"), [((), ()), ((1e-4, 1e-4), (0.0, 0.0)), ((1e-4, 1e-4), (-0.1, -0.1)), ((2e-4, 1e-4), (-0.05, 0.1)), ((1.0, 1.0), ())]
)
def test_ndvi_is_that_of_reflectance_whatever_scale_and_offset_are_declared(scale, offset):
    rng = np.random.default_rng(0)
    reflectance = rng.uniform(0.05, 0.6, (3, 4, 4, 2))
    stored = np.round((reflectance - (offset or (0, 0))) / (scale if len(scale) and scale[0] < 1 else (1e-4, 1e-4)))
    modality = RawModality("series", (4, 4, 2), "int16", ("B04", "B08"), scale, offset)
    expected = (reflectance[..., 1] - reflectance[..., 0]) / reflectance.sum(-1)
    np.testing.assert_allclose(ndvi(stored.astype(np.float32), modality, 0, 1), expected, atol=2e-3)


def test_nothing_usable_nothing_known_and_nothing_labelled(lowland, simulated, tmp_path):
    breaking.change_tiff(lowland / "radar" / "a.tif", lambda b: np.full_like(b, np.nan))
    breaking.change_tiff(lowland / "labels" / "a.tif", lambda b: np.full_like(b, 255))
    assert [title for title in drawn(lowland, "a", tmp_path) if title in ("labels", "aerial: true color", "radar: VV")] == [
        "aerial: true color", "labels",
    ]  # fmt: skip
    breaking.change_tiff(lowland / "radar" / "b.tif", lambda b: breaking.put(b, np.s_[0], np.nan))
    assert "radar: VV" in drawn(lowland, "b", tmp_path)
    root = tmp_path / "pastis"
    shutil.copytree(simulated, root)
    change_array(root / f"DATA_S2/S2_{TILE}.npy", np.zeros_like)
    change_array(root / f"ANNOTATIONS/TARGET_{TILE}.npy", lambda a: np.full_like(a, 19))  # the parcels keep their numbers
    assert "s1a: VV" in titles(draw_tile(open_dataset("pastis", root), TILE))


def test_unknown_pixels_are_grey_and_do_not_affect_contrast():
    values = np.random.default_rng(0).normal(-10, 1, (8, 8, 1)).astype(np.float32)
    whole = picture(values, [0])
    values[:4] = np.nan
    half = picture(values, [0])
    assert (half[:4] == GREY).all() and half[4:].min() == 0 and half[4:].max() == 1 and half.shape == whole.shape == (8, 8, 3)
    assert (picture(np.full((4, 4, 1), np.nan, np.float32), [0]) == GREY).all()


def test_names_are_shown_never_interpreted(lowland, tmp_path):
    description = json.loads((lowland / tiles.DESCRIPTION).read_text())
    description |= {"name": "$x_{", "classes": ["_$\\frac{", "[/bold]", "a very long name of a class that goes on and on and on"]}
    description["modalities"]["radar"]["bands"] = ["$VV", "$VH_{"]
    (lowland / tiles.DESCRIPTION).write_text(json.dumps(description))
    assert "radar: $VH_{" in drawn(lowland, "a", tmp_path)


def test_what_cannot_be_drawn_or_written_is_one_sentence(lowland, tmp_path, capsys):
    arguments = ["tiles", "--raw", str(lowland), "--tile"]
    for options, words in (
        (["z"], "expected one of the 6 tiles (a, b, c, d, e, ...), found 'z'"),
        (["a", "--out", str(tmp_path / "tile.xyz")], "a name that ends in one of"),
        (["a", "--out", str(tmp_path / "tile")], "a name that ends in one of"),
        (["a", "--out", str(tmp_path / "nowhere" / "tile.png")], "cannot be written"),
        (["a", "--out", str(lowland / "dataset.json" / "tile.png")], "cannot be written"),
    ):
        assert run_command(show.main, [*arguments, *options]) == 1
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1 and "bug in omnisat_jax" not in error
    breaking.empty(lowland / "radar" / "a.tif")
    assert run_command(show.main, [*arguments, "a"]) == 1
    assert "radar/a.tif" in capsys.readouterr().err


def test_a_lake_does_not_reduce_the_contrast_of_fields():
    fields = np.random.default_rng(0).uniform(-14, -10, (32, 32, 1))
    image = np.where(np.arange(32)[:, None, None] < 2, -40, fields)  # 6 % water
    shown = stretch(image)
    assert shown.min() == 0 and shown.max() == 1 and np.ptp(shown[2:]) > 0.5
    half = np.repeat([0.0, 1.0], 512).reshape(32, 32, 1) * (np.arange(32)[:, None] > 28)  # three quarters of it one value
    np.testing.assert_array_equal(stretch(half), half)


def test_command_line(simulated, tmp_path, capsys):
    out = tmp_path / "tile.png"
    assert show.main(["pastis", "--raw", str(simulated), "--tile", TILE, "--out", str(out)]) == 0 and out.stat().st_size > 10_000
    assert run_command(show.main, ["pastis", "--raw", str(simulated), "--tile", "77"]) == 1
    assert "expected one of the 10 tiles" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["treesat", "flair", "pastis"])
def test_simulations_are_the_same_every_time(name, tmp_path):
    size = {"treesat": 304, "flair": 64, "pastis": 8}[name]
    first, second = (simulator(name).simulate(tmp_path / folder, tiles=2, tile_size=size, seed=3) for folder in ("first", "second"))
    files = [path for path in first.rglob("*") if path.is_file() and path.suffix != ".h5"]
    assert files and all(path.read_bytes() == (second / path.relative_to(first)).read_bytes() for path in files)
    with pytest.raises(ValueError, match="at least"):
        simulator(name).simulate(tmp_path / "third", tiles=0, tile_size=size, seed=3)
