"""Copies of records that lie in a bucket: whole, verified, resumed, limited in size."""

import pathlib
import shutil
import subprocess
import sys

import pytest
from rich.console import Console

from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.records import mirror
from omnisat_jax.records.reader import Records
from tests.buckets import bucket, needs_bucket, store, upload  # noqa: F401 - fixtures
from tests.conftest import ROOT, prepare_pastis

pytestmark = needs_bucket


@pytest.fixture(scope="module")
def records(simulated, tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "out"
    assert prepare_pastis(simulated, out) == 0
    return out


@pytest.fixture(scope="module")
def uploaded(records, bucket):  # noqa: F811
    upload(records, f"{bucket}/records")
    return f"{bucket}/records"


@pytest.fixture(autouse=True)
def unused():
    yield
    mirror.forget()


def mirrored(address, folder, limit=0.0):
    return mirror.mirrored(address, folder, limit, Console(quiet=True), "data.prepared_dir")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in pathlib.Path(folder).rglob("*") if path.is_file() and path.name not in ("mirror.json", mirror.atomic.MARK)}


def described(folder):
    return {name: content for name, content in contents(folder).items() if name in {*Records(folder).info.files, "dataset.json"}}


def test_a_copy_is_that_of_the_bucket_and_made_once(uploaded, store, records, tmp_path):  # noqa: F811
    copy = mirrored(uploaded, tmp_path)
    assert described(copy) == described(records) and Records(copy).fingerprint == Records(records).fingerprint
    before = store.requests["GET"]
    assert mirrored(uploaded, tmp_path) == copy
    assert store.requests["GET"] - before <= 2  # the description alone


def test_what_is_missing_after_a_kill_is_downloaded(uploaded, store, tmp_path):  # noqa: F811
    copy = mirrored(uploaded, tmp_path)
    mirror.forget()
    whole = contents(copy)
    (copy / "dataset.json").unlink()
    some = sorted(copy.rglob("s2.npy"))[0]
    some.unlink()
    before = store.requests["GET"]
    assert mirrored(uploaded, tmp_path) == copy and contents(copy) == whole
    assert store.requests["GET"] - before <= 4


@pytest.mark.parametrize("name", ["s2.npy", "s2.xxh3.npy", "fold_1.json"])
def test_a_damaged_object_is_named_and_never_used(uploaded, bucket, records, tmp_path, name):  # noqa: F811
    upload(records, f"{bucket}/damaged")
    path = sorted(records.rglob(name))[0].relative_to(records).as_posix()
    content = bytearray((records / path).read_bytes())
    content[-3] ^= 1
    target = Bucket(f"{bucket}/damaged")
    target.write(path, bytes(content))
    with pytest.raises(DataError, match=f"{bucket}/damaged/{path}: expected "):
        mirrored(f"{bucket}/damaged", tmp_path)
    assert not [*tmp_path.glob("*/dataset.json")]
    target.write(path, (records / path).read_bytes())  # mended, so that the next start goes on
    assert described(mirrored(f"{bucket}/damaged", tmp_path)) == described(records)


def test_an_object_that_is_gone_is_named(bucket, records, tmp_path):  # noqa: F811
    upload(records, f"{bucket}/gone")
    Bucket(f"{bucket}/gone").delete(["fold_2.json"])
    with pytest.raises(UserError, match=f"{bucket}/gone/fold_2.json: expected .* bytes from byte 0 on, found no such object"):
        mirrored(f"{bucket}/gone", tmp_path)


def test_no_records_are_one_sentence(bucket, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match=f"data.prepared_dir: expected prepared records, found no dataset.json at {bucket}/nothing"):
        mirrored(f"{bucket}/nothing", tmp_path)
    Bucket(f"{bucket}/other").write("dataset.json", b'{"version": 1}')
    with pytest.raises(UserError, match=f"{bucket}/other: expected records of version"):
        mirrored(f"{bucket}/other", tmp_path)


def test_the_longest_unused_copy_makes_room(uploaded, bucket, records, tmp_path):  # noqa: F811
    size = sum(len(content) for content in described(records).values()) / mirror.GB
    addresses = [f"{bucket}/{name}" for name in ("a", "b")]
    for address in addresses:
        upload(records, address)
    first, second = (mirrored(address, tmp_path, 2.5 * size) for address in addresses)
    with pytest.raises(UserError, match=r"data.mirror_gb: expected at least .* GB are in use by other runs"):
        mirrored(uploaded, tmp_path, 2.5 * size)
    mirror.forget()
    assert mirrored(addresses[0], tmp_path, 2.5 * size) == first  # used last
    mirror.forget()
    third = mirrored(uploaded, tmp_path, 2.5 * size)
    assert first.is_dir() and third.is_dir() and not second.exists()
    with pytest.raises(UserError, match=r"data.mirror_gb: expected at least "):
        mirrored(addresses[1], tmp_path, 0.5 * size)


def test_other_folders_are_never_removed(uploaded, records, tmp_path):
    shutil.copytree(records, tmp_path / "mine")
    with pytest.raises(UserError, match="data.mirror_gb"):
        mirrored(uploaded, tmp_path, 1e-9)
    assert contents(tmp_path / "mine") == contents(records)


def test_two_processes_make_one_copy(uploaded, tmp_path):
    code = f"""
from rich.console import Console
from omnisat_jax.records.mirror import mirrored
print(mirrored({uploaded!r}, {str(tmp_path)!r}, 0.0, Console(quiet=True), "data.prepared_dir"))
"""
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0] and outputs[0] == outputs[1]
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
