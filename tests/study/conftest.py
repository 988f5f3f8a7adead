"""Studies whose runs are played by a small program."""

import sys

import pytest

from omnisat_jax.study.runner import Launcher
from tests.conftest import ROOT
from tests.study.player import PLAYER


def playing(program, tmp_path, monkeypatch):
    """A launcher that starts a program, given as text, instead of launch.py."""
    path = tmp_path / "player.py"
    path.write_text(program)
    monkeypatch.chdir(ROOT)
    return Launcher((sys.executable, str(path)), ROOT)


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """Starts the player instead of launch.py."""
    return playing(PLAYER, tmp_path, monkeypatch)
