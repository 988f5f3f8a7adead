"""`python -m data.prepare`: records from several processes, broken tiles, small floats, foreign folders."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from data import prepare as command
from data.preparation import preparing, writing
from data.preparation.bad_tiles import BadTiles, TooManyBadTiles, read_tile
from data.preparation.options import Origin, PreparationOptions
from data.preparation.summary import Summary, clear_dates
from data.reading.datasets import open_dataset
from data.reading.raw import DataError, RawModality, absent
from omnisat_jax.files import atomic
from omnisat_jax.records.reader import Records
from tests import faults, forks
from tests.conftest import ROOT, prepare_pastis as run
from tests.faults import TILE


def test_broken_tiles_are_counted_one_by_one():
    """Thousands of broken tiles that are kept, each of which is compared with the limit."""
    read = []

    class Entry(dict):
        def __getitem__(self, key):
            read.append(key)
            return super().__getitem__(key)

    bad = BadTiles(0.75, 1000, [Entry(tile="0", message="m")])
    for number in range(1, 750):
        bad.add([Entry(tile=str(number), message="m")] * 2)
    assert len(read) < 5 * 750
    with pytest.raises(TooManyBadTiles, match="751 of 1,000 tiles are broken"):
        bad.add([{"tile": "750", "message": "m"}])
        bad.add([{"tile": "751", "message": "m"}])


def test_two_processes_write_what_one_does(simulated, tmp_path, capsys):
    assert run(simulated, tmp_path / "one") == 0
    assert run(simulated, tmp_path / "two", "--jobs", "2") == 0
    one, two = Records(tmp_path / "one"), Records(tmp_path / "two")
    assert one.tile_ids == two.tile_ids and one.fingerprint == two.fingerprint
    for a, b in zip(one.source(one.parts), two.source(two.parts), strict=True):
        np.testing.assert_array_equal(a["s1a"]["values"], b["s1a"]["values"])
        np.testing.assert_array_equal(a["labels"], b["labels"])
    shown = capsys.readouterr().out
    assert "fold_1" in shown and "MB per tile" in shown and "data.prepared_dir" in shown


def test_names_of_folders_are_shown_literally(simulated, tmp_path, capsys):
    assert run(simulated, tmp_path / "[b] :smile:") == 0
    shown = "".join(capsys.readouterr().out.split())  # a narrow terminal wraps it
    assert shown.count("[b]:smile:") == 2 and "\\[" not in shown  # above the table, and in the advice


def test_an_interrupted_preparation_is_resumed(simulated, tmp_path):
    out = tmp_path / "out"
    assert run(simulated, out) == 0
    kept = (out / "fold_1.json").stat().st_mtime_ns
    # As after a kill in the middle of fold 4.
    for part in ("fold_4", "fold_5"):
        (out / f"{part}.json").unlink()
    (out / "dataset.json").unlink()
    assert run(simulated, out) == 0
    assert (out / "fold_1.json").stat().st_mtime_ns == kept and len(Records(out).tile_ids) == 10


def test_two_commands_at_once_make_one_folder(simulated, tmp_path):
    command_line = [sys.executable, "-m", "data.prepare", "pastis", "--raw", simulated, "--out", tmp_path / "out", "--jobs", "1"]
    both = [subprocess.Popen(command_line, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(100) for process in both] == [0, 0]
    assert len(Records(tmp_path / "out").tile_ids) == 10


def files(folder):
    """{path: content} of records without what depends on the clock, and without tables, whose bytes differ from one writing to the next."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "array_record" not in path.name:
            text = re.sub(rb'"(seconds|xxh3|checksum|bytes)": ("[^"]*"|[0-9.e-]+)', b"", path.read_bytes()) if path.suffix == ".json" else path.read_bytes()
            found[path.relative_to(folder).as_posix()] = text
    return found


