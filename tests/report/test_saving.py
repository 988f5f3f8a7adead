"""Pictures and arrays appear whole or not at all, and a full disk is one sentence with the path."""

import errno
import os

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from omnisat_jax.cli.command import sentence
from omnisat_jax.errors import UserError
from omnisat_jax.report.saving import save_arrays, save_figure

FILES = {
    "a.png": lambda path: save_figure(Figure(figsize=(2, 1)), path, dpi=30),
    "a.npz": lambda path: save_arrays(path, {"numbers": np.arange(3)}),
}


def test_files_hold_what_they_should(tmp_path):
    for name, save in FILES.items():
        save(tmp_path / name)
    assert imread(tmp_path / "a.png").shape[:2] == (30, 60)
    with np.load(tmp_path / "a.npz") as found:
        assert found["numbers"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", FILES)
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=f"{name}: cannot be written .the disk is full.") as raised:
        FILES[name](tmp_path / name)
    assert "free some space" in sentence(raised.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
