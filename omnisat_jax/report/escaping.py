"""Names in documents: shown, never interpreted."""

import re

from omnisat_jax.errors import printable

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
        '"': r"\char34{}",  # a shorthand in some languages
    }
)  # fmt: skip
# Every character with a meaning in tables, text and mathematics of Markdown; `_` within a word has none, `]` only before a target.
_MARKDOWN = re.compile(r"[\\`*|<>~$]|&(?=[#A-Za-z])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])|(?<=:)/(?=/)|@(?=\w)")


def line(text) -> str:
    """One line of printable text."""
    return printable(" ".join(str(text).split()), None)


def latex(text) -> str:
    """For the text of a LaTeX document."""
    safe = line(text).translate(_LATEX)
    # What follows the end of a row is taken for its argument.
    return f"{{{safe}}}" if safe[:1] in ("[", "*") else safe


def comment(text) -> str:
    """For a comment in LaTeX, which ends with its line."""
    return "% " + line(text)


def markdown(text) -> str:
    """For the text, a list or a table of a Markdown document."""
    return _MARKDOWN.sub(lambda match: "\\" + match[0], line(text))
