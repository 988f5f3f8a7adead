"""Buckets of S3: objects, copies of records and of raw files, models; runs are refused, see test_addresses.py."""

import os

import pytest
from rich.console import Console

from omnisat_jax import Model
from omnisat_jax.errors import DataError
from omnisat_jax.files import bucket_locks, buckets, fetching, working_copy
from omnisat_jax.files.buckets import Bucket, BucketError
from omnisat_jax.files.locks import InUseError
from omnisat_jax.inference.model_info import ModelError
from omnisat_jax.records.mirror import forget, mirrored
from omnisat_jax.records.reader import Records
from tests.buckets import names, needs_s3, s3, upload  # noqa: F401 - a fixture

pytestmark = needs_s3


def test_objects_are_written_read_listed_moved_and_deleted(s3, tmp_path):  # noqa: F811
    folder, other = Bucket(f"{s3}/a"), Bucket(f"{s3}/b")
    folder.write("x", b"one")
    folder.write("y/z", b"two")
    assert folder.read("x") == b"one" and folder.read("none") is None and folder.top() == ["x", "y"]
    assert {name: found.size for name, found in folder.described().items()} == {"x": 3, "y/z": 3}
    before = folder.version("x")
    assert before == folder.described()["x"].version and not folder.create("x", b"other") and folder.create("new", b"1") and folder.modified("new")
    folder.write("x", b"three")
    assert folder.version("x") != before
    content = os.urandom(2**20)
    (tmp_path / "file").write_bytes(content)
    folder.upload("file", tmp_path / "file")
    assert folder.read_range("file", 5, 10) == content[5:10]
    folder.move(["x"], other)
    assert names(f"{s3}/b") == {"x"} and names(f"{s3}/a") == {"y/z", "new", "file"}
    folder.delete(["file", "gone"])
    assert names(f"{s3}/a") == {"y/z", "new"}
    with pytest.raises(BucketError, match="s3://elsewhere/x/y: cannot be written: there is no such bucket"):
        Bucket("s3://elsewhere/x").write("y", b"")


def test_a_lock_admits_one_and_a_working_copy_is_uploaded(s3):  # noqa: F811
    target = Bucket(f"{s3}/locks")
    with bucket_locks.exclusive(target, "x", "x"), pytest.raises(InUseError), bucket_locks.exclusive(target, "x", "x"):
        pass
    with working_copy.opened(f"{s3}/copy") as folder:
        working_copy.own(folder)
        (folder / "a").write_text("1")
    assert names(f"{s3}/copy") == {".writer.json", "a"}


def test_records_are_copied_and_models_read(s3, records, tmp_path):  # noqa: F811
    upload(records.root, f"{s3}/records")
    try:
        copy = mirrored(f"{s3}/records", tmp_path / "mirrors", 0.0, Console(quiet=True), "data.prepared_dir")
        assert Records(copy).fingerprint == records.fingerprint
    finally:
        forget()
    with pytest.raises(ModelError, match=f"{s3}/nothing: expected the folder of a trained model"):
        Model.from_pretrained(f"{s3}/nothing")


def test_an_object_that_changes_meanwhile_is_never_used(s3, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(buckets.time, "sleep", lambda seconds: None)
    target = Bucket(f"{s3}/raw")
    target.write("x", b"12345")
    with pytest.raises(DataError, match="found another content"), fetching.opened(f"{s3}/raw", "--raw", scratch=tmp_path) as root:
        target.write("x", b"54321")
        fetching.fetched(root / "x")
