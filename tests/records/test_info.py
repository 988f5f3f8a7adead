"""The typed description of a dataset equals its JSON."""

import dataclasses
import json

import pytest

from omnisat_jax.records.info import DatasetInfo, FileInfo, ModalityInfo


@pytest.fixture
def values(records):
    return json.loads((records.root / "dataset.json").read_text())


def test_every_value_of_the_description_is_an_attribute(records, values):
    info = DatasetInfo.from_json(values)
    assert info == records.info
    plain = json.loads(json.dumps(dataclasses.asdict(info)))
    same = set(plain) & set(values) - {"files"}
    assert {key: plain[key] for key in same} == {key: values[key] for key in same}
    assert set(values) - same == {"version", "checksum", "split", "files"} and plain["table_split"] == values["split"]
    assert info.modalities["s2"] == ModalityInfo("series", (16, 16, 10), "int16", values["modalities"]["s2"]["longest"], info.modalities["s2"].bands, resolution=10.0)


def test_records_of_earlier_versions_declare_no_scale(values):
    for modality in values["modalities"].values():
        del modality["scale"], modality["offset"]
    info = DatasetInfo.from_json(values)
    assert all(modality.scale == modality.offset == () for modality in info.modalities.values())


def test_frames_are_counted_and_other_files_hashed(values):
    info = DatasetInfo.from_json(values)
    for name, entry in values["files"].items():
        assert info.files[name] == FileInfo(entry["bytes"], entry.get("xxh3", ""), entry.get("frames"))
    frames = [name for name, file in info.files.items() if file.frames is not None]
    assert frames and all(name.startswith("frames/") and not info.files[name].xxh3 for name in frames)


def test_runs_record_plain_values_in_the_order_of_the_description(records, values):
    provenance = records.info.provenance()
    assert list(provenance) == ["dataset", "fingerprint", "source", "simulated", "citation", "made_with"]
    assert json.dumps(provenance) == json.dumps({key: values[key] for key in provenance})
