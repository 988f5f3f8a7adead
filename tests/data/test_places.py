"""Where preparation writes, and what it leaves elsewhere."""

import os
import tempfile

import pytest

from configs import pastis
from data.preparation import preparing
from omnisat_jax.cli import terminal
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from tests.conftest import prepare_pastis


def test_preparing_leaves_nothing_in_the_folder_of_temporary_files(simulated, tmp_path, monkeypatch):
    """TFDS would leave an empty folder for each part."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert prepare_pastis(simulated, tmp_path / "records") == 0
    assert not list((tmp_path / "temporary").iterdir())


def test_no_cache_that_can_be_written_to(tmp_path, monkeypatch):
    """As in the checkout of somebody else."""
    config = schema.parse(pastis.get_config())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(UserError, match=r"found runs/cache \(.*: permission denied\); choose another with --config.data.cache_dir=FOLDER"):
        preparing.prepare(config.data, terminal.console(quiet=True))
    assert not list(tmp_path.iterdir())