def test_shards_at_once_write_what_one_command_does(simulated, tmp_path, capsys):
    assert run(simulated, tmp_path / "one") == 0
    source = "import sys\nfrom data.prepare import main\nfrom omnisat_jax.cli.command import run_command\nsys.exit(run_command(main, {!r}))"
    arguments = ["pastis", "--raw", str(simulated), "--out", str(tmp_path / "many"), "--jobs", "1", "--shard"]
    children = [forks.Fork(source.format([*arguments, f"{index}/3"]), stderr=subprocess.STDOUT) for index in range(3)]
    for index, child in enumerate(children):
        text = " ".join(child.communicate()[0].split())
        assert child.returncode == 0 and f"shard {index}/3 of" in text and "without --shard" in text, text
    assert not (tmp_path / "many" / "dataset.json").exists()  # nothing can be trained on it yet
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("fold_*.json")}
    assert len(kept) == 5
    capsys.readouterr()
    assert run(simulated, tmp_path / "many") == 0 and "fold_5" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    one, many = files(tmp_path / "one"), files(tmp_path / "many")
    assert one.keys() == many.keys() and not [name for name in one if one[name] != many[name]]
    one, many = Records(tmp_path / "one"), Records(tmp_path / "many")
    assert one.tile_ids == many.tile_ids and one.fingerprint == many.fingerprint
    for pair in zip(one.source(one.parts), many.source(many.parts), strict=True):
        jax.tree.map(np.testing.assert_array_equal, *pair)


