"""Raw datasets in a bucket: records are those of the same files on this machine, and broken objects are reported like broken files."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from data.preparation import uploading
from data.preparation.claim import ForeignFolder
from data.prepare import main, prepare
from data.reading.datasets import open_dataset, reader_of
from omnisat_jax.config import schema
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files import buckets, fetching, hashing
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.records.reader import Records
from tests.buckets import bucket, download, memory, needs_bucket, needs_s3, s3, store, upload  # noqa: F401 - fixtures
from tests.conftest import prepare_pastis as run, tiny
from tests.fuzz.datasets import MAKERS

TILE = "10000"


@pytest.fixture(autouse=True)
def hashes_of_this_test(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "hashes"))


def content(folder):
    """Every file of records, without what says when and where they were made."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()}
    for name in [name for name in found if re.fullmatch("[^/]+[.]json", name)]:
        values = json.loads(found[name])
        for key in ("source", "checksum", "seconds"):
            values.pop(key, None)
        values["files"] = {file: entry for file, entry in values.get("files", {}).items() if "/" in file}
        found[name] = values
    return {name: value for name, value in found.items() if not name.endswith((".lock", ".made-by-omnisat_jax"))}


def assert_same_entries(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_same_entries(found[key], value)
        else:
            np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("limit", [0.0, 1e-9], ids=["kept", "no room"])
def test_every_dataset_reads_from_a_bucket_what_it_reads_from_its_folder(name, limit, intact, memory, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(fetching, "RECENT", 5)
    upload(intact[name], f"{memory}/{name}")
    here = open_dataset(name, intact[name])
    raw_files = reader_of(name).raw_files
    expected = hashing.fingerprint(intact[name], raw_files(intact[name]), "x")
    with fetching.opened(f"{memory}/{name}", "--raw", scratch=tmp_path / "scratch", limit=limit) as root:
        there = open_dataset(name, root)
        assert there.parts == here.parts and there.modalities == here.modalities and there.classes == here.classes and there.simulated == here.simulated
        assert hashing.fingerprint(root, raw_files(root), "x") == expected
        there.copies.keep(raw_files(root))
        for tile in here.tiles:
            assert_same_entries(there.read(tile), here.read(tile))
        kept, own = ([path for path in folder.rglob("*") if path.is_file() and path.stat().st_size] for folder in (root, root.parent / f"process-{os.getpid()}"))
        assert (len(own) <= 5 and not kept) if limit else (kept and not own)
    assert not [*(tmp_path / "scratch").iterdir()]


def test_records_in_the_memory_of_this_process(simulated, memory, tmp_path, capsys):  # noqa: F811
    """`python -m data.prepare`, from a bucket and into one, part by part."""
    upload(simulated, f"{memory}/raw")
    assert run(simulated, tmp_path / "here") == 0
    assert run(f"{memory}/raw", tmp_path / "there") == 0, capsys.readouterr().err
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert json.loads((tmp_path / "there" / "dataset.json").read_text())["source"] == f"{memory}/raw"
    scratch = ("--mirror_dir", str(tmp_path / "scratch"))
    assert main(["pastis", "--raw", f"{memory}/raw", "--out", f"{memory}/out", "--jobs", "1", "--shard", "1/5", *scratch]) == 0
    assert f"shard 1/5 of {memory}/out is done" in capsys.readouterr().out.replace("\n", "")
    assert run(f"{memory}/raw", f"{memory}/out", *scratch) == 0
    assert f"prepared_dir={memory}/out" in capsys.readouterr().out.replace("\n", "")
    assert content(download(f"{memory}/out", tmp_path / "out")) == content(tmp_path / "here")
    Records(tmp_path / "out")
    written = Bucket(f"{memory}/out").objects()
    assert run(f"{memory}/raw", f"{memory}/out", *scratch) == 0 and Bucket(f"{memory}/out").objects() == written
    assert not [*(tmp_path / "scratch").iterdir()]
    # Other data, and other objects, are not overwritten.
    assert run(simulated, f"{memory}/out", "--float16", *scratch) == 1
    assert f"{memory}/out: expected records of these data" in capsys.readouterr().err
    with pytest.raises(ForeignFolder, match=f"{memory}/raw: expected nothing or an interrupted preparation, found other objects"), uploading.opened(f"{memory}/raw", tmp_path):
        pass


def test_of_two_processes_that_write_a_part_the_first_one_stays(simulated, memory, tmp_path):  # noqa: F811
    scratch = ("--mirror_dir", str(tmp_path / "scratch"), "--shard", "0/5")
    assert run(simulated, f"{memory}/out", *scratch) == 0
    target = Bucket(f"{memory}/out")
    first = target.read("fold_1.json")
    with uploading.opened(f"{memory}/out", tmp_path) as folder:
        (folder / "fold_1.json").write_text("another")
        uploading.finished_part(folder, "fold_1", [])
        assert (folder / "fold_1.json").read_bytes() == first == target.read("fold_1.json")


BROKEN = {
    "truncated": (f"DATA_S2/S2_{TILE}.npy", lambda content: content[: len(content) // 2], "a series of shape .*: .* bytes, found .* bytes"),
    "empty": (f"DATA_S1A/S1A_{TILE}.npy", lambda content: b"", "a complete .npy array.*, found an unreadable file of 0 bytes"),
    "no image": (f"DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019/SPOT6_RVB_1M00_2019_{TILE}.tif", lambda content: content[:100], "found an unreadable file of 100 bytes"),
    "gone": (f"ANNOTATIONS/TARGET_{TILE}.npy", None, "expected labels, found no such file"),
    "no metadata": ("metadata.geojson", None, "the tiles' metadata, found no such file"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_object_is_reported_like_a_broken_file(how, simulated, root, memory, tmp_path):  # noqa: F811
    name, change, expected = BROKEN[how]
    path = root / name
    path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
    upload(root, f"{memory}/raw")
    messages = []
    for raw in (str(root), f"{memory}/raw"):
        with pytest.raises(DataError) as raised:
            main(["pastis", "--raw", raw, "--out", str(tmp_path / f"out{len(messages)}"), "--jobs", "1"])
        assert re.search(expected, str(raised.value)) and f"{raw}/{name}" in str(raised.value)
        messages.append(str(raised.value).replace(raw, "RAW"))
    assert messages[0] == messages[1]
    if how == "truncated":
        assert run(f"{memory}/raw", tmp_path / "masked", "--on_bad", "mask", "--max_bad", "0.5") == 0
        (entry,) = (entry for path in (tmp_path / "masked").glob("fold_*.json") for entry in json.loads(path.read_text())["bad"])
        assert entry["tile"] == TILE and f"{memory}/raw/{name}" in entry["message"]


@pytest.mark.parametrize("change, found", [(lambda content: content + b"x", "another content"), (lambda content: content[:-1], "79"), (None, "no such object")])
def test_an_object_that_changes_meanwhile_is_never_used(change, found, memory, tmp_path):  # noqa: F811
    target = Bucket(f"{memory}/raw")
    target.write("a.txt", bytes(80))
    with pytest.raises(DataError, match=f"tile 7: {memory}/raw/a.txt: expected the 80 bytes that were there at the start, found {found}"), fetching.opened(f"{memory}/raw", "--raw", scratch=tmp_path) as root:
        target.delete(["a.txt"])
        if change:
            target.write("a.txt", change(bytes(80)))
        fetching.fetched(root / "a.txt", "7")


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/../b"], ["a\nb"]])
def test_names_that_cannot_be_files_are_refused(names, memory, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Bucket, "described", lambda self: {name: buckets.Object(1, "1", "") for name in names})
    with pytest.raises(UserError, match="expected an object that can be copied to a file, found"), fetching.opened(f"{memory}/raw", "--raw", scratch=tmp_path):
        pass
    assert not [*tmp_path.iterdir()]


def test_nothing_at_an_address_is_one_sentence(memory, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match=f"^data.raw_dir: expected the folder of a dataset, found no object at {memory}/nothing/$"), fetching.opened(f"{memory}/nothing", "data.raw_dir", scratch=tmp_path):
        pass


def test_a_run_prepares_from_a_bucket_once(simulated, memory, tmp_path, console, monkeypatch):  # noqa: F811
    upload(simulated, f"{memory}/raw")
    config = tiny()
    config.data.update({"raw_dir": f"{memory}/raw", "cache_dir": str(tmp_path / "cache")})
    folder = prepare(schema.parse(config).data, console)
    config.data.raw_dir = str(simulated)
    config.data.cache_dir = str(tmp_path / "other")
    assert prepare(schema.parse(config).data, console).name == folder.name  # data may move
    config.data.update({"raw_dir": f"{memory}/raw", "cache_dir": str(tmp_path / "cache")})
    copied = []
    copy = fetching.FetchedFolder._copy
    monkeypatch.setattr(fetching.FetchedFolder, "_copy", lambda self, name, *rest: (copied.append(name), copy(self, name, *rest))[1])
    assert prepare(schema.parse(config).data, console) == folder
    assert not [name for name in copied if name.startswith("DATA_S")  and "SPOT" not in name]  # hashes of objects are known by their versions
    config.data.prepared_dir = str(folder)
    assert prepare(schema.parse(config).data, console) == folder


@pytest.mark.exhaustive  # the readers in one process are fast
@pytest.mark.parametrize("service", [pytest.param("bucket", marks=needs_bucket), pytest.param("s3", marks=needs_s3)])
def test_several_processes_prepare_from_a_server(service, simulated, tmp_path, capsys, request):
    bucket = request.getfixturevalue(service)  # noqa: F811
    upload(simulated, f"{bucket}/raw")
    assert run(simulated, tmp_path / "here") == 0
    # With room for nothing, every process fetches its own copies.
    assert run(f"{bucket}/raw", f"{bucket}/out", "--jobs", "2", "--mirror_gb", "1e-6", "--mirror_dir", str(tmp_path / "scratch")) == 0, capsys.readouterr().err
    assert content(download(f"{bucket}/out", tmp_path / "out")) == content(tmp_path / "here")
    assert not [*(tmp_path / "scratch").iterdir()]


@needs_bucket
def test_a_part_that_is_damaged_on_its_way_is_refused(simulated, bucket, tmp_path, monkeypatch):  # noqa: F811
    Bucket(f"{bucket}/small").write("x", b"12345")
    monkeypatch.setattr(Bucket, "read_range", lambda self, name, start, end: b"12354")
    with pytest.raises(DataError, match=f"{bucket}/small/x: expected the 5 bytes that were there at the start, found another content"), fetching.opened(f"{bucket}/small", "--raw", scratch=tmp_path) as root:
        fetching.fetched(root / "x")


def test_placeholders_of_dead_processes_are_removed(memory, tmp_path):  # noqa: F811
    Bucket(f"{memory}/raw").write("x", b"1")
    dies = "import os, sys; from omnisat_jax.files import atomic\nwith atomic.scratch_folder(sys.argv[1]):\n    os._exit(0)"
    subprocess.run([sys.executable, "-c", dies, str(tmp_path / "raw")], check=True)
    assert len([*tmp_path.iterdir()]) == 1
    with fetching.opened(f"{memory}/raw", "--raw", scratch=tmp_path):
        assert len([*tmp_path.iterdir()]) == 1
    assert not [*tmp_path.iterdir()]
