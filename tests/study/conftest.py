"""Studies whose runs are played by a small program."""

import sys

import pytest

from omnisat_jax.study.runner import Launcher
from tests.conftest import ROOT
from tests.study.player import PLAYER


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """Starts the player instead of launch.py."""
    path = tmp_path / "player.py"
    path.write_text(PLAYER)
    monkeypatch.chdir(ROOT)
    return Launcher((sys.executable, str(path)), ROOT)
