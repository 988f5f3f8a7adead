"""Names from files are shown, never interpreted: by LaTeX, Markdown, HTML, matplotlib, rich and the terminal."""

import dataclasses
import io
import json
import re

import matplotlib.pyplot as plt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.study.test_study import make, player  # noqa: F401  a fixture

from omnisat_jax.cli import terminal
from omnisat_jax.report import escaping, html, pictures, tables
from omnisat_jax.study import grid, runner, summary

HOSTILE = (
    "a\n\\input{/etc/passwd}", "\\write18{id}", "$x^2$", "$\\frac{", "^^5cinput", "a_b & c # d % e ~ f {g} }h{", "[5cm]", "*{9}{x}", '"a',
    "<script>alert(1)</script>", "|x|", "![x](http://x/y.png)", "[a](javascript:x)", "`x`", "**b**", "_i_", "&lt;", "http://x.y", "# h", "- [ ] t",
    "[/bold]", "[red]x", "[link=http://x]y[/link]", ":smile:", "\x1b[2J\x1b]0;x\x07", "\u202egnp.exe", "\ud800", "a\r\nb", "tab\there", "é²µ",
)  # fmt: skip


def unescaped(text):
    """A LaTeX text without everything that is inert: what is left has a meaning."""
    text = text[1:-1] if text.startswith(("{[", "{*")) else text  # a group, where it would be taken for an argument
    for inert in (r"\\textbackslash\{\}", r"\\textasciitilde\{\}", r"\\textasciicircum\{\}", r"\\text(less|greater|bar)\{\}", r"\\char34\{\}", r"\\[&%$#_{}]"):
        text = re.sub(inert, "", text)
    return text


@pytest.mark.parametrize("name", HOSTILE)
def test_latex(name):
    assert not set(unescaped(escaping.latex(name))) & set("\\&%$#_{}~^\n\r\x1b\ud800")
    assert not escaping.latex(name).startswith(("[", "*"))
    assert "\n" not in escaping.comment(name) and escaping.comment(name).startswith("% ")


@given(st.text())
def test_no_text_leaves_its_place(name):
    assert not set(unescaped(escaping.latex("x" + name))) & set("\\&%$#_{}~^\n\r")
    for document in (escaping.latex, escaping.comment, escaping.markdown, escaping.line):
        assert len(document(name).splitlines()) <= 1 and document(name).isprintable()
    assert not re.search(r"(?<!\\)(\\\\)*[|<>`*$]", escaping.markdown(name))


def test_markdown_shows_what_is_there():
    assert escaping.markdown("a_b [1.0, 2.0] s2+spot 59 % R² (x)") == "a_b [1.0, 2.0] s2+spot 59 % R² (x)"
    assert escaping.markdown("[a](b) ![c](d) _e_ <f> g|h") == r"[a\](b) ![c\](d) \_e\_ \<f\> g\|h"
    assert escaping.markdown("http://x &amp; & you@x") == r"http:\//x \&amp; & you\@x"


def test_tables_of_a_study(player, tmp_path, console):  # noqa: F811
    """Every name that reaches them from a run: dataset, parts, modalities, classes; and of the study: rows, sources, reasons."""
    study, folder = make(label_shares=(1.0,), seeds=(0,)), tmp_path / "study"
    runner.run_study(study, folder, console=console)
    bad = "x\n\\input{/etc/passwd}|<b>$y$[/bold]"
    for place in (folder / "runs").glob("*/results.json"):
        results = json.loads(place.read_text())
        results["protocol"] |= {"dataset": bad, "protocol": bad, "test": [bad], "classes": [bad, "b"]}
        results["subsets"][0]["modalities"] = [bad, "spot"]
        place.write_text(json.dumps(results))
    rows = {name: dataclasses.replace(row, source=bad) for name, row in study.rows.items()}
    failed = {"plain-seed0-fold1": runner.Outcome("failed", bad)}
    summary.summarise(dataclasses.replace(study, rows=rows), folder, failed)
    tex, markdown = (folder / "table.tex").read_text(), (folder / "table.md").read_text()
    body, comments = tex.split("\\end{tabular}\n")
    assert all(line.startswith("% ") for line in comments.splitlines()) and "input" in comments
    cells = [cell for line in body.splitlines() if line.endswith(" \\\\") for cell in line.removesuffix(" \\\\").split(" & ")]
    assert any("passwd" in cell for cell in cells) and not any(set(unescaped(cell)) & set("\\&%$#_{}~^") for cell in cells)
    lines = markdown.splitlines()
    assert all(re.match(r"# |\| |\|---|- |$", line) for line in lines) and "passwd" in markdown
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")}
    assert len(widths) == 1 and not re.search(r"(?<!\\)[<$]", markdown)
    page = html.write(folder).read_text()
    assert "<b>" not in page and "&lt;b&gt;" in page
    assert grid.runs(study)


def results_of(names):
    protocol = {
        "dataset": names[0], "simulated": False, "protocol": names[0], "fold": 1, "train": list(names), "train_tiles": 1, "validation": [],
        "test": list(names), "test_tiles": 1, "classes": list(names), "unscored": list(names), "seed": 0, "checkpoint": 1, "pretrain_steps": 0,
        "probe": "none", "pretrain_from": names[0], "label_share": 1.0, "missing_modalities": list(names), "dates": dict.fromkeys(names, 3),
        "broken": {"on_bad": "raise", "tiles": 0}, "void_test_parcels": False,
    }  # fmt: skip
    scores = {"miou": 1.0, "oa": 2.0, "iou": dict.fromkeys(names, 3.0)}
    return {"name": names[0], "task": "segment", "protocol": protocol, "subsets": [{"modalities": list(names), "scores": scores}]}


def test_results_on_a_terminal_and_in_markdown():
    for terminal_there in (True, False):
        out = io.StringIO()
        tables.show(terminal.console(file=out, force_terminal=terminal_there, width=5000), results_of(HOSTILE))
        shown = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())  # our own colours
        assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown and "\ud800" not in shown
        for name in ("[/bold]", "[red]x", "[link=http://x]y[/link]", ":smile:", r"\x1b[2J\x1b]0;x", r"\u202egnp.exe", r"\ud800"):
            assert name in shown
    text = tables.markdown(results_of(HOSTILE))
    assert text.encode() and not re.search(r"(?<!\\)[<$`]", text)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 1 + len(set(HOSTILE))


def test_results_on_a_console_of_somebody_else():
    out = io.StringIO()
    tables.show(Console(file=out, width=5000), results_of([name for name in HOSTILE if name.isprintable()]))
    assert "[/bold]" in out.getvalue() and "[red]x" in out.getvalue() and ":smile:" in out.getvalue()


def test_figures_take_names_for_names(tmp_path):
    names = [name for name in HOSTILE if "\ud800" not in name]
    figure = pictures.confusion_figure([[1] * (len(names) + 1)] * len(names), names, "$\\frac{")
    figure.savefig(tmp_path / "confusion.png", dpi=20)
    plt.close(figure)
    assert (tmp_path / "confusion.png").stat().st_size


def test_logged_tracebacks_are_one_line(monkeypatch):
    import logging

    try:
        raise ValueError("first\nsecond")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "p", 1, "it \x1b[2Jfailed", (), __import__("sys").exc_info())
    line = terminal._OneLine("%(message)s").format(record)
    assert line == r"it \x1b[2Jfailed first"
