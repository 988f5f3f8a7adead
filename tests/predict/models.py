"""A small model with random weights that knows a few sensors."""

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from omnisat_jax.config import schema
from omnisat_jax.inference.model_info import ModelInfo, SensorInfo
from omnisat_jax.inference.model_saving import save_model
from omnisat_jax.models.registry import make_model
from omnisat_jax.models.shapes import model_shapes
from tests.conftest import tiny

CLASSES = ("Meadow", "Wheat", "Maize", "Beet")
BANDS = {
    "s1a": ("VV", "VH", "ratio"),
    "s2": ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    "spot": ("R", "G", "B"),
}


def save_random_model(folder, seed=0, sensors=("s1a", "spot")):
    """Writes a model of s1a and s2 (10 m, patches of 4 px) or spot (1 m, 40 px), with labels of 10 m and tiles of 4 x 4 patches."""
    # Random weights on bands of texture would make every map of smooth values the same.
    changes = tiny(**{"data.origin": "year", "modalities.s1a.dates_eval": 3, "modalities.s2.dates_eval": 3, "model.resnet.texture_radius": 0})
    for name in {*changes.modalities} - {*sensors}:
        del changes.modalities[name]
    config = schema.parse(changes)
    names = tuple(spec.name for spec in config.modalities)
    module = make_model(config.modalities, config, len(CLASSES), 4, jnp.float32)
    rng = np.random.default_rng(seed)
    params = unflatten_dict({name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in model_shapes(module).items()}, sep="/")
    statistics = {name: {"mean": [0.0] * len(BANDS[name]), "std": [1.0] * len(BANDS[name])} for name in names}
    facts = {name: SensorInfo(BANDS[name], first_day=18_600, last_day=19_000, dates=3) for name in names}
    save_model(folder, params, ModelInfo(config, names, CLASSES, 4, statistics, facts, window=4))
    return folder
