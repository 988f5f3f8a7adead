"""The commands that a run on simulated data ends with, which are run as printed."""

import os
import shlex
import subprocess
import sys

import launch
from configs import pastis
from data.pastis import scene
from data.pastis.next_commands import next_commands
from omnisat_jax.config import schema
from omnisat_jax.predict import command as predict
from tests.predict import models

SIZE = 16

def test_the_commands_that_a_run_ends_with_map_the_scene(tmp_path, monkeypatch):
    """As printed, and from any folder."""
    monkeypatch.chdir(tmp_path)
    config = pastis.get_config("demo")
    for name in ("s1d", "s2"):  # the model of the test has the other two sensors
        del config.modalities[name]
    monkeypatch.setitem(models.BANDS, "s1a", scene.RADAR_BANDS)
    models.save_random_model(tmp_path / "a run" / "model")
    (_, simulate), (_, make_map), _ = next_commands(schema.parse(config), "a run", launch.__file__)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", f"{simulate} --size={SIZE}"], check=True, cwd=tmp_path, env=environment)
    start, *words = shlex.split(make_map)[1:]
    assert [start, *words[:4]] == ["python", "-m", "omnisat_jax.predict", "--model", "a run/model"]
    assert predict.main([*words[2:], "--any_radiometry"]) == 0
    assert (tmp_path / "runs" / "map" / "class.tif").is_file()


def test_the_commands_are_short_in_the_checkout_and_write_beside_the_run_where_it_cannot_be_written(tmp_path, monkeypatch):
    config = schema.parse(pastis.get_config("demo"))
    monkeypatch.chdir(launch.__file__.removesuffix("launch.py"))
    assert [command for _, command in next_commands(config, "runs/x", launch.__file__)][::2] == [
        "python -m data.pastis.scene runs/scene", "python launch.py --config=configs/pastis.py:no_pretrain",
    ]  # fmt: skip
    monkeypatch.setattr("data.pastis.next_commands.unwritable", lambda folder: "read-only")
    simulate, make_map, again = (shlex.split(command) for _, command in next_commands(config, f"{tmp_path}/a run", launch.__file__))
    assert simulate[-1] == f"{tmp_path}/scene" and make_map[-1] == f"{tmp_path}/map" and f"s2={tmp_path}/scene/s2" in make_map
    assert f"--workdir={tmp_path}/demo" in again


def test_runs_on_real_data_and_probes_end_without_these_commands():
    for key, value in (("data.raw_dir", "there"), ("data.prepared_dir", "there"), ("eval.probe", "linear"), ("data.dataset", "treesat")):
        config = pastis.get_config("demo")
        config.update_from_flattened_dict({key: value})
        assert next_commands(schema.parse(config), "runs/x", launch.__file__) == []
