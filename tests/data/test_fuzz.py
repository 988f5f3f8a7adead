"""One minute of damaged datasets; `python -m tests.fuzz --seconds 600` runs longer."""

import subprocess
import sys

from tests.conftest import ROOT


def test_the_outcome_is_data_or_findings():
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "60"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    cases = int(ended.stdout.split()[0])
    readable = int(ended.stdout.split(", ")[1].split()[0])
    # Not all of them were refused, and not all of them were accepted.
    assert cases >= 100 and 0.05 * cases < readable < 0.9 * cases
