"""The first damaged datasets of each kind; `python -m tests.fuzz --seconds 600` goes on with others."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

DATASETS = 4


# Of each dataset, so that one is prepared and two are verified; two and five.
@pytest.mark.parametrize("each", [9, pytest.param(33, marks=pytest.mark.exhaustive)])
def test_the_outcome_is_data_or_findings(each):
    number = DATASETS * each
    command = [sys.executable, "-m", "tests.fuzz", "--cases", str(number)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    cases = int(ended.stdout.split()[0])
    readable = int(ended.stdout.split(", ")[1].split()[0])
    # Not all of them were refused, and not all of them were accepted.
    assert cases == number and 0.05 * cases < readable < 0.9 * cases
