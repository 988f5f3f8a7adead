"""A trained model as plain files: what is missing or broken is said."""

import jax
import numpy as np
import pytest

from omnisat_jax import schema
from omnisat_jax.errors import UserError
from omnisat_jax.interop.model_files import load_model, save_model
from tests.conftest import tiny


@pytest.fixture
def saved(tmp_path):
    config = schema.parse(tiny())
    params = {"head": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T}, "fusion": {"query": np.ones(4, np.float32)}}
    statistics = {"s2": {"mean": [0.5] * 10, "std": [2.0] * 10}}
    save_model(tmp_path, params, config=config, modalities=["s2"], classes=["a", "b"], label_patch=4, statistics=statistics)
    return tmp_path, config, params, statistics


def test_comes_back_identical(saved):
    folder, config, params, statistics = saved
    model = load_model(folder)
    jax.tree.map(np.testing.assert_array_equal, model.params, params)
    assert (model.config, model.statistics, model.classes) == (config, statistics, ("a", "b"))
    assert model.module.names == ("s2",) and model.module.num_classes == 2


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors", "statistics.json"])
def test_missing_and_broken_files_are_named(saved, name):
    folder, *_ = saved
    (folder / name).write_bytes(b"{")
    with pytest.raises(ValueError, match="one that cannot be read"):
        load_model(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        load_model(folder)