def test_what_a_killed_shard_left_is_prepared_by_the_last_command(simulated, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(simulated, out, "--shard", "1/4") == 0
    assert "fold_1, fold_3, fold_4, fold_5 of other shards are not done yet" in " ".join(capsys.readouterr().out.split())
    (out / "tiles" / "fold_3").mkdir()  # as after a kill
    (out / "tiles" / "fold_3" / atomic.MARK).touch()
    assert run(simulated, out) == 0 and len(Records(out).tile_ids) == 10


def test_more_shards_than_parts_and_a_shard_of_other_data_are_refused(simulated, root, tmp_path, capsys):
    assert run(simulated, tmp_path / "out", "--shard", "0/6") == 1
    assert "expected at most one shard per part" in " ".join(capsys.readouterr().err.split())
    assert run(simulated, tmp_path / "out", "--shard", "0/2") == 0
    (root / "ANNOTATIONS" / f"TARGET_{TILE}.npy").unlink()
    assert run(root, tmp_path / "out", "--shard", "1/2", "--unlabelled", "pretrain") == 1
    assert "expected records of these data" in " ".join(capsys.readouterr().err.split())


def test_shards_together_may_not_exceed_the_limit_of_broken_tiles(root, tmp_path, capsys):
    for tile in sorted(path.stem.removeprefix("TARGET_") for path in (root / "ANNOTATIONS").glob("TARGET_*.npy"))[:2]:
        (root / "DATA_S2" / f"S2_{tile}.npy").write_bytes(b"")
    for index in range(2):
        assert run(root, tmp_path / "out", "--on_bad", "mask", "--max_bad", "0.5", "--shard", f"{index}/2") == 0
    assert run(root, tmp_path / "out", "--on_bad", "mask", "--max_bad", "0.1") == 1
    assert "2 of 10 tiles are broken, more than data.max_bad = 0.1 allows" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_killed_command_leaves_no_process_behind_and_is_resumed(simulated, tmp_path):
    script = """
import os, signal, sys
from data import prepare
from data.preparation import bad_tiles, writing
kept = bad_tiles.BadTiles.add
def add(self, entries):
    kept(self, entries)
    self.tiles = getattr(self, "tiles", 0) + 1
    if self.tiles == 5:
        os.kill(os.getpid(), signal.SIGKILL)
writing.BadTiles.add = add
if __name__ == "__main__":
    sys.exit(prepare.main(sys.argv[1:]))
"""
    (tmp_path / "kill.py").write_text(script)
    arguments = ["pastis", "--raw", simulated, "--out", tmp_path / "out", "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # The output ends when the last process that could write to it is gone.
    killed = subprocess.run([sys.executable, tmp_path / "kill.py", *arguments], capture_output=True, env=environment, timeout=100)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "out" / "fold_2.json").is_file() and not (tmp_path / "out" / "dataset.json").exists()
    kept = (tmp_path / "out" / "fold_1.json").stat().st_mtime_ns
    assert run(simulated, tmp_path / "out") == 0
    assert (tmp_path / "out" / "fold_1.json").stat().st_mtime_ns == kept and len(Records(tmp_path / "out").tile_ids) == 10


def test_foreign_folders_are_refused(simulated, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("mine")
    assert run(simulated, tmp_path) == 1
    assert "thesis.tex" in capsys.readouterr().err
    out = tmp_path / "out"
    assert run(simulated, out) == 0
    assert run(simulated, out, "--float16") == 1
    error = capsys.readouterr().err
    assert "those of others" in error and "float16 False then, True now" in error


def test_a_kill_at_any_write_can_be_resumed(simulated, tmp_path, monkeypatch):
    """Whatever a process leaves that dies while it writes a description, the next one resumes."""
    writes = []
    real = atomic.write_bytes

    class Killed(BaseException):
        pass

    def killed(path, content):
        writes.append(path.name)
        if len(writes) == moment:
            # As after SIGKILL: the partial file of a process that is gone.
            path.with_name(f"{path.name}.partial-{atomic._host()}-999999999-0123abcd").write_bytes(content[:10])
            raise Killed
        real(path, content)

    monkeypatch.setattr(atomic, "write_bytes", killed)
    for moment in range(1, 8):  # the claim, five parts, the description
        writes.clear()
        out = tmp_path / f"out{moment}"
        with pytest.raises(Killed):
            command.main(["pastis", "--raw", str(simulated), "--out", str(out), "--jobs", "1"])
        moment = 0
        assert run(simulated, out) == 0
        assert len(Records(out).tile_ids) == 10 and not list(out.rglob("*.partial-*"))


def test_nothing_is_removed_that_was_not_made_here(simulated, tmp_path, capsys):
    """Not even in a folder that was claimed: what carries no mark, and what links lead to, is left alone."""
    out, precious = tmp_path / "out", tmp_path / "precious"
    assert run(simulated, out) == 0
    (out / "dataset.json").unlink()
    (out / "fold_2.json").unlink()
    precious.mkdir()
    (precious / "thesis.tex").write_text("mine")
    (out / "frames").rename(out / "kept")
    (out / "frames").symlink_to(precious)
    assert run(simulated, out) == 1
    assert "found a link" in capsys.readouterr().err
    (out / "frames").unlink()
    (out / "frames" / "fold_2").mkdir(parents=True)
    (out / "frames" / "fold_2" / "thesis.tex").write_text("mine")
    assert run(simulated, out) == 1
    assert "was not removed" in capsys.readouterr().err
    assert (precious / "thesis.tex").is_file() and (out / "frames" / "fold_2" / "thesis.tex").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": {"../out": ("10000",), "b": ("10001",)}}, "name of a part.*'../out'"),
        ({"parts": {"/tmp/x": ("10000",)}}, "name of a part"),
        ({"parts": {"2019/20": ("10000",)}}, "name of a part.*2019/20"),
        ({"parts": {"dataset": ("10000",)}}, "a part not named dataset"),
        ({"parts": {"a": ("10000",), "b": ()}}, "a tile in every part, found none in b"),
        ({"parts": {"a": ("10000",), "b": ("10000",)}}, "each tile once, in one part, found 2 times"),
        ({"parts": {"a": ("10000",), "A": ("10001",)}}, "each value once"),
        ({"classes": ("a",) * 19}, "each value once"),
    ],
)
def test_no_name_is_written_that_was_not_checked(simulated, tmp_path, console, change, message):
    dataset = dataclasses.replace(open_dataset("pastis", simulated), **change)
    with pytest.raises(DataError, match=message):
        write(dataset, tmp_path / "deep" / "out", console)
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("name", ["../s2", "/tmp/s2", "labels", "tile_id", "s2.xxh3", "location"])
def test_no_modality_is_written_that_was_not_checked(simulated, tmp_path, console, name):
    dataset = open_dataset("pastis", simulated)
    renamed = {name if key == "s2" else key: modality for key, modality in dataset.modalities.items() if key != "location"}
    dataset = dataclasses.replace(dataset, modalities=renamed)
    with pytest.raises(DataError, match="a modality with another name|the name of a modality"):
        write(dataset, tmp_path / "out", console)
    assert not (tmp_path / "out").exists()


