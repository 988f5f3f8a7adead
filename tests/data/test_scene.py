"""The simulated imagery of a place, to make a map of."""

import datetime
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
import rasterio

import launch
from configs import pastis
from data.pastis import scene
from data.pastis.simulated import START
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.files import paths
from omnisat_jax.predict import command as predict
from tests.predict import models

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


def test_the_commands_that_a_run_ends_with_map_the_scene(tmp_path, monkeypatch):
    """As printed, and from any folder."""
    monkeypatch.chdir(tmp_path)
    config = pastis.get_config("demo")
    for name in ("s1d", "s2"):  # the model of the test has the other two sensors
        del config.modalities[name]
    monkeypatch.setitem(models.BANDS, "s1a", scene.RADAR_BANDS)
    models.save_random_model(tmp_path / "a run" / "model")
    (_, simulate), (_, make_map), _ = launch.next_commands(schema.parse(config), "a run")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", f"{simulate} --size={SIZE}"], check=True, cwd=tmp_path, env=environment)
    start, *words = shlex.split(make_map)[1:]
    assert [start, *words[:4]] == ["python", "-m", "omnisat_jax.predict", "--model", "a run/model"]
    assert predict.main([*words[2:], "--any_radiometry"]) == 0
    assert (tmp_path / "runs" / "map" / "class.tif").is_file()


def test_the_commands_are_short_in_the_checkout_and_write_beside_the_run_where_it_cannot_be_written(tmp_path, monkeypatch):
    config = schema.parse(pastis.get_config("demo"))
    monkeypatch.chdir(launch.__file__.removesuffix("launch.py"))
    assert [command for _, command in launch.next_commands(config, "runs/x")][::2] == [
        "python -m data.pastis.scene runs/scene", "python launch.py --config=configs/pastis.py:no_pretrain",
    ]  # fmt: skip
    monkeypatch.setattr(paths, "unwritable", lambda folder: "read-only")
    simulate, make_map, again = (shlex.split(command) for _, command in launch.next_commands(config, f"{tmp_path}/a run"))
    assert simulate[-1] == f"{tmp_path}/scene" and make_map[-1] == f"{tmp_path}/map" and f"s2={tmp_path}/scene/s2" in make_map
    assert f"--workdir={tmp_path}/demo" in again


def test_runs_on_real_data_and_probes_end_without_these_commands():
    for key, value in (("data.raw_dir", "there"), ("data.prepared_dir", "there"), ("eval.probe", "linear"), ("data.dataset", "treesat")):
        config = pastis.get_config("demo")
        config.update_from_flattened_dict({key: value})
        assert launch.next_commands(schema.parse(config), "runs/x") == []
