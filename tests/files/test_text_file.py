"""Text files with one entry per line."""

import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.files import text_file
from omnisat_jax.files.text_file import read_lines


def test_lines_of_any_system_are_stripped(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffone\r\n\n  two \n\rthree".encode())
    assert read_lines(tmp_path / "a.txt", what="a list") == ["one", "two", "three"]


def test_other_encodings_and_large_files_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="a.txt: expected a list: text in UTF-8"):
        read_lines(tmp_path / "a.txt", what="a list")
    monkeypatch.setattr(text_file, "LARGEST", 3)
    with pytest.raises(DataError, match="at most 3 bytes, found 4 bytes"):
        read_lines(tmp_path / "a.txt", what="a list")
    with pytest.raises(DataError, match="found no such file"):
        read_lines(tmp_path / "b.txt", what="a list")
