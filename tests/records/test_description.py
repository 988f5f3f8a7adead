"""The description of records is signed, and every later change of their files is found and named."""

import json
import os
import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from omnisat_jax.errors import DataError, UserError
from omnisat_jax.records import description
from omnisat_jax.records.info import PreparationInfo
from omnisat_jax.records.reader import Records, check_records


@pytest.fixture
def copy(records, tmp_path):
    """A copy of the records in another folder."""
    root = tmp_path / "copied" / "here"
    shutil.copytree(records.root, root)
    return root


def use(root):
    """Opens records and reads all that training reads."""
    found = Records(root)
    for example in found.source(found.parts):
        for entry in example.values():
            if isinstance(entry, dict):
                entry["values"][:]


def paths(root):
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))


def sign(root, name, change):
    """Changes a description and signs it again, as an attacker would."""
    values = json.loads((root / name).read_text())
    values.pop("checksum")
    change(values)
    description.write_signed(root / name, values)
    if name != "dataset.json":
        sign(root, "dataset.json", lambda whole: whole["files"].update({name: description.hashed_entry(root / name)}))


def test_a_moved_copy_is_intact(copy, records):
    (copy / ".DS_Store").write_bytes(b"x")
    (copy / "frames" / ".DS_Store").write_bytes(b"x")
    use(copy)
    assert list(check_records(copy)) == [] and Records(copy).fingerprint == records.fingerprint
    info = Records(copy).info
    assert info.dataset == "pastis" and info.made_with == PreparationInfo("pastis", "", None, "raise", False, 0.05)


def exchange(root, one, other):
    (root / one).rename(root / "aside")
    (root / other).rename(root / one)
    (root / "aside").rename(root / other)


def exchange_frames(root):
    for name in ("s2.npy", "s2.xxh3.npy"):
        exchange(root, f"frames/fold_1/{name}", f"frames/fold_2/{name}")


def change_digit(root):
    path = root / "fold_1.json"
    text = path.read_text()
    at = text.index('"moments"') + 40
    at = next(i for i in range(at, len(text)) if text[i] in "12345678")
    path.write_text(text[:at] + str(int(text[at]) + 1) + text[at + 1 :])


CHANGES = {
    "a digit of the statistics": (change_digit, "fold_1.json"),
    "frames of two folds exchanged": (exchange_frames, "frames/fold_1/s2.xxh3.npy"),
    "tables of two folds exchanged": (lambda root: exchange(root, "tiles/fold_1", "tiles/fold_2"), "tiles/fold_1"),
    "summaries of two folds exchanged": (lambda root: exchange(root, "fold_1.json", "fold_2.json"), "fold_1.json"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_records_are_refused_when_they_are_opened(copy, name):
    change, file = CHANGES[name]
    change(copy)
    with pytest.raises(DataError, match="prepare them again") as error:
        Records(copy)
    assert str(copy / file) in str(error.value)
    assert any(str(copy / file) in finding.path and finding.kind == "changed" for finding in check_records(copy))


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_any_damaged_file_is_one_sentence_that_names_it(records, tmp_path_factory, data):
    root = tmp_path_factory.mktemp("damaged") / "records"
    shutil.copytree(records.root, root)
    path = data.draw(st.sampled_from([p for p in paths(root) if p.name != "preparing.json"]))
    content = path.read_bytes()
    how = data.draw(st.sampled_from(["flip", "cut", "empty", "gone", "folder", "fifo", "text"]))
    if how == "flip":
        at = data.draw(st.integers(0, len(content) - 1))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << data.draw(st.integers(0, 7))]) + content[at + 1 :])
    elif how == "cut":
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    else:
        path.unlink()
        if how in ("empty", "text"):
            path.write_bytes(b"" if how == "empty" else b"[" * 5000)
        elif how == "folder":
            path.mkdir()
        elif how == "fifo":
            os.mkfifo(path)
    with pytest.raises(UserError) as error:
        use(root)
    named = path.with_name(path.name.replace(".xxh3", "")) if ".xxh3" in path.name else path
    assert any(str(name) in str(error.value) for name in (path, named)) and "\n" not in str(error.value)
    if (root / "dataset.json").exists():
        assert list(check_records(root))
    shutil.rmtree(root)


def test_a_flipped_bit_of_a_frame_is_found_with_its_tile(copy):
    path = copy / "frames" / "fold_3" / "spot.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    Records(copy)  # no frame is read to open them
    tile = Records(copy).tiles(["fold_3"])[-1]
    assert [(finding.kind, finding.tile, finding.path) for finding in check_records(copy)] == [("changed", tile, str(path))]


def test_files_that_do_not_belong_to_them_are_findings(copy):
    (copy / "frames" / "fold_1" / "extra.npy").write_bytes(b"x")
    assert [(finding.kind, finding.path) for finding in check_records(copy)] == [("unlisted", str(copy / "frames" / "fold_1" / "extra.npy"))]


@pytest.mark.parametrize("name", ["../fold_1", "/tmp", "a/b", "", ".hidden", "dataset", "preparing", 0, True, 1.5, None, ["a"], "a\x1b[1m"])
def test_signed_names_are_checked(copy, name):
    sign(copy, "dataset.json", lambda values: values.update(parts=[name]))
    with pytest.raises(UserError, match="dataset.json"):
        Records(copy)
    assert list(check_records(copy))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.sampled_from(["../x", 2**70]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_any_signed_description_is_accepted_or_refused_in_one_sentence(records, tmp_path_factory, data):
    root = tmp_path_factory.getbasetemp() / "mutated"
    if not root.exists():
        shutil.copytree(records.root, root)
    name = data.draw(st.sampled_from(["dataset.json", "fold_1.json"]))
    for file in ("dataset.json", "fold_1.json"):
        shutil.copy(records.root / file, root / file)

    def change(values):
        group, key = values, data.draw(st.sampled_from(sorted(values)))
        while isinstance(group[key], dict) and group[key] and data.draw(st.booleans()):
            group, key = group[key], data.draw(st.sampled_from(sorted(group[key])))
        if data.draw(st.booleans()):
            group[key] = data.draw(VALUES)
        else:
            del group[key]

    sign(root, name, change)
    for action in (lambda: use(root), lambda: list(check_records(root))):
        try:
            action()
        except UserError as error:
            assert str(root) in str(error)


@pytest.mark.parametrize("text", ["[]", "null", "{", "", '{"version": "2.1.0"}', '{"version": "3.0.0"}', "[" * 100_000])
def test_other_descriptions_are_refused(copy, text):
    (copy / "dataset.json").write_text(text)
    with pytest.raises(UserError, match="here"):
        Records(copy)


def test_a_raw_folder_is_distinguished_from_records(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "lowland", "parts": {}}))
    with pytest.raises(UserError, match="description of something else, such as a raw dataset: give that as data.raw_dir"):
        Records(tmp_path)
    with pytest.raises(UserError, match="--stage=prepare"):
        Records(tmp_path / "nowhere")


def test_opening_reads_no_frame(copy, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a frame was read")

    monkeypatch.setattr(os, "preadv", refuse)
    found = Records(copy)
    assert len(found.source(found.parts)) == 10


def test_rows_must_match_their_summary(copy):
    """A table that was signed with another summary: rows are compared with the tile IDs."""
    sign(copy, "fold_1.json", lambda values: values["tiles"].reverse())
    with pytest.raises(DataError, match="expected the row of this tile, found the row of 10000"):
        use(copy)
    assert {finding.tile for finding in check_records(copy)} == {"10000", "10005"}
    assert np.unique([finding.kind for finding in check_records(copy)]) == ["changed"]
