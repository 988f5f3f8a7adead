"""What `data.verify` finds: every planted fault, named with its tile and file, and nothing in a whole folder."""

import json
import shutil

import pytest

from data import verify
from tests import faults
from tests.faults import FAULTS, TILE


@pytest.fixture(scope="session")
def checked(simulated, tmp_path_factory):
    """A whole folder with its manifest."""
    root = tmp_path_factory.mktemp("checked") / "pastis"
    shutil.copytree(simulated, root)
    assert verify.main(["pastis", "--raw", str(root), "--jobs", "1"]) == 0
    return root


@pytest.fixture
def root(checked, tmp_path):
    target = tmp_path / "pastis"
    shutil.copytree(checked, target)
    return target


def run(root, console, **options):
    return verify.verify("pastis", root, console=console, **options)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(root, console, name):
    fault, kind, path, found = FAULTS[name]
    fault(root)
    findings = [f for f in run(root, console) if f.kind == kind]
    assert len(findings) == 1
    (finding,) = findings
    assert finding.path.endswith(path) and found in finding.found and finding.expected
    assert finding.tile == ("-" if kind == "changed" or name == "truncated metadata" else TILE)


def test_a_whole_folder_has_no_findings(root, console):
    assert run(root, console) == []
    assert run(root, console, jobs=2) == []


def test_exit_codes_and_table(root, capsys):
    arguments = ["pastis", "--raw", str(root), "--jobs", "1"]
    assert verify.main(arguments) == 0
    (root / faults.SPOT).unlink()
    assert verify.main(arguments) == 1
    shown = capsys.readouterr().out
    assert "missing" in shown and "gone" in shown and TILE in shown and "failures: 2" in shown
    assert verify.main([*arguments, "--allow", "missing,gone"]) == 0
    assert verify.main([*arguments, "--allow", "typo"]) == 2
    assert verify.main([*arguments, "--update"]) == 1  # the new manifest does not know the file, its tile still lacks it
    assert verify.main([*arguments, "--allow", "missing"]) == 0


def test_a_manifest_of_another_kind_is_refused(root, capsys):
    path = root / "manifest.json"
    path.write_text(json.dumps({"format": 1, "dataset": "treesat", "files": {}}))
    assert verify.main(["pastis", "--raw", str(root), "--jobs", "1"]) == 2
    assert "manifest of pastis" in capsys.readouterr().err
    path.write_text("{")
    assert verify.main(["pastis", "--raw", str(root), "--jobs", "1"]) == 2


def test_a_file_that_the_manifest_lacks_is_listed(root, console):
    (root / "DATA_S2" / "S2_77777.npy").write_bytes(b"x")
    assert [f.kind for f in run(root, console)] == ["unlisted"]


def test_order_and_georeference(root, console):
    def swap(properties):
        dates = properties["dates-S2"]
        dates["0"], dates["1"] = dates["1"], dates["0"]

    faults.change_metadata(root, swap)
    shutil.copy(root / faults.SPOT.replace(TILE, "10009"), root / faults.SPOT)
    kinds = {f.kind: f for f in run(root, console)}
    assert "position 1 before position 0" in kinds["order"].found
    assert "m away" in kinds["georeference"].found and kinds["georeference"].tile == TILE
