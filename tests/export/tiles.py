"""Tiny trained models and measurements for the tests of exported files."""

import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.export.program import flat_inputs
from omnisat_jax.inference.inputs import make_inputs
from omnisat_jax.inference.model_info import ModelInfo, SensorInfo
from omnisat_jax.inference.model_saving import save_model
from tests.conftest import tiny
from tests.models.worlds import world

# Every architecture, both tasks, every encoder.
ROWS = ("demo", "omnisat,tile_f1", "utae", "early", "dual", "published", "skysense", "satclip")
WINDOW = 2  # tokens per tile side
SHAPES = ((1, 3), (3, 4))  # numbers of tiles, and of dates of the first series; each further one has one more


def band_names(specs):
    """Made-up names of the bands of each sensor."""
    return {spec.name: tuple(f"{spec.name}_{index}" for index in range(spec.channels)) for spec in specs if spec.kind != "location"}


def save_tiny(folder, row, **changes):
    """Writes the tiny model of a row with random parameters and statistics, which knows the names of its bands."""
    module, params, _ = world(row, **changes)
    rng = np.random.default_rng(7)
    statistics = {
        spec.name: {"mean": rng.normal(size=spec.channels).tolist(), "std": rng.uniform(0.5, 2, spec.channels).tolist()}
        for spec in module.specs
    }
    config = schema.parse(tiny(row, **changes))
    sensors = {name: SensorInfo(bands) for name, bands in band_names(module.specs).items()}
    save_model(folder, params, ModelInfo(config, module.names, tuple("abcde"), module.label_patch, statistics, sensors))
    return folder


def measurements(specs, tiles, dates, window=WINDOW):
    """Raw measurements of tiles, some of them unknown, as `Model.probabilities` takes them."""
    rng = np.random.default_rng(tiles)
    given = {}
    for spec in specs:
        side = window * spec.patch
        if spec.kind == "location":
            given[spec.name] = rng.uniform(-80, 80, (tiles, 2))
            continue
        shape = (tiles, side, side, spec.channels)
        if spec.kind == "image":
            given[spec.name] = rng.normal(size=shape)
            given[spec.name][:, :3, ::2] = np.nan
            continue
        values = rng.normal(size=(tiles, dates, *shape[1:]))
        values[:, :, ::3, 0] = np.nan
        days = np.sort(rng.integers(17_800, 18_100, (tiles, dates)), axis=1)
        valid = np.ones((tiles, dates), bool)
        valid[-1, 1] = False
        given[spec.name] = values, days, valid
        dates += 1
    return given


def program_inputs(given, subset, specs, origin):
    """The inputs of a program: all measurements, those outside the subset not present, and no date more than there is."""
    full = make_inputs(given, specs, origin)[0]
    for name, entry in make_inputs({name: given[name] for name in subset}, specs, origin)[0].items():
        if name not in subset:
            full[name]["present"] = entry["present"]
            continue
        full[name] = entry
    for name, entry in full.items():
        if "valid" in entry:
            count = given[name][0].shape[1]
            full[name] = entry | {key: entry[key][:, :count] for key in ("values", "dates", "valid")}
    return flat_inputs(full)


def usable(subsets, specs):
    """The subsets that a model can predict from: those with a sensor."""
    sensors = {spec.name for spec in specs if spec.kind != "location"}
    return [subset for subset in subsets if sensors & set(subset)]
