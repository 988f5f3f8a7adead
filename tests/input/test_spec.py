"""Configuration and data are matched, and mismatches are explained."""

import dataclasses

import pytest

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.input.spec import resolve_input_spec
from tests.conftest import tiny


def test_mismatches_are_explained(records):
    with pytest.raises(ValueError, match="modalities.s2: configured as series of 9 channels, stored as series of 10"):
        resolve_input_spec(schema.parse(tiny(**{"modalities.s2.channels": 9})), records.info)
    changes = {f"modalities.{name}.patch": 3 for name in ("s2", "s1a", "s1d")} | {"modalities.spot.patch": 30}
    with pytest.raises(ValueError, match="cannot be divided into patches of 3 px"):
        resolve_input_spec(schema.parse(tiny(**changes)), records.info)
    with pytest.raises(ValueError, match="data.crop must be a multiple of 4"):
        resolve_input_spec(schema.parse(tiny(**{"data.crop": 6})), records.info)
    assert resolve_input_spec(schema.parse(tiny(task="classify")), records.info).train.labels == (18,)


def test_modalities_that_the_data_do_not_have_are_dropped(records):
    config = tiny()
    config.modalities.unlock()
    config.modalities.thermal = config.modalities.s2.copy_and_resolve_references()
    assert resolve_input_spec(schema.parse(config), records.info).dropped == ("thermal",)


def test_a_single_sensor_that_the_data_hold_has_nothing_to_be_aligned_with(records):
    only = dataclasses.replace(records.info, modalities={"s2": records.info.modalities["s2"]})
    with pytest.raises(UserError, match=r"the data hold s2 only; contrastive.granularities 'patch': expected at least 2 views .* set pretrain.steps to 0"):
        resolve_input_spec(schema.parse(tiny()), only)
    assert resolve_input_spec(schema.parse(tiny("no_pretrain")), only).dropped == ("s1a", "s1d", "spot")
    assert resolve_input_spec(schema.parse(tiny("masked", **{"contrastive.weight": 0.0})), only).dropped


def test_unconfigured_sensors_are_unused(records):
    config = tiny()
    del config.modalities["spot"]
    spec = resolve_input_spec(schema.parse(config), records.info)
    assert spec.unused == ("spot",) and [m.name for m in spec.train.modalities] == ["s1a", "s1d", "s2"]


def test_crops_and_labels_are_counted_in_patches(records):
    spec = resolve_input_spec(schema.parse(tiny(**{"data.crop": 8})), records.info)
    assert (spec.grid, spec.crop, spec.label_patch) == (4, 2, 4)
    assert (spec.train.labels, spec.evaluation.labels) == ((8, 8), (16, 16)) and spec.train.labels_dtype == "uint8"
    spec = resolve_input_spec(schema.parse(tiny(task="classify")), records.info)
    assert "background" not in " ".join(spec.classes).lower() and spec.label_patch == 0 and spec.train.labels_dtype == "float32"


def test_zero_dates_stand_for_the_longest_series(records):
    config = tiny(**{"modalities.s2.dates_train": 0, "modalities.s2.dates_eval": 10_000})
    spec = resolve_input_spec(schema.parse(config), records.info)
    longest = records.modalities["s2"].longest
    assert {m.dates for layout in (spec.train, spec.evaluation) for m in layout.modalities if m.name == "s2"} == {longest}


def changed(info, **changes):
    """A description with other modalities."""
    return dataclasses.replace(info, modalities={name: dataclasses.replace(info.modalities[name], **new) for name, new in changes.items()})


@pytest.mark.parametrize(
    ("description", "changes", "message"),
    [
        (lambda info: dataclasses.replace(info, task="classify"), {}, "has labels for 'classify': set --config.task=classify"),
        (lambda info: dataclasses.replace(info, modalities={}), {}, "none of the configured modalities .* is in the data"),
        (lambda info: changed(info, s2={"shape": (16, 12, 10)}), {}, "tiles of 16x12 px cannot be divided into patches of 4 px"),
        (lambda info: changed(info, s2={}, s1a={"shape": (32, 32, 3)}), {}, "modalities must have the same patch grid, found .*'s1a': 8, 's2': 4"),
        (lambda info: changed(info, s2={"kind": "image"}), {}, "configured as series of 10 channels, stored as image of 10"),
        (lambda info: changed(info, s2={"resolution": 20.0}), {}, "pixels of 10 m, stored with pixels of 20 m .* set modalities.s2.resolution=20"),
        (lambda info: dataclasses.replace(info, label_side=18), {}, "labels of 18 px cannot be divided into 4 patches"),
        (lambda info: info, {"task": "classify", "data.crop": 8}, "data.crop is only for dense labels"),
        (lambda info: info, {"data.crop": 20}, "data.crop must be a multiple of 4 up to 16 label pixels, found 20"),
    ],
)
def test_other_mismatches_are_explained(records, description, changes, message):
    with pytest.raises(UserError, match=message):
        resolve_input_spec(schema.parse(tiny(**changes)), description(records.info))


@pytest.mark.parametrize("resolution", [0.0, 9.8, 10.2])
def test_pixels_of_nearly_the_same_or_of_unknown_size_are_used(records, resolution):
    info = changed(records.info, s2={"resolution": resolution}, s1a={})
    assert resolve_input_spec(schema.parse(tiny()), info).grid == 4
