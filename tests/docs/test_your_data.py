"""docs/your_data.md, block by block: what the page says a user can do is done."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.exhaustive  # a whole run
PAGE = (ROOT / "docs" / "your_data.md").read_text()
BLOCKS = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def follow(folder):
    """Does what the page says in `folder`, a checkout in which nothing is written but what the page writes; returns what its commands printed."""
    (folder / "configs").mkdir()
    for path in (ROOT / "configs").glob("*.py"):
        (folder / "configs" / path.name).symlink_to(path)
    for name in ("launch.py", "data", "omnisat_jax"):
        (folder / name).symlink_to(ROOT / name)
    bin_folder = os.path.dirname(sys.executable)
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    outputs = []
    for language, name, text in BLOCKS:
        if language == "python":
            (folder / name).write_text(text)
            continue
        done = subprocess.run(["bash", "-ec", text], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        outputs.append(done.stdout)
    return outputs


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    return folder, follow(folder)


def test_the_page_has_its_steps():
    assert [name or language for language, name, _ in BLOCKS] == [
        "make_rasters.py", "bash", "bash", "bash", "configs/lowland.py", "bash", "bash",
    ]  # fmt: skip


def test_tiles_were_cut_and_seen(workplace):
    folder, outputs = workplace
    assert "64 tiles in 4 folds" in outputs[1] and "labels: 6.25 % unknown" in outputs[1]
    rows = {cells[0]: cells[1:] for line in outputs[1].splitlines() if len(cells := [cell.strip() for cell in line.strip("│").split("│")]) > 9}
    assert rows["radar"] == ["12", "64", "0", "0", "float32", "1", "0.10 %", "-", "VV VH"]
    assert rows["aerial"] == ["-", "64", "0", "0", "uint8", "1", "0.00 %", "-", "R G B"]
    assert (folder / "tile.png").stat().st_size > 10_000
    assert "nothing wrong" in outputs[2] or "not-finite (allowed)" in outputs[2]


def test_the_model_learned_the_region(workplace):
    folder, outputs = workplace
    results = json.loads((folder / "runs" / "lowland" / "results.json").read_text())
    about = results["protocol"]
    assert (
        about["dataset"] == "lowland"
        and about["protocol"] == "leave_one_fold_out"
        and about["classes"] == ["Grass", "Maize", "Beet"]
    )
    scores = {"+".join(entry["modalities"]): entry["scores"]["miou"] for entry in results["subsets"]}
    # Three classes by chance: about 20 %.
    assert scores["aerial+radar"] > 50 and set(scores) == {"aerial+radar", "radar", "aerial"}
    assert "lowland_records" in outputs[4]
