"""Requests to a bucket: what they read and write, what is repeated, and the sentences where nothing helps."""

import logging

import pytest

from omnisat_jax.files import buckets
from omnisat_jax.files.buckets import Bucket, BucketError
from tests.buckets import bucket, needs_bucket, store  # noqa: F401 - fixtures

pytestmark = needs_bucket


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Nothing waits between two tries."""
    monkeypatch.setattr(buckets.time, "sleep", lambda seconds: None)

    async def at_once(seconds):
        return None

    retry = pytest.importorskip("gcsfs.retry")
    monkeypatch.setattr(retry.asyncio, "sleep", at_once)


def test_objects_are_written_read_listed_moved_and_deleted(bucket):  # noqa: F811
    folder = Bucket(f"{bucket}/a/")
    assert folder.objects() == {} and folder.top() == [] and folder.read("x") is None
    folder.write("x", b"123")
    folder.write("sub/y.json", b"{}")
    first = folder.objects()
    assert {name: size for name, (size, _) in first.items()} == {"x": 3, "sub/y.json": 2} and folder.top() == ["sub", "x"]
    folder.write("x", b"456")
    assert folder.objects()["x"] != first["x"] and folder.objects()["sub/y.json"] == first["sub/y.json"]
    assert folder.read("x") == b"456" and folder.read_range("x", 1, 3) == b"56"
    other = Bucket(f"{bucket}/b")
    folder.move(["sub/y.json"], other)
    assert other.read("sub/y.json") == b"{}" and set(folder.objects()) == {"x"}
    folder.delete(["x", "never there"])
    assert folder.objects() == {}


def test_a_name_that_begins_alike_is_another_folder(bucket):  # noqa: F811
    Bucket(f"{bucket}/run1").write("x", b"")
    Bucket(f"{bucket}/run10").write("y", b"")
    assert set(Bucket(f"{bucket}/run1").objects()) == {"x"} and Bucket(f"{bucket}/run1").top() == ["x"]


@pytest.mark.parametrize("size", [0, 1, 10, 100, 1000])
def test_a_download_is_the_object(bucket, tmp_path, monkeypatch, size):  # noqa: F811
    monkeypatch.setattr(buckets, "CHUNK", 10)
    content = bytes(number % 251 for number in range(size))
    folder = Bucket(f"{bucket}/download")
    folder.write("x", content)
    assert sum(folder.download("x", tmp_path / "x", size)) == size and (tmp_path / "x").read_bytes() == content


def test_an_object_that_is_shorter_is_refused(bucket, tmp_path):  # noqa: F811
    folder = Bucket(f"{bucket}/short")
    folder.write("x", b"123")
    with pytest.raises(BucketError, match=f"{bucket}/short/x: expected 5 bytes from byte 0 on, found 3"):
        [*folder.download("x", tmp_path / "x", 5)]


@pytest.mark.parametrize("status", [503, 429, 500, -1])
def test_a_busy_service_is_asked_again_and_it_is_said(bucket, store, caplog, status):  # noqa: F811
    folder = Bucket(f"{bucket}/busy")
    store.fault = lambda number, method, path: status if number % 2 else 0
    try:
        with caplog.at_level(logging.WARNING):
            for number in range(5):
                folder.write(f"{number}", b"abc")
                assert folder.read(f"{number}") == b"abc"
    finally:
        store.fault = lambda number, method, path: 0
    assert set(folder.objects()) == set("01234")
    assert any("the object storage gave no answer" in text and "asking again" in text for text in caplog.messages)


def test_a_service_that_never_answers_is_one_sentence(bucket, store, caplog):  # noqa: F811
    store.fault = lambda number, method, path: 503
    try:
        with caplog.at_level(logging.WARNING), pytest.raises(BucketError) as raised:
            Bucket(f"{bucket}/gone").read("x")
    finally:
        store.fault = lambda number, method, path: 0
    assert str(raised.value) == f"{bucket}/gone/x: the object storage does not answer (status 503)"
    assert f"{bucket}/gone/x: no answer (status 503); asking again in 2 s" in "\n".join(caplog.messages).replace("in 3 s", "in 2 s")


def test_credentials_that_cannot_be_read_are_one_sentence(bucket, monkeypatch, tmp_path):  # noqa: F811
    def broken(scheme):
        raise OSError(f"{tmp_path}/key.json is not valid JSON")

    monkeypatch.setattr(buckets, "_filesystem", broken)
    with pytest.raises(BucketError, match=f"{bucket}/x: the object storage cannot be used .{tmp_path}/key.json is not valid JSON"):
        Bucket(f"{bucket}/x")


def test_a_bucket_that_does_not_exist(bucket):  # noqa: F811
    with pytest.raises(BucketError, match="gs://elsewhere/x/y: cannot be written: there is no such bucket"):
        Bucket("gs://elsewhere/x").write("y", b"")


@pytest.mark.parametrize(("status", "why"), [(401, "status 401"), (403, "access is forbidden; check the credentials and the rights of this account")])
def test_no_access_is_not_asked_again(bucket, store, status, why):  # noqa: F811
    store.fault = lambda number, method, path: status
    before = next(store.numbers)
    try:
        with pytest.raises(BucketError, match=f"^{bucket}/x/y: the object storage refuses this .{why}.$"):
            Bucket(f"{bucket}/x").read("y")
    finally:
        store.fault = lambda number, method, path: 0
    assert next(store.numbers) - before <= 2
