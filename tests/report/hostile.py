"""Names that mean something to LaTeX, Markdown, HTML, matplotlib, rich or a terminal."""

import re

HOSTILE = (
    "a\n\\input{/etc/passwd}", "\\write18{id}", "$x^2$", "$\\frac{", "^^5cinput", "a_b & c # d % e ~ f {g} }h{", "[5cm]", "*{9}{x}", '"a',
    "<script>alert(1)</script>", "|x|", "![x](http://x/y.png)", "[a](javascript:x)", "`x`", "**b**", "_i_", "&lt;", "http://x.y", "# h", "- [ ] t",
    "[/bold]", "[red]x", "[link=http://x]y[/link]", ":smile:", "\x1b[2J\x1b]0;x\x07", "\u202egnp.exe", "\ud800", "a\r\nb", "tab\there", "é²µ",
)  # fmt: skip
_INERT = (r"\\textbackslash\{\}", r"\\textasciitilde\{\}", r"\\textasciicircum\{\}", r"\\text(less|greater|bar)\{\}", r"\\char34\{\}", r"\\[&%$#_{}]")


def active(text: str) -> str:
    """A LaTeX text without everything that is only shown: what is left has a meaning."""
    text = text[1:-1] if text.startswith(("{[", "{*")) else text  # a group, where it would be taken for an argument
    for inert in _INERT:
        text = re.sub(inert, "", text)
    return text
