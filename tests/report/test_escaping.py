"""Names from files are shown, never interpreted."""

import re

import pytest
from hypothesis import given, strategies as st

from omnisat_jax.report import escaping
from tests.report.hostile import HOSTILE, active


@pytest.mark.parametrize("name", HOSTILE)
def test_latex(name):
    assert not set(active(escaping.latex(name))) & set("\\&%$#_{}~^\n\r\x1b\ud800")
    assert not escaping.latex(name).startswith(("[", "*"))
    assert "\n" not in escaping.comment(name) and escaping.comment(name).startswith("% ")


@given(st.text())
def test_any_text_stays_on_its_line_and_means_nothing(name):
    assert not set(active(escaping.latex("x" + name))) & set("\\&%$#_{}~^\n\r")
    for document in (escaping.latex, escaping.comment, escaping.markdown, escaping.line):
        assert len(document(name).splitlines()) <= 1 and document(name).isprintable()
    assert not re.search(r"(?<!\\)(\\\\)*[|<>`*$]", escaping.markdown(name))


def test_markdown_escapes_no_more_than_it_must():
    assert escaping.markdown("a_b [1.0, 2.0] s2+spot 59 % R² (x)") == "a_b [1.0, 2.0] s2+spot 59 % R² (x)"
    assert escaping.markdown("[a](b) ![c](d) _e_ <f> g|h") == r"[a\](b) ![c\](d) \_e\_ \<f\> g\|h"
    assert escaping.markdown("http://x &amp; & you@x") == r"http:\//x \&amp; & you\@x"
