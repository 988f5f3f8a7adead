"""What a run says about its model: the bands, days, classes and scores of its own data and split."""

import dataclasses
import types
from typing import Any

import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.experiment import released
from omnisat_jax.inference.model_folder import CARD, load_model
from omnisat_jax.inference.model_info import SubsetScores
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.records.splits import choose_split
from omnisat_jax.report import tables
from tests.conftest import tiny
from tests.inference.folders import made

SEGMENT = [{"modalities": ["s2"], "tiles": 2, "scores": {"miou": 12.5, "oa": None, "miou_most_frequent": 4.0, "ece": 3.0}}]
CLASSIFY = [{"modalities": ["s2"], "tiles": 2, "scores": {"f1_macro": 1.0, "f1_weighted": 2.0, "map": 3.0, "f1_every_label": 20.0, "f1": {}}}]


def context(records, preset="demo", info=None, **changes) -> Any:
    """A context as far as a description needs it."""
    config = schema.parse(tiny(preset, **changes))
    info = info or records.info
    spec = resolve_input_spec(config, info)
    return types.SimpleNamespace(
        config=config,
        records=types.SimpleNamespace(info=info, days=records.days, **{name: getattr(info, name) for name in NAMES}),
        split=choose_split("auto", records.parts, 2),
        input_spec=spec,
        names=tuple(each.name for each in spec.specs),
        statistics=records.statistics(records.parts),
    )


NAMES = ("modalities", "classes", "colours", "unscored", "background")


def test_sensors_are_those_of_data_and_split(records):
    found = released.describe(context(records), SEGMENT)
    assert list(found.sensors) == list(found.modalities)
    s2 = found.sensors["s2"]
    assert s2.bands == records.modalities["s2"].bands and (s2.scale, s2.offset) == (None, None)
    assert (s2.first_day, s2.last_day) == records.days(("fold_2", "fold_3", "fold_4"))["s2"] and s2.dates == 6
    spot = found.sensors["spot"]
    assert spot.bands == ("R", "G", "B") and (spot.first_day, spot.last_day, spot.dates) == (None, None, 0)
    assert found.window == 4 and found.temperature == 1.0


def test_declared_scales_are_passed_on(records):
    scaled = dataclasses.replace(records.info.modalities["s2"], scale=(1e-4,) * 10, offset=(-0.1,) * 10)
    info = dataclasses.replace(records.info, modalities=dict(records.info.modalities) | {"s2": scaled})
    found = released.describe(context(records, info=info), SEGMENT)
    assert found.sensors["s2"].scale == (1e-4,) * 10 and found.sensors["s2"].offset == (-0.1,) * 10
    assert found.sensors["spot"].scale is None


def test_the_window_is_what_the_model_was_trained_on(records):
    assert released.describe(context(records, **{"data.crop": 8}), SEGMENT).window == 2


def test_provenance_is_that_of_the_run(records):
    data = released.describe(context(records), SEGMENT).provenance
    assert (data.train, data.validation, data.test) == (("fold_2", "fold_3", "fold_4"), ("fold_5",), ("fold_1",))
    assert (data.protocol, data.simulated, data.fingerprint) == ("official_5fold", True, records.fingerprint)
    assert data.citation == records.info.citation and dict(data.metrics) == tables.released("segment")
    assert data.scores == (SubsetScores(("s2",), 2, {"miou": 12.5, "oa": None, "miou_most_frequent": 4.0}),)


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_classes_keep_their_colours_and_roles(records, task):
    """Labels of tiles that are derived from dense ones have no background."""
    colours = tuple(f"#0000{index:02x}" for index in range(19))
    info = dataclasses.replace(records.info, colours=colours, unscored=("Background", "Corn"))
    preset, subsets = ("demo", SEGMENT) if task == "segment" else ("published", CLASSIFY)
    found = released.describe(context(records, preset, info), subsets)
    assert found.config.task == task and dict(zip(found.classes, found.legend.colours, strict=True))["Corn"] == "#000003"
    if task == "segment":
        assert found.legend == dataclasses.replace(found.legend, colours=colours, unscored=("Background", "Corn"), background=0)
    else:
        assert found.legend == dataclasses.replace(found.legend, colours=colours[1:], unscored=("Corn",), background=-1)
        assert found.provenance.scores[0].scores == {"f1_macro": 1.0, "f1_weighted": 2.0, "map": 3.0, "f1_every_label": 20.0}


def test_a_folder_is_written_with_its_card(tmp_path):
    params, info = made()
    released.save(tmp_path / "model", params, info)
    assert load_model(tmp_path / "model").info == info
    assert "# pastis" in (tmp_path / "model" / CARD).read_text()
    np.testing.assert_array_equal(load_model(tmp_path / "model").params["fusion"]["query"], params["fusion"]["query"])
