"""Names from files never lead out of a dataset, and special files are never opened."""

import os

import pytest
from hypothesis import given, strategies as st

from omnisat_jax.errors import DataError
from omnisat_jax.files import paths


@given(st.text() | st.integers() | st.booleans() | st.none() | st.lists(st.text()) | st.sampled_from(["..", "a/b", "-rf", ".x", "a\n"]))
def test_checked_names_are_one_component_of_a_path(name):
    try:
        found = paths.check_name(name, what="a name", path="x")
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert os.path.basename(found) == found and found[0] not in ".-" and paths.below("/root", found).parent.name == "root"


@given(st.lists(st.sampled_from(["a", "..", "", "/", "/etc", ".", "a/..", "a/../../b", "b/c"]), min_size=1, max_size=4))
def test_paths_stay_below_their_root(parts):
    try:
        found = paths.below("/root/data", *parts)
    except DataError:
        return
    assert os.path.normpath(found).startswith("/root/data")


def test_displayed_texts_are_printable():
    assert paths.check_text("Köln, 2021", what="a title", path="x") == "Köln, 2021"
    for text in ("", " ", "a\x1b[0m", "x" * 2001, 3, None):
        with pytest.raises(DataError, match="a title: printable text of 1 to 2000 characters"):
            paths.check_text(text, what="a title", path="x")


def test_stray_files_are_not_listed(tmp_path):
    for name in ("b", "a", ".DS_Store", "Thumbs.db", "a~"):
        (tmp_path / name).touch()
    assert [path.name for path in paths.entries(tmp_path)] == ["a", "b"] and paths.entries(tmp_path / "none") == []
    with pytest.raises(DataError, match="expected a folder, found a file"):
        paths.entries(tmp_path / "a")
    with pytest.raises(DataError, match="expected the data, found a file"):
        paths.need_folder(tmp_path / "a", what="the data")


def test_a_walk_ends_in_loops_and_reports_broken_links(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").touch()
    (tmp_path / "a" / "b" / "loop").symlink_to(tmp_path / "a")
    assert [path.name for path in paths.walk(tmp_path)] == ["x"]
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"expected a link to a file or folder, found a broken link \(to nowhere\)"):
        paths.walk(tmp_path)


def test_only_regular_files_inside_the_dataset_are_taken(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "secret").touch()
    (root / "file").touch()
    (root / "inside").symlink_to("file")
    (root / "outside").symlink_to("../secret")
    (root / "broken").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    for name in ("file", "inside"):
        assert paths.need_file(root / name, what="a file", root=root) == root / name
    assert paths.need_file(root / "outside", what="a file") == root / "outside"
    for name, message in (
        ("outside", "expected a file, inside the dataset, found a link to .*secret"),
        ("broken", "found a broken link"),
        ("pipe", "not a regular file"),
        (".", "found a folder"),
        ("none", "found no such file"),
        ("x" * 300, "the name is too long"),
    ):
        with pytest.raises(DataError, match=message):
            paths.need_file(root / name, what="a file", root=root)
    # A linked folder is part of the dataset, and so are the files in it.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").touch()
    (tmp_path / "elsewhere" / "b").symlink_to("a")
    (root / "linked").symlink_to("../elsewhere")
    assert paths.need_file(root / "linked" / "b", what="a file", root=root)


def test_a_place_that_cannot_be_written_to_is_explained_before_anything_is_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to("nowhere")
    assert paths.unwritable(tmp_path) == paths.unwritable(tmp_path / "a" / "b") == "" and not (tmp_path / "a").exists()
    for name in ("file", "broken"):
        assert paths.unwritable(tmp_path / name / "b") == f"{tmp_path / name}: it is a file, or a broken link"
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert paths.unwritable(tmp_path / "a" / "b") == f"{tmp_path}: permission denied"
