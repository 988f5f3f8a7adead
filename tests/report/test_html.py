"""The HTML report: one file, opened in a browser where there is one."""

import json
import re
import shutil
import subprocess

import pytest

from omnisat_jax.cli.command import run_command
from omnisat_jax.report import __main__ as command, html
from tests.report.examples import write_run

LIMIT = 10_000_000  # bytes of a report


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run."""
    return write_run(tmp_path)


def test_everything_is_in_one_file(run, capsys):
    assert command.main([str(run)]) == 0
    assert capsys.readouterr().out == f"written to {run / 'report.html'}\n"
    text = (run / "report.html").read_text()
    assert len(text) < LIMIT and not re.search(r"(src|href)=[\"']?(http|//)", text)
    for title in ("Simulated data", "Scores by subset of modalities", "Scores by class", "Confusion matrix", "Calibration", "Time per stage"):
        assert title in text, title
    assert "python launch.py" in text and "The score drops most without" in text and "the best single sensor" in text
    assert text.count('class="map"') == 2 * 4 and "Meadow &lt;b&gt;" in text and "<b>" not in text


def test_a_folder_without_results_is_named(tmp_path, capsys):
    assert run_command(command.main, [str(tmp_path)]) == 1
    assert "expected results.json" in capsys.readouterr().err


def test_text_from_files_is_made_printable(run):
    results = json.loads((run / "results.json").read_text()) | {"name": "a\x1b[2J"}
    (run / "results.json").write_text(json.dumps(results))
    assert r"<h1>a\x1b[2J</h1>" in html.write(run).read_text()


def luminance(colour):
    """Relative luminance of "#rrggbb" (WCAG 2)."""
    parts = [value / 255 for value in bytes.fromhex(colour.removeprefix("#"))]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_told_from_its_background_in_both_schemes(scheme, run):
    rule = re.findall(r":root {(.*?)}", html.write(run).read_text())[scheme]
    colours = dict(re.findall(r"--(\w+): (#\w{6})", rule))
    for text in ("ink", "soft", "mark"):
        for ground in ("paper", "box"):
            low, high = sorted(luminance(colours[name]) for name in (text, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)
    low, high = sorted(luminance(colours[name]) for name in ("ink", "warn"))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_the_overview_comes_first_and_images_are_described(run):
    text = html.write(run).read_text()
    overview = text[text.index('class="overview"') : text.index("</section>")]
    for part in ("With all sensors", "all sensors</dt>", "Protocol: official_5fold", "predicted from all sensors", 'href="#figures"'):
        assert part in overview, part
    assert text.index("</section>") < text.index("<table")
    images = re.findall(r"<img [^>]*?alt=\"([^\"]*)\"", text)
    assert len(images) == text.count("<img ") and all(images)
    assert any(alt.startswith("Bars of mIoU in %: s2+spot ") for alt in images)


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
    assert shown == "2 2"  # the third map of both tiles
    assert images and fits
    assert "CONSOLE" not in done.stderr, done.stderr
