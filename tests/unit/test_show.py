"""`data.show`: what is on the figure of a tile, for every kind of dataset."""

import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest

from data import show
from data.datasets import open_dataset, simulator
from tests.faults import TILE


def titles(figure):
    found = [axes.get_title() + axes.get_title(loc="left") for axes in figure.axes]
    plt.close(figure)
    return found


def test_a_tile_of_pastis(simulated):
    figure = show.show(open_dataset("pastis", simulated), TILE)
    assert TILE in figure.get_suptitle() and "simulated" in figure.get_suptitle() and "° N" in figure.get_suptitle()
    found = titles(figure)
    assert sum(title.startswith("s2: 201") for title in found) == show.CLEAR
    for wanted in ("spot: true colour", "labels", "s2: NDVI of clear dates", "s1a: VV", "s1d: VH"):
        assert wanted in found


def test_a_tile_without_dense_labels(tmp_path):
    root = simulator("treesat").simulate(tmp_path / "t", tiles=5, tile_size=304, seed=0)
    dataset = open_dataset("treesat", root)
    figure = show.show(dataset, dataset.parts["test"][0])
    assert any(name in figure.get_suptitle() for name in dataset.classes)
    found = titles(figure)
    assert "aerial: near infrared, red, green" in found and "labels" not in found


def test_a_tile_that_lacks_its_series(simulated, tmp_path):
    root = tmp_path / "pastis"
    shutil.copytree(simulated, root)
    for path in root.rglob(f"S*_{TILE}.npy"):
        path.unlink()
    assert titles(show.show(open_dataset("pastis", root), TILE)) == ["spot: true colour", "labels"]


def test_a_lake_leaves_the_fields_their_contrast():
    fields = np.random.default_rng(0).uniform(-14, -10, (32, 32, 1))
    image = np.where(np.arange(32)[:, None, None] < 2, -40, fields)  # 6 % water
    shown = show.stretch(image)
    assert shown.min() == 0 and shown.max() == 1 and np.ptp(shown[2:]) > 0.5
    half = np.repeat([0.0, 1.0], 512).reshape(32, 32, 1) * (np.arange(32)[:, None] > 28)  # three quarters of it one value
    np.testing.assert_array_equal(show.stretch(half), half)


def test_command_line(simulated, tmp_path, capsys):
    out = tmp_path / "tile.png"
    assert show.main(["pastis", "--raw", str(simulated), "--tile", TILE, "--out", str(out)]) == 0 and out.stat().st_size > 10_000
    assert show.main(["pastis", "--raw", str(simulated), "--tile", "77"]) == 1
    assert "expected one of the 10 tiles" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["treesat", "flair", "pastis"])
def test_simulations_are_the_same_every_time(name, tmp_path):
    size = {"treesat": 304, "flair": 64, "pastis": 8}[name]
    first, second = (simulator(name).simulate(tmp_path / folder, tiles=2, tile_size=size, seed=3) for folder in ("first", "second"))
    files = [path for path in first.rglob("*") if path.is_file() and path.suffix != ".h5"]
    assert files and all(path.read_bytes() == (second / path.relative_to(first)).read_bytes() for path in files)
    with pytest.raises(ValueError, match="at least"):
        simulator(name).simulate(tmp_path / "third", tiles=0, tile_size=size, seed=3)
