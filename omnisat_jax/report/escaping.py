"""Escapes text from files for LaTeX and Markdown, so that it is shown and never interpreted."""

import re

from omnisat_jax.errors import printable

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
        '"': r"\char34{}",  # a shorthand in some languages
    }
)  # fmt: skip
# Every character with a meaning in the tables, text and formulas of Markdown. `_` has none inside a word, `]` only before a target.
_MARKDOWN = re.compile(r"[\\`*|<>~$]|&(?=[#A-Za-z])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])|(?<=:)/(?=/)|@(?=\w)")


def line(text: object) -> str:
    """Text on one line, with characters that cannot be printed as escape sequences."""
    return printable(" ".join(str(text).split()), None)


def latex(text: object) -> str:
    """Text for the body of a LaTeX document."""
    safe = line(text).translate(_LATEX)
    # After the end of a table row, [ or * would start its argument.
    return f"{{{safe}}}" if safe[:1] in ("[", "*") else safe


def comment(text: object) -> str:
    """A LaTeX comment, which ends with its line."""
    return "% " + line(text)


def markdown(text: object) -> str:
    """Text for a paragraph, list or table of a Markdown document."""
    return _MARKDOWN.sub(lambda match: "\\" + match[0], line(text))
