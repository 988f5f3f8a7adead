"""Every planted fault of every dataset: `data.verify` reports it once, with its tile and file, and preparation ends with one sentence about it."""

import os
import shutil

import pytest
from rich.console import Console

from data.preparation.bad_tiles import read_tile
from data.preparation.options import PreparationOptions
from data.reading.datasets import open_dataset, simulator
from data.verification.findings import DOUBT
from data.verification.options import VerificationOptions
from data.verification.raw_check import verify_raw
from omnisat_jax.errors import UserError, printable
from tests.faults import flair, pastis, tiles, treesat

SETS = {"pastis": pastis, "treesat": treesat, "flair": flair, "tiles": tiles}
SIZES = {"pastis": {"tiles": 5, "tile_size": 16}, "treesat": {"tiles": 5, "tile_size": 304}, "flair": {"tiles": 9, "tile_size": 64}}
OF_MANIFEST = ("changed", "gone", "unlisted")


@pytest.fixture
def quiet():
    with open(os.devnull, "w") as nothing:
        yield Console(file=nothing)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """{dataset: (an intact folder with its manifest, its usual findings: pixels that the simulation leaves out)}."""
    found = {}
    for name in SETS:
        root = tmp_path_factory.mktemp("intact") / name
        simulator(name).simulate(root, seed=0, **SIZES[name]) if name in SIZES else tiles.write(root)
        with open(os.devnull, "w") as nothing:
            usual = [f for f in verify_raw(name, root, VerificationOptions(), Console(file=nothing)) if f.kind != DOUBT]
        assert {finding.kind for finding in usual} <= {"not-finite"}
        found[name] = root, {(finding.tile, finding.expected) for finding in usual}
    return found


CASES = [
    pytest.param(dataset, fault, id=f"{dataset}: {name}", marks=() if dataset == "pastis" else pytest.mark.exhaustive)
    for dataset, faults in SETS.items()
    for name, fault in faults.FAULTS.items()
]


@pytest.mark.parametrize(("dataset", "fault"), CASES)
def test_a_fault_is_reported_once_and_ends_preparation(intact, tmp_path, quiet, dataset, fault):
    root, (folder, usual) = tmp_path / dataset, intact[dataset]
    shutil.copytree(folder, root, symlinks=True)
    fault.make(root)
    findings = verify_raw(dataset, root, VerificationOptions(), quiet)
    findings = [f for f in findings if f.kind not in (DOUBT, *fault.also) and (f.tile, f.expected) not in usual]
    if fault.kind not in OF_MANIFEST:
        findings = [finding for finding in findings if finding.kind not in OF_MANIFEST]
    named = (fault.tile,) if isinstance(fault.tile, str) else fault.tile
    assert [(finding.kind, finding.tile) for finding in findings] == [(fault.kind, tile) for tile in named], findings
    for finding in findings:
        assert finding.path.endswith(fault.path) and fault.found in finding.found and finding.expected, finding
        assert printable(finding.sentence, None) == finding.sentence and "\n" not in finding.sentence
    if not fault.stops:
        return
    with pytest.raises(UserError) as error:
        opened = open_dataset(dataset, root)
        for tile in [tile for part in opened.parts.values() for tile in part]:
            read_tile((opened, PreparationOptions()), tile)
    assert "\n" not in str(error.value) and (fault.also or fault.found in str(error.value))
