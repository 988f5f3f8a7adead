"""One process at a time; the lock of a process ends with it."""

import os
import subprocess
import sys

import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.files.locks import InUseError, exclusive
from tests.conftest import ROOT


def attempt(path):
    code = "import sys\nfrom omnisat_jax.files.locks import exclusive\nwith exclusive(sys.argv[1], 'run'): print('held')"
    return subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True)


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path):
    path = tmp_path / "lock"
    with exclusive(path, "run"):
        assert f"InUseError: run: another process is using it (process {os.getpid()} on " in attempt(path).stderr
    assert attempt(path).stdout == "held\n" and path.exists()


def test_an_unreadable_holder_is_still_a_holder(tmp_path):
    path = tmp_path / "lock"
    with exclusive(path, "run"):
        path.write_text("[]")
        with pytest.raises(InUseError, match="which has not written its name"), exclusive(path, "run"):
            pass


def test_links_and_folders_are_no_lock_files(tmp_path):
    (tmp_path / "link").symlink_to("lock")
    for path in (tmp_path / "link", tmp_path, tmp_path / "none" / "lock"):
        with pytest.raises(UserError, match="run: cannot be locked"), exclusive(path, "run"):
            pass
    assert not (tmp_path / "lock").exists()
