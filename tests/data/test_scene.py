"""The simulated imagery of a place, to make a map of."""

import datetime

import numpy as np
import pytest
import rasterio

from data.pastis import scene
from data.pastis.simulated import START
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError

SIZE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("scene") / "scene"
    assert scene.main([str(root), f"--size={SIZE}"]) == 0
    return root


def test_files_are_dated_named_georeferenced_and_know_their_nodata(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["SIMULATED.txt", "labels.tif", "s1a", "s1d", "s2", "spot.tif"]
    for name, bands, nodata in (("s2", scene.S2_BANDS, -32768), ("s1a", scene.RADAR_BANDS, np.nan), ("s1d", scene.RADAR_BANDS, np.nan)):
        paths = sorted((folder / name).iterdir())
        days = [datetime.datetime.strptime(path.stem, f"{name}_%Y%m%d").date() for path in paths]
        assert len(days) > 30 and min(days) >= START
        with rasterio.open(paths[0]) as source:
            assert source.descriptions == bands and source.shape == (SIZE, SIZE) and source.res == (10, 10)
            np.testing.assert_equal(source.nodata, nodata)
    with rasterio.open(folder / "spot.tif") as spot, rasterio.open(folder / "labels.tif") as labels:
        assert spot.descriptions == ("R", "G", "B") and spot.res == (1, 1) and spot.nodata is None
        assert spot.bounds.left == labels.bounds.left and 2 * (spot.bounds.right - spot.bounds.left) == labels.bounds.right - labels.bounds.left
        assert (spot.bounds.top, spot.bounds.bottom) == (labels.bounds.top, labels.bounds.bottom)
        assert len(labels.colormap(1)) >= 20


def test_a_seed_gives_the_same_place_and_another_one_another(folder, tmp_path):
    def labels(root):
        with rasterio.open(root / "labels.tif") as source:
            return source.read(1)

    for seed in (scene.SEED, 7):
        scene.write_scene(tmp_path / str(seed), size=SIZE, seed=seed)
    np.testing.assert_array_equal(labels(tmp_path / str(scene.SEED)), labels(folder))
    assert (labels(tmp_path / "7") != labels(folder)).any()


@pytest.mark.parametrize(
    ("place", "arguments", "message"),
    [("new", ["--size=3"], "at least 8 px"), ("new", ["--seed=-1"], "--seed: expected 0 or more, found -1"), ("", [], "expected a new folder for the scene")],
)
def test_mistakes_end_with_one_sentence(place, arguments, message, folder, capsys):
    assert run_command(scene.main, [str(folder / place), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_nothing_is_written_over(folder):
    with pytest.raises(UserError, match="expected a new folder"):
        scene.write_scene(folder, size=SIZE)
