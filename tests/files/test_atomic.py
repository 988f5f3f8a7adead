"""Files and folders appear completely or not at all, and leftovers of killed processes are removed."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.files import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    atomic.write_json(path, {"a": [1, None]})
    assert path.read_text() == '{\n "a": [\n  1,\n  null\n ]\n}\n' and names(tmp_path) == ["a.json"]
    atomic.write_text(path, "é")
    assert path.read_bytes() == b"\xc3\xa9"


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"a: cannot be written \(the disk is full\)"):
        atomic.write_text(path, "new")
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with atomic.new_folder(tmp_path / "there" / "data") as work:
        (work / "x").write_text("x")
        assert not (tmp_path / "there" / "data").exists() and atomic.is_partial(work.name)
    assert names(tmp_path / "there") == ["data"] and names(tmp_path / "there" / "data") == ["x"]


def test_a_folder_whose_body_fails_is_removed(tmp_path):
    with pytest.raises(KeyError), atomic.new_folder(tmp_path / "data") as work:
        (work / "x").write_text("x")
        raise KeyError
    assert names(tmp_path) == []


def test_a_full_disk_is_recognised_however_a_library_reports_it(tmp_path, monkeypatch):
    for error in (RuntimeError("write failed"), OSError("4096 requested and 0 written")):
        with pytest.raises(type(error)), atomic.new_folder(tmp_path / "data"):
            raise error
        with monkeypatch.context() as patch, pytest.raises(UserError, match=r"data: cannot be written \(the disk is full\); free some space"):
            patch.setattr(atomic, "FULL", 2**70)
            with atomic.new_folder(tmp_path / "data"):
                raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", [atomic.new_folder, atomic.scratch_folder])
def test_no_folder_is_left_without_its_mark(tmp_path, monkeypatch, make):
    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(pathlib.Path, "touch", full)
    with pytest.raises(UserError, match="the disk is full"), make(tmp_path / "data"):
        pass
    assert names(tmp_path) == []


def test_another_process_may_create_the_same_folder_first(tmp_path):
    with atomic.new_folder(tmp_path / "data") as work:
        (work / "x").write_text("ours")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "x").write_text("theirs")
    assert names(tmp_path) == ["data"] and (tmp_path / "data" / "x").read_text() == "theirs"


def test_a_folder_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="data: cannot be created .*it already exists"), atomic.new_folder(tmp_path / "file" / "data"):
        pass


def test_only_leftovers_of_dead_processes_of_this_machine_are_removed(tmp_path):
    host, dead = atomic.partial_name(tmp_path / "x").name.split("-")[1], dead_process()
    gone = tmp_path / f"a.partial-{host}-{dead}-0123abcd"
    gone.mkdir()
    (gone / atomic.MARK).touch()
    (tmp_path / f"b.partial-{host}-{dead}-0123abcd").touch()
    kept = {
        f"c.partial-{host}-{os.getpid()}-0123abcd",  # a live process
        f"d.partial-{host}x-{dead}-0123abcd",  # another machine
        f"e.partial-{host}-{dead}-0123",  # another form of name
        "f",
    }
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / f"g.partial-{host}-{dead}-0123abcd").mkdir()  # not marked
    atomic.clear_partials(tmp_path)
    assert set(names(tmp_path)) == kept | {f"g.partial-{host}-{dead}-0123abcd"}
    atomic.clear_partials(tmp_path / "missing")


def test_unmarked_folders_and_links_are_not_removed(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    for name in ("data", "link"):
        with pytest.raises(UserError, match="expected a folder that this program created"):
            atomic.remove_marked(tmp_path / name)
    (tmp_path / "data" / atomic.MARK).touch()
    with pytest.raises(UserError, match="it was not removed"):
        atomic.remove_marked(tmp_path / "link")
    atomic.remove_marked(tmp_path / "data")
    assert names(tmp_path) == ["link"]


def test_names_of_hosts_with_other_characters_are_recognised(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "node-7.example.org")
    assert atomic.is_partial(atomic.partial_name(tmp_path / "a.b-c").name)


def test_a_scratch_folder_disappears_with_what_is_in_it(tmp_path):
    with atomic.scratch_folder(tmp_path / "products") as work:
        (work / "draft").touch()
        assert atomic.is_partial(work.name) and work.parent == tmp_path
    with pytest.raises(ValueError, match="inside"), atomic.scratch_folder(tmp_path / "products") as work:
        (work / "draft").touch()
        raise ValueError("inside")
    assert names(tmp_path) == []


def test_a_scratch_folder_of_a_dead_process_is_cleared_by_the_next(tmp_path, monkeypatch):
    dead = subprocess.Popen(["true"])
    dead.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead.pid)
        left = atomic.partial_name(tmp_path / "products")
    left.mkdir()
    (left / atomic.MARK).touch()
    with atomic.scratch_folder(tmp_path / "products"):
        assert not left.exists()


def test_a_file_is_published_in_place_of_an_earlier_one(tmp_path):
    (tmp_path / "draft").write_text("new")
    (tmp_path / "a").write_text("old")
    atomic.publish(tmp_path / "draft", tmp_path / "a")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "new"
    with pytest.raises(UserError, match="cannot be written"):
        atomic.publish(tmp_path / "missing", tmp_path / "a")
