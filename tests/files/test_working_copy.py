"""The working copy of a folder in a bucket: what goes up, what comes down, and who may write."""

import logging
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.files import atomic, working_copy
from omnisat_jax.files.buckets import Bucket, BucketError
from omnisat_jax.files.locks import InUseError
from tests.buckets import bucket, names, needs_bucket, store  # noqa: F401 - fixtures
from tests.conftest import ROOT

LARGE = ("checkpoints",)


def test_a_folder_of_this_machine_is_used_as_it_is(tmp_path):
    with working_copy.opened(tmp_path / "run") as folder:
        assert folder == tmp_path / "run" and not folder.exists()
        folder.mkdir()
        (folder / "x").touch()
        for act in (working_copy.own, working_copy.push, working_copy.pull):
            act(folder)
        assert working_copy.place_of(folder / "x") == str(folder / "x") and working_copy.folder_of(str(folder)) == folder
        assert working_copy.names_in(folder) == ["x"]


@pytest.fixture
def address(bucket, request):  # noqa: F811
    return f"{bucket}/{request.node.name.replace('[', '_').replace(']', '')}"


@needs_bucket
def test_what_is_written_goes_up_and_comes_down(address):
    with working_copy.opened(address) as folder:
        working_copy.own(folder)
        atomic.write_text(folder / "config.json", "1")
        (folder / "stage").mkdir()
        atomic.write_text(folder / "stage" / "done.json", "2")
        working_copy.push(folder / "stage")
        assert names(address) == {".writer.json", "config.json", "stage/done.json"}
        (folder / "stage" / "done.json").unlink()
        atomic.write_text(folder / "config.json", "other")
        (folder / ".lock").touch()
        (folder / atomic.partial_name(folder / "x").name).touch()
        working_copy.push(folder)
        assert names(address) == {".writer.json", "config.json"} and Bucket(address).read("config.json") == b"other"
        atomic.write_text(folder / "last.txt", "at the end")
    assert not folder.exists() and Bucket(address).read("last.txt") == b"at the end"
    Bucket(address).write("stage/checkpoints/4/state/array", b"large")
    with working_copy.opened(address, left_out=LARGE) as folder:
        working_copy.pull(folder)
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == {"config.json", "last.txt", "stage"}
        assert working_copy.place_of(folder / "stage" / "checkpoints") == f"{address}/stage/checkpoints"
        assert working_copy.place_of(folder) == address and working_copy.folder_of(address + "/") == folder
        (folder / "config.json").write_text("not mine")
    assert Bucket(address).read("config.json") == b"other"  # a copy that is only read writes nothing


@needs_bucket
def test_only_changes_are_uploaded_and_marks_last(address, store):  # noqa: F811
    with working_copy.opened(address) as folder:
        working_copy.own(folder)
        for name in ("done.json", "b", "a"):
            atomic.write_text(folder / name, name)
        for number, name in enumerate(("a", "done.json", "b")):
            os.utime(folder / name, ns=(number, number))
        order = []
        store.fault = lambda number, method, path: order.append(path) or 0
        written = store.requests["POST"]
        working_copy.push(folder)
        assert store.requests["POST"] - written == 3
        working_copy.push(folder)
        assert store.requests["POST"] - written == 3
        store.fault = lambda number, method, path: 0
        found = {name: entry for name, entry in ((name, store.get(f"{address.rpartition('/')[2]}/{name}")) for name in ("a", "b", "done.json"))}
        assert found["a"][1] < found["b"][1] < found["done.json"][1]  # in the order in which they were written


@needs_bucket
def test_a_later_start_takes_over(address):
    with pytest.raises(InUseError, match=f"^{address}: another start has taken over .process [0-9]+ on .*, since 20"), working_copy.opened(address) as first:
        working_copy.own(first)
        atomic.write_text(first / "x", "first")
        working_copy.push(first)
        with working_copy.opened(address) as second:
            working_copy.own(second)
            working_copy.pull(second)
            assert (second / "x").read_text() == "first"
            atomic.write_text(second / "x", "second")
        atomic.write_text(first / "x", "too late")
        working_copy.push(first)
    assert Bucket(address).read("x") == b"second"


@needs_bucket
def test_a_pull_follows_another_process(address):
    with working_copy.opened(address) as mine, working_copy.opened(address + "/") as theirs:
        working_copy.own(mine)
        for text in ("one", "two"):
            atomic.write_text(mine / "x", text)
            working_copy.push(mine)
            working_copy._open[theirs].pull()
            assert (theirs / "x").read_text() == text
        (mine / "x").unlink()
        working_copy.push(mine)
        working_copy._open[theirs].pull()
        assert not (theirs / "x").exists()


@needs_bucket
def test_messages_name_the_address(address, caplog):
    logging.getLogger().addHandler(caplog.handler)
    with pytest.raises(UserError) as raised, working_copy.opened(address) as folder:
        logging.getLogger("x").warning("%s is missing", folder / "y")
        raise UserError(f"{folder / 'x'}: expected a thing")
    assert str(raised.value) == f"{address}/x: expected a thing" and caplog.messages == [f"{address}/y is missing"]


@needs_bucket
def test_what_cannot_be_uploaded_is_kept_here(address, store, monkeypatch):  # noqa: F811
    monkeypatch.setattr("omnisat_jax.files.buckets.TRIES", 1)
    try:
        with pytest.raises(BucketError, match=f"{address}/.writer.json: the object storage refuses this .*What was to be written is in /") as raised, working_copy.opened(address) as folder:
            working_copy.own(folder)
            atomic.write_text(folder / "results.json", "1")
            store.fault = lambda number, method, path: 403
    finally:
        store.fault = lambda number, method, path: 0
    kept = pathlib.Path(str(raised.value).rpartition(" ")[2])
    assert (kept / "results.json").read_text() == "1" and not folder.exists()
    shutil.rmtree(kept.parent)


@needs_bucket
def test_the_copy_of_a_killed_process_is_removed(address, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = f"""
import os
from omnisat_jax.files import working_copy
with working_copy.opened({address!r}) as folder:
    (folder / "x").touch()
    os._exit(3)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 3
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o77 == 0
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with working_copy.opened(address) as folder:
        assert not left.exists() and folder.is_dir()
    assert not [*tmp_path.iterdir()]


def test_nothing_is_imported_for_a_folder_of_this_machine(tmp_path):
    code = f"""
import sys
from omnisat_jax.files import addresses, buckets, working_copy
with working_copy.opened({str(tmp_path)!r}) as folder:
    working_copy.push(folder)
assert not {{"fsspec", "gcsfs", "aiohttp", "etils", "jax", "numpy"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