def write(dataset, folder, console):
    return writing.write_records(dataset, folder, Origin("abc", "pastis"), PreparationOptions(max_bad=0.0), console)


def test_folders_that_cannot_be_written_are_named(simulated, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert run(simulated, out) == 1
        error = capsys.readouterr().err
        assert f"{out}: records cannot be written there" in error and error.count("\n") == 1


def test_files_without_a_known_value_are_counted(simulated, tmp_path, monkeypatch, capsys):
    real = preparing.open_dataset

    def unknown(name, root, nomenclature, unlabelled):
        dataset = real(name, root, nomenclature, unlabelled)
        reader = dataset.readers["spot"]

        def read(tile):
            return absent(dataset.modalities["spot"], "no known value") if tile in ("10000", "10001") else reader(tile)

        return dataclasses.replace(dataset, readers=dict(dataset.readers) | {"spot": read})

    monkeypatch.setattr(preparing, "open_dataset", unknown)
    assert run(simulated, tmp_path / "out") == 0
    assert "spot: wholly unknown in 2 tiles" in capsys.readouterr().out
    counts = Records(tmp_path / "out").counts(("fold_1", "fold_2", "fold_3"))
    assert counts["spot"] == {"present": 4, "absent": 2, "wholly_unknown": 2, "invalid_dates": 0}
    assert counts["s2"]["wholly_unknown"] == 0


def test_lack_of_disk_space_is_reported_before_anything_is_written(simulated, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 99, 1))
    assert run(simulated, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert " MB of free disk for 10 tiles, found 1e-06 MB" in error and "about 0." not in error
    assert not (tmp_path / "out" / "tiles").exists()


def test_broken_tiles_end_the_preparation_by_default(root, tmp_path, capsys):
    faults.truncate(root / faults.S2)
    assert run(root, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert TILE in error and "S2_10003.npy" in error


def test_skip_leaves_the_tile_out_and_counts_it(root, tmp_path, capsys):
    faults.truncate(root / faults.S2)
    assert run(root, tmp_path / "out", "--on_bad", "skip", "--max_bad", "0.1") == 0
    records = Records(tmp_path / "out")
    assert len(records.tile_ids) == 9 and TILE not in records.tile_ids
    (entry,) = records.bad
    assert entry["tile"] == TILE and entry["action"] == "left out" and "S2_10003.npy" in entry["message"]
    assert "left out" in capsys.readouterr().out


def test_a_broken_first_tile_does_not_make_the_folder_unusable(root, tmp_path):
    for path in (root / "ANNOTATIONS" / "TARGET_10000.npy", next(root.rglob("SPOT6_*_10000.tif"))):
        path.write_bytes(b"")
    assert run(root, tmp_path / "out", "--on_bad", "skip", "--max_bad", "0.1") == 0
    assert "10000" not in Records(tmp_path / "out").tile_ids and len(Records(tmp_path / "out").tile_ids) == 9


def test_a_part_with_nothing_left_is_named(root, tmp_path, capsys):
    for tile in ("10000", "10005"):  # all of fold 1
        (root / "ANNOTATIONS" / f"TARGET_{tile}.npy").write_bytes(b"")
    assert run(root, tmp_path / "out", "--on_bad", "skip", "--max_bad", "0.5") == 1
    error = capsys.readouterr().err
    assert "part fold_1 has no whole tile" in error and "TARGET_10000.npy" in error


def test_an_unknown_dataset_is_named(simulated):
    with pytest.raises(ValueError, match="data.dataset: expected one of pastis, treesat, flair, tiles, found 'pasits'"):
        open_dataset("pasits", simulated)


def test_mask_keeps_what_is_intact(root, tmp_path):
    faults.truncate(root / faults.S2)
    (root / faults.LABEL).unlink()
    assert run(root, tmp_path / "out", "--on_bad", "mask", "--max_bad", "0.1") == 0
    records = Records(tmp_path / "out")
    example = next(e for e in records.source(records.parts) if records.tile_ids[e["tile_index"]] == TILE)
    assert len(example["s2"]["values"]) == 0 and len(example["s1a"]["values"]) > 0
    assert (example["labels"] == records.ignore).all()
    assert [entry["part"] for entry in records.bad] == ["s2", "labels"]
    assert {entry["action"] for entry in records.bad} == {"masked"}


def test_a_tile_with_nothing_left_is_left_out(root, tmp_path):
    for path in root.rglob(f"*_{TILE}.*"):
        if "ANNOTATIONS" not in str(path):
            path.write_bytes(b"")
    assert run(root, tmp_path / "out", "--on_bad", "mask", "--max_bad", "0.1") == 0
    assert TILE not in Records(tmp_path / "out").tile_ids


def test_too_many_broken_tiles_end_the_preparation_even_across_parts(root, tmp_path, capsys):
    for tile in ("10000", "10003"):
        (root / "DATA_S2" / f"S2_{tile}.npy").write_bytes(b"")
    assert run(root, tmp_path / "out", "--on_bad", "skip", "--max_bad", "0.1") == 1
    error = capsys.readouterr().err
    assert "2 of 10 tiles are broken" in error and "S2_10000.npy" in error and "data.verify" in error


def test_float16_changes_radar_by_far_less_than_speckle(simulated, tmp_path):
    assert run(simulated, tmp_path / "out", "--float16") == 0
    records = Records(tmp_path / "out")
    assert records.modalities["s1a"].dtype == "float16" and records.modalities["location"].dtype == "float32"
    for example in records.source(("fold_1",)):
        raw = np.load(simulated / "DATA_S1A" / f"S1A_{records.tile_ids[example['tile_index']]}.npy").transpose(0, 2, 3, 1)
        assert example["s1a"]["values"].dtype == np.float16
        assert np.abs(example["s1a"]["values"][:].astype(np.float32) - raw).max() < 0.016


def test_values_beyond_float16_are_named(root):
    faults.change_array(root / faults.S1A, lambda a: a + 1e5)
    work = (open_dataset("pastis", root), PreparationOptions(float16=True))
    with pytest.raises(DataError, match="S1A_10003.npy.*65504"):
        read_tile(work, TILE)


def test_an_unknown_nomenclature_is_named(simulated):
    with pytest.raises(ValueError, match="data.nomenclature of pastis.*'13'"):
        open_dataset("pastis", simulated, "13")


def test_clear_statistics_leave_out_bright_dates():
    rng = np.random.default_rng(0)
    values = rng.normal(500, 20, (12, 8, 8, 2)).astype(np.int16)
    values[4] = 6000  # cloud
    np.testing.assert_array_equal(np.flatnonzero(~clear_dates(values)), [4])
    summary = Summary({"s2": RawModality("series", (8, 8, 2), "int16", ("B02", "B03"))}, classes=2, ignore=-1, with_parcels=False)
    example = {"values": values, "dates": np.arange(12), "valid": np.ones(12, bool)}
    summary.add({"tile_id": "a", "s2": example, "labels": np.array([1.0, 0.0]), "labelled": True})
    content = json.loads(json.dumps(summary.to_json()))
    kept = values[np.arange(12) != 4].reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(content["clear_moments"]["s2"][1], kept.mean(0))
    np.testing.assert_allclose(content["moments"]["s2"][1], values.reshape(-1, 2).astype(np.float64).mean(0))
    assert content["moments"]["s2"][0] == [768, 768]
