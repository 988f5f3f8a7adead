"""README.md: short, its links lead somewhere, and its Python runs as printed."""

import re
import xml.etree.ElementTree as xml

import pytest

from data.pastis.scene import write_scene
from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text()
COMMANDS = (
    "pip install -r requirements.txt && python launch.py --config=configs/pastis.py",
    "pip install -r requirements.txt && python -m pytest",
)
WORDS = 900
LINKS = re.findall(r"\]\(([^)\s]+)\)", TEXT)


def heading_anchors(path):
    """Anchors of the headings of a Markdown file, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_it_is_read_in_two_minutes():
    assert len(TEXT.split()) <= WORDS


def test_the_two_commands_are_there():
    assert set(COMMANDS) <= set(TEXT.splitlines())


def test_links_lead_somewhere():
    assert len(LINKS) > 20
    for link in LINKS:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        assert not anchor or anchor in heading_anchors(ROOT / path), link


def test_pictures_are_described():
    found = re.findall(r"!\[(.*?)\]\((.*?)\)", TEXT)
    assert len(found) == 3 and all(len(words) > 40 for words, _ in found)


def test_results_are_called_simulated_and_have_ten_rows():
    results = TEXT[TEXT.index("<!-- results") : TEXT.index("<!-- end of results -->")]
    assert "Simulated PASTIS-HD, not comparable with published numbers" in results
    assert len([line for line in results.splitlines() if line.startswith("| ")]) == 1 + 10


def test_the_python_runs_as_printed(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    write_scene("runs/scene", size=40)
    variables = {}
    exec(compile(code, "README.md", "exec"), variables)
    assert variables["probabilities"].shape == (32, 32, len(variables["model"].classes))
    assert capsys.readouterr().out.strip() in variables["model"].classes


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_drawing_of_the_architecture_can_be_read(scheme):
    path = ROOT / "docs" / "figures" / "architecture.svg"
    root = xml.parse(path).getroot()
    names = {child.tag.split("}")[1] for child in root}
    assert {"title", "desc", "style"} <= names and root.get("role") == "img"
    style = path.read_text()
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    (ink,) = re.findall(r"\.ink { fill: #(\w{6})", dark if scheme == "dark" else light)
    bright = sum(bytes.fromhex(ink)) / 3
    assert bright > 200 if scheme == "dark" else bright < 60
