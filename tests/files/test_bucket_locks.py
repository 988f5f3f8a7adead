"""Locks in a bucket: one holder at a time, and none that was killed long ago."""

import contextlib
import datetime
import json
import threading

import pytest

from omnisat_jax.files import bucket_locks
from omnisat_jax.files.bucket_locks import exclusive
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.files.locks import InUseError
from tests.buckets import bucket, memory, needs_bucket, store  # noqa: F401 - fixtures


@pytest.fixture(params=["memory", pytest.param("bucket", marks=needs_bucket)])
def target(request):
    return Bucket(f"{request.getfixturevalue(request.param)}/locks")


def test_a_second_process_is_refused_until_the_first_has_ended(target):
    with exclusive(target, "a.running", "a"):
        with pytest.raises(InUseError, match="^a: another process is using it .process [0-9]+ on .*, since 20.*wait 180 seconds.$"), exclusive(target, "a.running", "a"):
            raise AssertionError
        with exclusive(target, "b.running", "b"):
            assert set(target.objects()) == {"a.running", "b.running"}
    assert not target.objects()
    with contextlib.suppress(RuntimeError), exclusive(target, "a.running", "a"):
        raise RuntimeError
    assert not target.objects()


def test_of_many_processes_one_succeeds(target):
    start, inside, refused = threading.Barrier(6), [], []
    end = threading.Barrier(6)

    def attempt():
        start.wait()
        try:
            with exclusive(target, "x", "x"):
                inside.append(1)
                end.wait()
        except InUseError:
            refused.append(1)
            end.wait()

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) == 1 and len(refused) == 5


def test_the_lock_of_a_process_that_was_killed_becomes_stale(memory, monkeypatch):  # noqa: F811
    target = Bucket(f"{memory}/locks")
    target.write("x", b"not a name")
    with pytest.raises(InUseError, match="x: another process is using it .which has not written its name."), exclusive(target, "x", "x"):
        pass
    modified = Bucket.modified
    late = datetime.timedelta(seconds=bucket_locks.STALE + 1)
    monkeypatch.setattr(Bucket, "modified", lambda self, name: modified(self, name) - (late if name == "x" else late * 0))
    with exclusive(target, "x", "x"):
        assert json.loads(target.read("x"))["process"]
    assert not target.objects()


def test_a_holder_shows_that_it_is_alive_and_leaves_another_one_alone(memory, monkeypatch):  # noqa: F811
    monkeypatch.setattr(bucket_locks, "BEAT", 0.001)
    target, written = Bucket(f"{memory}/locks"), threading.Event()
    write = Bucket.write
    monkeypatch.setattr(Bucket, "write", lambda self, name, content: (write(self, name, content), written.set()))
    with exclusive(target, "x", "x"):
        assert written.wait(60)
        monkeypatch.setattr(Bucket, "write", write)
        target.write("x", b"of another one")
    assert target.read("x") == b"of another one"
