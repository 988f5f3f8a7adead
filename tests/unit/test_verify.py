"""What `data.verify` finds: every planted fault, named with its tile and file, and nothing in a whole folder."""

import json
import shutil

import pytest
from rich.console import Console

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


def test_records_that_changed_since_they_were_prepared_are_named(records, tmp_path, capsys):
    folder = tmp_path / "records"
    shutil.copytree(records.root, folder)
    arguments = ["pastis", "--prepared", str(folder)]
    assert verify.main(arguments) == 0
    assert "pastis, read 5 parts" in capsys.readouterr().out
    path = folder / "frames" / "fold_2" / "s1a.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # in the last date of the last tile
    path.write_bytes(content)
    (folder / "frames" / "fold_4" / "spot.npy").write_bytes(b"")
    (other, finding) = verify.verify_records("pastis", folder, console=Console(quiet=True))
    assert (finding.kind, finding.tile, finding.path) == ("changed", records.tiles(["fold_2"])[-1], str(path))
    assert "other bytes in frame" in finding.found
    assert (other.kind, other.tile) == ("changed", "-") and other.path.endswith("fold_4/spot.npy")
    table = next((folder / "tiles" / "fold_1").rglob("*.array_record*"))
    content = bytearray(table.read_bytes())
    content[len(content) // 2 :] = b"\0" * len(content[len(content) // 2 :])
    table.write_bytes(content)
    assert verify.main(arguments) == 1
    assert verify.main(["pastis", "--prepared", str(tmp_path)]) == 2
    assert verify.main(["treesat", "--prepared", str(folder)]) == 2
    message = capsys.readouterr().err
    assert "expected prepared records, found none" in message and "records of treesat, found those of pastis" in message
    with pytest.raises(SystemExit):
        verify.main(["pastis"])
