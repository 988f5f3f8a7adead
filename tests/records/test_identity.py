"""The content of the raw data identifies records, and records made with other options are refused."""

import os
import shutil

import numpy as np
import pytest

from data import prepare as command
from data.preparation import preparing
from data.preparation.options import PreparationOptions
from data.reading.datasets import reader_of, simulator
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.records.reader import Records
from tests import faults
from tests.conftest import prepare_pastis as run, tiny


def keep_times(path, change):
    """Changes a file in place, and keeps its size and modification time."""
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_equal_names_and_sizes_are_not_equal_data(root, tmp_path, capsys):
    """A file that was corrected in place, with the same size and modification time."""
    out = tmp_path / "out"
    assert run(root, out) == 0
    path = root / faults.S1A
    keep_times(path, lambda: faults.change_array(path, lambda a: (10 ** (a / 10)).astype(a.dtype)))
    capsys.readouterr()
    assert run(root, out) == 1
    shown = capsys.readouterr()
    assert "the raw files are others, or were changed" in shown.err and "Train on them" not in shown.out


def test_moved_folders_and_stray_files_are_the_same_data(root, tmp_path):
    out = tmp_path / "out"
    assert run(root, out) == 0
    kept = (out / "dataset.json").stat().st_mtime_ns
    for name in (".DS_Store", "Thumbs.db", "._metadata.geojson"):
        (root / name).write_bytes(b"x")
    moved = root.rename(tmp_path / "moved")
    (tmp_path / "linked").symlink_to(moved)
    assert run(f"{tmp_path / 'linked'}/", out, "--max_bad", "0.5") == 0
    assert (out / "dataset.json").stat().st_mtime_ns == kept


def test_links_stand_for_their_targets(root, tmp_path, capsys):
    other = tmp_path / "elsewhere.npy"
    path = root / faults.S1A
    shutil.move(path, other)
    changed = tmp_path / "changed.npy"
    np.save(changed, np.load(other) + 1)
    # Links inside the dataset; links out of it are refused.
    for name in (other, changed):
        shutil.move(name, path.with_name(f"kept_{name.name}"))
    path.symlink_to("kept_elsewhere.npy")
    assert run(root, tmp_path / "out") == 0
    path.unlink()
    path.symlink_to("kept_changed.npy")
    assert run(root, tmp_path / "out") == 1
    assert "those of others" in capsys.readouterr().err


def test_prepared_records_must_match_the_configuration(simulated, tmp_path, console, root):
    out = tmp_path / "out"
    assert run(simulated, out, "--on_bad", "mask") == 0

    def config(**changes):
        values = {"prepared_dir": str(out), "raw_dir": ""} | changes
        return schema.parse(tiny(**{f"data.{key}": value for key, value in values.items()})).data

    assert command.prepare(config(on_bad="mask"), console) == out
    for changes, message in (
        ({}, "made with data.on_bad=raise, found .* with on_bad 'mask'. Set --config.data.on_bad=mask"),
        ({"on_bad": "mask", "float16": True}, "data.float16=True, found .* with float16 False. Set --config.data.float16=False"),
        ({"on_bad": "mask", "dataset": "treesat"}, "data.dataset=treesat, found .* with dataset 'pastis'"),
        ({"on_bad": "mask", "dataset": "flair", "nomenclature": "19"}, "data.nomenclature=19, found .* nomenclature ''"),
    ):
        with pytest.raises(UserError, match=message):
            command.prepare(config(**changes), console)
    # If the raw folder is given, the records must be of its present content.
    assert command.prepare(config(on_bad="mask", raw_dir=str(root)), console) == out
    faults.change_array(root / faults.S1A, lambda a: a + 1)
    with pytest.raises(UserError, match=f"expected records of data.raw_dir={root}"):
        command.prepare(config(on_bad="mask", raw_dir=str(root)), console)
    assert command.prepare(config(on_bad="mask", raw_dir=str(tmp_path / "not_here")), console) == out


def test_the_default_nomenclature_is_recorded_by_name(tmp_path, console):
    raw = tmp_path / "flair"
    simulator("flair").simulate(raw, tiles=4, tile_size=64, seed=0)
    out = tmp_path / "out"
    assert run_command(command.main, ["flair", "--raw", str(raw), "--out", str(out), "--jobs", "1"]) == 0
    assert Records(out).info.made_with.nomenclature == "12"

    def config(nomenclature):
        return schema.parse(tiny(**{"data.dataset": "flair", "data.prepared_dir": str(out), "data.nomenclature": nomenclature})).data

    assert command.prepare(config(""), console) == command.prepare(config("12"), console) == out
    with pytest.raises(UserError, match="made with data.nomenclature=19, found .* with nomenclature '12'"):
        command.prepare(config("19"), console)


def test_simulated_records_record_their_parameters(tmp_path, console):
    config = schema.parse(tiny(**{"data.cache_dir": str(tmp_path), "data.simulated.tiles": 5})).data
    made = Records(command.prepare(config, console)).info.made_with
    assert made.simulated == {"version": simulator("pastis").VERSION, "tiles": 5, "tile_size": 16, "seed": 0}


def test_files_that_are_read_as_other_values_are_other_data(root, console, monkeypatch):
    """Records from before a change of a reader are not used again; those of other readers stay what they were."""

    def fingerprint():
        return preparing._fingerprint("pastis", root, "", PreparationOptions(), console)

    before = fingerprint()
    monkeypatch.setattr(reader_of("pastis"), "READING", 1, raising=False)
    assert fingerprint() == before
    monkeypatch.setattr(reader_of("pastis"), "READING", 2)
    assert fingerprint() != before
