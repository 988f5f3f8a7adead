"""A small model folder, as bytes."""

import functools

import pytest

from omnisat_jax.inference.model_folder import CONFIG, STATISTICS, WEIGHTS
from omnisat_jax.inference.model_saving import save_model
from omnisat_jax.models import shapes
from tests.inference.folders import made


@pytest.fixture(scope="module")
def traced_once():
    """The same model is traced once, however many folders claim to hold it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "model_shapes", functools.lru_cache(64)(shapes.model_shapes))
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """{file: content} of a saved model."""
    folder = tmp_path_factory.mktemp("original")
    save_model(folder, *made())
    return {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS, STATISTICS)}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return tmp_path_factory.mktemp("changed")
