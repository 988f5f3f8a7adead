"""The scripts of .ci: a command beside others that fails, fails the script, and none is left behind."""

import os
import select
import subprocess

import pytest

from tests.conftest import ROOT

SCRIPT = """
set -euo pipefail
source .ci/beside.sh
trap 'end_beside; echo ended' EXIT
cd "$1"
beside said.txt sh -c "$2"
{then}
join_beside
echo joined
"""


def script(folder, beside, then="echo before", **options):
    command = ["bash", "-c", SCRIPT.format(then=then), "script", folder, beside]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


def test_what_a_command_beside_writes_is_shown_when_it_is_joined(tmp_path):
    done = script(tmp_path, "echo out; echo more >&2")
    assert (done.returncode, done.stdout.split()) == (0, ["before", "out", "more", "joined", "ended"])


def test_a_command_beside_that_fails_fails_the_script(tmp_path):
    done = script(tmp_path, "echo broken; exit 3")
    assert (done.returncode, done.stdout.split()) == (3, ["before", "broken", "ended"])


def test_a_script_that_fails_leaves_no_process(tmp_path):
    """Nor one that the command beside has started: the pipe that all inherit has ended."""
    end, inherited = os.pipe()
    done = script(tmp_path, "tail -f /dev/null & touch started; wait", then="until [ -e started ]; do :; done; false", pass_fds=[inherited])
    os.close(inherited)
    assert (done.returncode, done.stdout.split()) == (1, ["ended"])
    assert select.select([end], [], [], 60)[0]
    os.close(end)


@pytest.mark.parametrize("path", sorted((ROOT / ".ci").iterdir()), ids=lambda path: path.name)
def test_scripts_can_be_read(path):
    assert subprocess.run(["bash", "-n", path]).returncode == 0
