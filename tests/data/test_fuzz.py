"""A minute of spoiled datasets; `python -m tests.fuzz --seconds 600` runs longer."""

import subprocess
import sys

from tests.conftest import ROOT


def test_only_data_or_findings_come_out():
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "60"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    cases = int(ended.stdout.split()[0])
    readable = int(ended.stdout.split(", ")[1].split()[0])
    # Neither were all of them refused, nor did all of them go through.
    assert cases >= 100 and 0.05 * cases < readable < 0.9 * cases
