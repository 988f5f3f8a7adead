"""Prepared records hold what the raw folder holds, with exact statistics, and preparation can be interrupted."""

import json
import shutil

import numpy as np
import pytest

from data.preparation.summary import band_moments, merge
from data.prepare import prepare
from data.reading.raw import DataError
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.records.reader import Records
from tests.conftest import tiny


def data_config(raw, cache):
    return schema.parse(tiny(**{"data.raw_dir": str(raw), "data.cache_dir": str(cache)})).data


def test_records_hold_what_the_raw_folder_holds(records, simulated):
    source = records.source(records.parts)
    assert len(source) == 10 == len(set(records.tile_ids))
    for example in source:
        tile = records.tile_ids[example["tile_index"]]
        raw = np.load(simulated / "DATA_S2" / f"S2_{tile}.npy")
        np.testing.assert_array_equal(example["s2"]["values"][:].transpose(0, 3, 1, 2), raw)
        np.testing.assert_array_equal(example["labels"], np.load(simulated / "ANNOTATIONS" / f"TARGET_{tile}.npy")[0])


def test_statistics_are_those_of_the_training_parts_only(records, simulated):
    parts = ("fold_1", "fold_3")
    stacked = []
    for tile in records.tiles(parts):
        values = np.load(simulated / "DATA_S1A" / f"S1A_{tile}.npy").astype(np.float64)
        stacked.append(values.transpose(0, 2, 3, 1).reshape(-1, 3))
    stacked = np.concatenate(stacked)
    found = records.statistics(parts)["s1a"]
    np.testing.assert_allclose(found["mean"], stacked.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found["std"], stacked.std(0), rtol=1e-9)


@pytest.mark.parametrize("rounding", [0.0, 1e-9])
def test_bands_with_a_single_value_are_named_and_not_scaled(records, rounding):
    """Sums of equal floats differ in their last digits; divided by that, other values would be huge."""
    flat, parts = Records(records.root), ("fold_1", "fold_3")
    assert flat.constant_bands(parts) == flat.constant_bands(parts, clear=True) == {}
    for part in parts:
        flat._summaries[part]["moments"]["s1a"] = [[10.0] * 3, [-11.1, 3.0, 5.0], [10 * rounding**2, 4.0, 0.0]]
    assert flat.constant_bands(parts) == {"s1a": (records.modalities["s1a"].bands[0], records.modalities["s1a"].bands[2])}
    found = flat.statistics(parts)["s1a"]
    assert found["std"] == pytest.approx([1.0, 0.4**0.5, 1.0]) and found["mean"] == pytest.approx([-11.1, 3.0, 5.0])


def test_days_of_training_are_those_of_valid_dates(records):
    """Also where an earlier version prepared the records, whose summaries have no days."""
    parts, expected = ("fold_2", "fold_4"), {}
    for example in records.source(parts):
        for name in ("s1a", "s1d", "s2"):
            expected.setdefault(name, []).extend(example[name]["dates"][example[name]["valid"]].tolist())
    expected = {name: (min(days), max(days)) for name, days in expected.items() if days}
    assert len(expected) == 3 and records.days(parts) == expected and records.days(()) == {}
    earlier = Records(records.root)
    earlier._summaries["fold_1"]["days"] = {"s2": [3, 5]}
    earlier._summaries["fold_3"]["days"] = {}
    assert earlier.days(("fold_1", "fold_3")) == {"s2": (3, 5)}
    assert earlier.days(("fold_1", "fold_2"))["s2"] == (3, records.days(("fold_2",))["s2"][1])
    for summary in earlier._summaries.values():
        del summary["days"]
    assert earlier.days(parts) == expected


def test_moments_ignore_no_data_and_merge_exactly():
    values = np.random.default_rng(0).normal(1e4, 3, (50, 2))
    values[3, 0] = np.nan
    whole = band_moments(values)
    parts = merge(band_moments(values[:20]), band_moments(values[20:]))
    np.testing.assert_allclose(whole, parts, rtol=1e-12)
    assert whole[0].tolist() == [49, 50]


def test_preparation_resumes_where_it_stopped(simulated, tmp_path, console):
    config = data_config(simulated, tmp_path)
    first = prepare(config, console)
    kept = (first / "tiles" / "fold_1").stat().st_mtime_ns
    # As after a kill while the third part was written: its records without a summary, nothing after it.
    for part in ("fold_3", "fold_4", "fold_5"):
        (first / f"{part}.json").unlink()
    for part in ("fold_4", "fold_5"):
        shutil.rmtree(first / "tiles" / part)
    (first / "dataset.json").unlink()
    again = prepare(config, console)
    assert again == first and (first / "tiles" / "fold_1").stat().st_mtime_ns == kept
    assert len(Records(again).source(("fold_3", "fold_4"))) == 4


def test_changed_raw_data_make_other_records(simulated, tmp_path, console):
    root = tmp_path / "raw"
    shutil.copytree(simulated, root)
    before = prepare(data_config(root, tmp_path / "cache"), console)
    (root / "DATA_S2" / "S2_10000.npy").unlink()
    after = prepare(data_config(root, tmp_path / "cache"), console)
    assert before != after
    assert Records(after).counts(("fold_1",))["s2"] == {"present": 1, "absent": 1, "wholly_unknown": 0, "invalid_dates": 0}


def test_a_bad_file_leaves_no_finished_records(simulated, tmp_path, console):
    root = tmp_path / "raw"
    shutil.copytree(simulated, root)
    (root / "DATA_S2" / "S2_10004.npy").write_bytes(b"")
    with pytest.raises(DataError, match="tile 10004"):
        prepare(data_config(root, tmp_path / "cache"), console)
    assert not list((tmp_path / "cache").glob("*/dataset.json"))


def test_the_error_without_raw_data_says_where_to_find_them(tmp_path, console):
    config = schema.parse(tiny(**{"data.simulated.tiles": 0, "data.cache_dir": str(tmp_path)})).data
    with pytest.raises(UserError, match="zenodo.org.*--config.data.raw_dir"):
        prepare(config, console)


def test_unfinished_records_are_refused(tmp_path):
    with pytest.raises(UserError, match="--stage=prepare"):
        Records(tmp_path)


def test_the_description_is_plain_json(records):
    values = json.loads((records.root / "dataset.json").read_text())
    assert values["modalities"]["s2"]["shape"] == [16, 16, 10] and values["simulated"] is True


def test_a_share_of_the_tiles_is_part_of_a_larger_one(records):
    parts = ("fold_1", "fold_2", "fold_3")
    names = {}
    for share in (0.01, 0.4, 0.7, 1.0):
        source = records.source(parts, share, seed=5)
        names[share] = [records.tile_ids[source[i]["tile_index"]] for i in range(len(source))]
    assert [len(kept) for kept in names.values()] == [1, 2, 4, 6]
    assert set(names[0.01]) < set(names[0.4]) < set(names[0.7]) < set(names[1.0])
    assert names[1.0] == list(records.tiles(parts))  # in the order of the table
    other = records.source(parts, 0.4, seed=6)
    assert {records.tile_ids[other[i]["tile_index"]] for i in range(2)} != set(names[0.4])
