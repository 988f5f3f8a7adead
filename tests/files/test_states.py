"""What tells that files have changed."""

import os

import pytest

from omnisat_jax.files.states import file_state


def test_a_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("1")
    before = file_state(path)
    assert before == file_state(path)
    os.utime(path, ns=(1, 1))
    assert file_state(path) != before
    with pytest.raises(FileNotFoundError):
        file_state(tmp_path / "b")


def test_a_folder(tmp_path):
    (tmp_path / "c" / "0").mkdir(parents=True)
    (tmp_path / ".zarray").write_text("{}")
    (tmp_path / "c" / "0" / "1").write_text("x")
    states = [file_state(tmp_path)]
    for change in (
        lambda: os.utime(tmp_path / "c" / "0" / "1", ns=(1, 1)),
        lambda: os.utime(tmp_path / ".zarray", ns=(1, 1)),
        lambda: (tmp_path / "c" / "0" / "1").rename(tmp_path / "c" / "0" / "2"),
        lambda: (tmp_path / "c" / "3").touch(),
    ):
        assert file_state(tmp_path) == states[-1]
        change()
        states.append(file_state(tmp_path))
    assert len(set(states)) == 5 and states[-1][1] == 3
