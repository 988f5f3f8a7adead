"""The first damaged datasets of each kind; `python -m tests.fuzz --seconds 600` goes on with others."""

import subprocess
import sys

from tests.conftest import ROOT

CASES = 4 * 33  # of each dataset, so that two are prepared and five verified


def test_the_outcome_is_data_or_findings():
    command = [sys.executable, "-m", "tests.fuzz", "--cases", str(CASES)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    cases = int(ended.stdout.split()[0])
    readable = int(ended.stdout.split(", ")[1].split()[0])
    # Not all of them were refused, and not all of them were accepted.
    assert cases == CASES and 0.05 * cases < readable < 0.9 * cases
