"""Hashes depend on content alone, and cached hashes are only used for unchanged files."""

import os
import sqlite3

import pytest
import xxhash

from omnisat_jax.errors import DataError
from omnisat_jax.files import hashing


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return hashing.cache_path()


def old_file(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def test_the_hash_is_xxh3(tmp_path):
    path = old_file(tmp_path / "a", b"abc" * hashing.CHUNK)  # several chunks
    assert hashing.file_hash(path) == xxhash.xxh3_128_hexdigest(path.read_bytes())
    with pytest.raises(DataError, match="expected a file that can be read, found no such file"):
        hashing.file_hash(tmp_path / "none")


def test_unchanged_files_are_hashed_once(tmp_path, monkeypatch):
    path = old_file(tmp_path / "a", b"one")
    monkeypatch.setattr(hashing, "SETTLED", -1e9)  # the time of the last status change is now
    first = hashing.file_hashes([path])
    monkeypatch.setattr(hashing, "file_hash", lambda path: "hashed again")
    assert hashing.file_hashes([str(path)]) == first
    path.write_bytes(b"two")
    assert hashing.file_hashes([path]) == {path: "hashed again"}


def test_fresh_files_are_not_cached(tmp_path, monkeypatch):
    path = old_file(tmp_path / "a", b"one")
    hashing.file_hashes([path])
    monkeypatch.setattr(hashing, "file_hash", lambda path: "hashed again")
    assert hashing.file_hashes([path]) == {path: "hashed again"}


@pytest.mark.parametrize("damage", ["text", "folder"])
def test_an_unusable_cache_is_ignored(tmp_path, cache, damage):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"not a database" * 100) if damage == "text" else cache.mkdir()
    path = old_file(tmp_path / "a", b"one")
    assert hashing.file_hashes([path]) == {path: hashing.file_hash(path)}


def test_the_cache_is_a_table_of_text(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(hashing, "SETTLED", -1e9)
    path = old_file(tmp_path / "a", b"one")
    hashing.file_hashes([path])
    with sqlite3.connect(cache) as connection:
        ((inode, found),) = connection.execute("SELECT ino, hash FROM hashes")
    assert inode == str(path.stat().st_ino) and found == hashing.file_hash(path)


def test_a_fingerprint_depends_on_names_contents_and_options_only(tmp_path):
    def made(root, options="x", **files):
        paths = [old_file(root / name, content) for name, content in files.items()]
        return hashing.fingerprint(root, paths, options)

    first = made(tmp_path / "one", a=b"1", b=b"2")
    assert len(first) == 16 and made(tmp_path / "other", b=b"2", a=b"1") == first
    others = [
        made(tmp_path / "c", a=b"2", b=b"1"),
        made(tmp_path / "d", a=b"1", c=b"2"),
        made(tmp_path / "e", a=b"1"),
        made(tmp_path / "f", options="y", a=b"1", b=b"2"),
    ]
    assert len({first, *others}) == 5
