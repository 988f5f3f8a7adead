"""The HTML report: everything in one file, opened in a browser where there is one."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from omnisat_jax.cli.command import run_command
from omnisat_jax.metrics.segmentation import SegmentationScores
from omnisat_jax.modalities import subsets as all_subsets
from omnisat_jax.report import __main__ as command
from omnisat_jax.report import html

NAMES = ("s2", "spot")
CLASSES = ("Background", "Meadow <b>", "Corn")
PROTOCOL = {
    "dataset": "pastis", "simulated": True, "fingerprint": "abc", "protocol": "official_5fold", "fold": 1, "train": ["fold_1"], "train_tiles": 6,
    "validation": [], "test": ["fold_5"], "test_tiles": 2, "void_test_parcels": False, "classes": list(CLASSES), "seed": 0, "pretrain_steps": 3,
    "dates": {"s2": 4}, "modalities": list(NAMES), "missing_modalities": [], "probe": "none", "colours": [], "unscored": [], "threshold": 0.5,
    "label_share": 1.0, "pretrain_from": "", "broken": {"on_bad": "raise", "tiles": 0}, "checkpoint": 8,
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run."""
    rng = np.random.default_rng(0)
    entries = []
    for index, subset in enumerate(all_subsets(NAMES)):
        scores = SegmentationScores(CLASSES)
        counts = rng.integers(0, 9, (3, 4)) + 60 * (3 - index) * np.eye(3, 4, dtype=int)
        calibration = np.stack([np.full(15, 100.0), np.linspace(0, 100, 15), np.linspace(10, 90, 15)], 1)
        scores.add(counts, calibration)
        row = {"modalities": list(subset), "scores": scores.compute(), "confusion": scores.confusion.tolist()}
        entries.append(row | {"calibration": calibration.tolist()})
    results = {"name": "trial", "task": "segment", "protocol": PROTOCOL, "subsets": entries}
    (tmp_path / "results.json").write_text(json.dumps(results))
    rows = [{"stage": "finetune", "step": step, "loss": 3.0 / step} for step in range(1, 9)]
    rows.append({"stage": "finetune", "step": 8, "validation_miou": 40.0})
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    about = {
        "command": "launch.py --config=configs/pastis.py", "config": {"seed": 0}, "data": {"source": "x", "fingerprint": "abc"}, "git": None,
        "versions": {"jax": "0"}, "device": {"kind": "cpu", "platform": "cpu", "count": 1}, "cores": 3, "processes": 1, "mesh": {"data": 1},
        "precision": "float32", "seconds": {"finetune": [{"start": 3.0, "steps": 9.0, "total": 12.0}]},
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(about))
    labels = rng.integers(0, 3, (2, 8, 8))
    predictions = rng.integers(0, 3, (2, 3, 8, 8))
    image = rng.integers(0, 255, (1300, 1300, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "panels.npz", tile=np.array(["a", "b"]), subsets=np.array(["s2+spot", "s2", "spot"]), labels=labels, predictions=predictions,
        **{"input/0/spot": image},
    )  # fmt: skip
    return tmp_path


def test_one_file_says_everything(run, capsys):
    assert command.main([str(run)]) == 0
    text = (run / "report.html").read_text()
    assert len(text) < html.LIMIT and not re.search(r"(src|href)=[\"']?(http|//)", text)
    for wanted in (
        "Simulated data",
        "What each subset",
        "Class by class",
        "Confusion",
        "Calibration",
        "Where the time went",
        "python launch.py",
    ):
        assert wanted in text, wanted
    assert "Taking one modality away costs most" in text and "best single modality" in text
    assert text.count('class="map"') == 2 * 4 and "Meadow &lt;b&gt;" in text and "<b>" not in text


def test_a_folder_without_results_is_named(tmp_path, capsys):
    assert run_command(command.main, [str(tmp_path)]) == 1
    assert "expected results.json" in capsys.readouterr().err


PROBE = """
<script>
window.addEventListener("load", () => {
  const table = document.querySelector("table.sortable"), heads = table.querySelectorAll("th button");
  const column = index => [...table.tBodies[0].rows].map(row => row.cells[index].textContent).join(" ");
  const seen = [];
  heads[1].click(); seen.push(column(1));
  heads[1].click(); seen.push(column(1));
  heads[0].click(); seen.push(column(0));
  document.querySelector("input[name=shown][value='2']").click();
  seen.push([...document.querySelectorAll(".map")].filter(map => !map.hidden).map(map => map.dataset.map).join(" "));
  seen.push([...document.images].every(image => image.complete && image.naturalWidth > 0));
  seen.push(document.documentElement.scrollWidth <= window.innerWidth);
  document.title = JSON.stringify(seen);
});
</script>
"""


def test_sorting_and_switching_work_in_a_browser(run):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium (Debian package) to open the page")
    html.write(run)
    page = run / "probe.html"
    page.write_text((run / "report.html").read_text().replace("</body>", PROBE + "</body>"))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=500,900",
        "--virtual-time-budget=5000",
        "--enable-logging=stderr",
    ]
    done = subprocess.run([browser, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    down, up, names, shown, images, fits = json.loads(re.search(r"<title>(.*?)</title>", done.stdout).group(1))
    numbers = [float(part) for part in down.split()]
    assert len(numbers) == 3 and numbers == sorted(numbers, reverse=True)
    assert [float(part) for part in up.split()] == sorted(numbers)
    assert names == "s2 s2+spot spot"
    assert shown == "2 2"  # the third map, of both tiles
    assert images and fits
    assert "CONSOLE" not in done.stderr, done.stderr
