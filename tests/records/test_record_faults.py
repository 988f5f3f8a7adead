"""`data.verify` names the file of every planted fault of prepared records."""

import io
import shutil

import pytest
from rich.console import Console

from data.verification.findings import failures
from data.verification.options import VerificationOptions
from data.verification.records_check import verify_records
from omnisat_jax.errors import printable
from tests.faults import records as faults


@pytest.mark.parametrize("name", faults.FAULTS)
def test_a_fault_of_records_is_named(records, tmp_path, name):
    folder, fault = tmp_path / "records", faults.FAULTS[name]
    shutil.copytree(records.root, folder)
    fault.make(folder)
    console = Console(file=io.StringIO(), width=100)
    found = failures(verify_records("pastis", folder, VerificationOptions(), console))
    assert found and len(found) <= 4, found  # each tile of two files of frames that were exchanged
    for finding in found:
        assert finding.kind == fault.kind and finding.path.endswith(fault.path) and fault.found in finding.found
        assert printable(finding.sentence, None) == finding.sentence and str(folder) in finding.path
    assert f"failures: {len(found)}" in console.file.getvalue()


def test_intact_records_have_no_findings(records):
    assert failures(verify_records("pastis", records.root, VerificationOptions(), Console(file=io.StringIO()))) == []
