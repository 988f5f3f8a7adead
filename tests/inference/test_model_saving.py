"""A model is written completely or not at all, and only if it can be used."""

import dataclasses

import jax
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.files import atomic
from omnisat_jax.inference.model_folder import EARLIER_WEIGHTS, ModelError, load_model
from omnisat_jax.inference.model_saving import save_model
from tests.conftest import tiny
from tests.inference.folders import assert_original, made


@pytest.mark.parametrize("fill", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, fill):
    params, info = made()
    spoilt = jax.tree.map(np.copy, params)
    spoilt["fusion"]["query"][1] = fill
    with pytest.raises(ModelError, match="fusion/query: expected finite numbers, found 1 of 16"):
        save_model(tmp_path / "model", spoilt, info)
    with pytest.raises(ModelError, match=r"s2.std\[0\]"):
        save_model(tmp_path / "model", params, dataclasses.replace(info, statistics={"s2": {"mean": [0.5] * 10, "std": [fill] * 10}}))
    for temperature in (0.0, -fill, fill):
        with pytest.raises(ModelError, match="temperature: a finite number above 0"):
            save_model(tmp_path / "model", params, dataclasses.replace(info, temperature=temperature))
    assert not (tmp_path / "model").exists()


def test_weights_of_an_earlier_version_are_replaced(tmp_path):
    (tmp_path / EARLIER_WEIGHTS).write_bytes(b"of another model")
    save_model(tmp_path, *made())
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "statistics.json"}
    assert_original(load_model(tmp_path))


@pytest.mark.parametrize("killed_at", [0, 1, 2, 3])
def test_a_killed_save_leaves_no_model_and_can_be_repeated(tmp_path, killed_at, monkeypatch):
    """Over an older model in the same folder: files of the two never mix."""
    params, info = made()
    save_model(tmp_path, jax.tree.map(np.zeros_like, params), info)
    steps = iter(range(killed_at))
    write = atomic.write_bytes

    class Killed(BaseException):
        pass

    def writing(path, content):
        if next(steps, None) is None:
            (path.parent / f"{path.name}.partial-x-1-00000000").write_bytes(content[:10])
            raise Killed
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_bytes", writing)
        if killed_at < 3:
            with pytest.raises(Killed):
                save_model(tmp_path, params, info)
            with pytest.raises(ModelError, match="config.json: expected the description of a model, found no such file"):
                load_model(tmp_path)
        else:
            save_model(tmp_path, params, info)
    save_model(tmp_path, params, info)
    assert_original(load_model(tmp_path))


def test_a_folder_that_cannot_be_written(tmp_path):
    params, info = made()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot be written"):
        save_model(tmp_path / "file", params, info)


def test_a_model_trained_with_the_attention_of_gpus_loads_anywhere(tmp_path):
    params, info = made()
    config = schema.parse(tiny("demo", **{"model.fusion.attention": "cudnn"}))
    save_model(tmp_path / "gpu", params, dataclasses.replace(info, config=config))
    save_model(tmp_path / "cpu", params, info)
    model = load_model(tmp_path / "gpu")
    assert model.config == config and model.module == load_model(tmp_path / "cpu").module
