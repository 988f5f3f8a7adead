"""Prose is in US spelling: Markdown, docstrings, comments and messages. Names of modules, keys and functions keep theirs.

A word counts as prose unless it stands beside what only names have: a dot, an equals sign, a quotation mark, a hyphen or a slash.
"""

import io
import re
import tokenize
from collections.abc import Callable

import pytest

from tests.conftest import ROOT

# UK form, as a regular expression, and its US form.
FORMS = {
    r"(un)?label(l)(ed|ing)": r"\1label\3",
    r"colour(s|ed|ing|ful|less)?": r"color\1",
    r"centre(s|d)?": r"center\1",
    r"((?:kilo|centi|milli)?)metre(s)?": r"\1meter\2",
    r"neighbour(s|ing|hood|hoods)?": r"neighbor\1",
    r"behaviour(s)?": r"behavior\1",
    r"honour(s|ed|ing)?": r"honor\1",
    r"(?<!Open )licence(s)?": r"license\1",  # the Etalab Open Licence is a name
    r"grey": r"gray",
    r"catalogue(s|d)?": r"catalog\1",
    r"judgement(s)?": r"judgment\1",
    r"modelled": r"modeled",
    r"modelling": r"modeling",
    r"(un|re|de)?(normal|optim|summar|harmon|polar|recogn|initial|factor|util|special|serial|organ|minim|maxim|general|parallel|token|real)is(e|es|ed|er|ers|ing|ation|ations)": r"\1\2iz\3",
}
BEFORE, AFTER = r"(?<![\w.=/`'\"\-])", r"(?![\w=/`'\"(\-]|\.\w)"
ARGUMENTS = re.compile(r"^ +[\w, ]+:(?= )", re.MULTILINE)  # names of arguments or attributes in a docstring
# Spelled as elsewhere: part of the bytes of records, and names and quotations of others.
EXEMPT = {"data/preparation/builder.py", "tests/architecture/test_spelling.py", "CHANGELOG.md"}


def replace(text: str) -> str:
    """The text with US forms."""
    for form, to in FORMS.items():

        def in_case(match: re.Match, to: str = to) -> str:
            found = match.expand(to)
            return found.capitalize() if match[0][0].isupper() else found

        text = re.sub(f"{BEFORE}(?i:{form}){AFTER}", in_case, text)
    return text


def outside(text: str, masked: str, change: Callable[[str], str]) -> str:
    """Changes what lies outside of the matches of a regular expression."""
    parts, last = [], 0
    for match in re.finditer(masked, text, re.MULTILINE | re.DOTALL):
        parts += [change(text[last : match.start()]), match[0]]
        last = match.end()
    return "".join([*parts, change(text[last:])])


def of_markdown(text: str) -> str:
    return outside(text, r"^```.*?^```|`[^`\n]*`|\]\([^)]*\)|https?://\S+", replace)


def of_string(text: str, *, docstring: bool) -> str:
    """A literal of Python: a docstring, or one of several words; what is in the braces of an f-string is code."""
    prefix, quote, body = re.match(r"""([a-zA-Z]*)(\"{3}|\'{3}|"|')(.*)\2$""", text, re.DOTALL).groups()
    nested = r"\{(?:[^{}]|\{[^{}]*\})*\}"
    if not docstring and " " not in body.strip():
        return text
    masked = ARGUMENTS.pattern if docstring else nested
    return prefix + quote + outside(body, rf"{masked}|`[^`\n]*`|https?://\S+", replace) + quote


def of_python(text: str) -> str:
    lines, changes = text.splitlines(keepends=True), []
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    for before, token in zip([None, *tokens], tokens):
        if token.type == tokenize.COMMENT:
            to = outside(token.string, r"`[^`\n]*`|https?://\S+", replace)
        elif token.type == tokenize.STRING:
            alone = before is None or before.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.NL, tokenize.DEDENT, tokenize.COMMENT)
            to = of_string(token.string, docstring=alone and '"""' in token.string[:4])
        else:
            continue
        if to != token.string:
            changes.append((token.start, token.end, to))
    for (first, left), (last, right), to in reversed(changes):
        lines[first - 1 : last] = [lines[first - 1][:left] + to + lines[last - 1][right:]]
    return "".join(lines)


def texts() -> list[str]:
    left_out = {"runs", "build", "dist", "_build", "venv", ".venv", "jupyter_execute", "models"}
    found = [path.relative_to(ROOT) for pattern in ("*.py", "*.md") for path in ROOT.rglob(pattern)]
    return sorted(path.as_posix() for path in found if not (left_out & set(path.parts) and path.suffix == ".md") and path.as_posix() not in EXEMPT and "venv" not in path.parts)


def in_us_spelling(name: str) -> str:
    text = (ROOT / name).read_text()
    if not any(re.search(form, text.lower()) for form in FORMS):
        return text  # without the time that it takes to tell prose from code
    return of_python(text) if name.endswith(".py") else of_markdown(text)


def test_prose_is_in_us_spelling():
    wrong = []
    for name in texts():
        before, after = (ROOT / name).read_text().splitlines(), in_us_spelling(name).splitlines()
        wrong += [f"{name}:{number}: {line.strip()[:100]}" for number, (line, other) in enumerate(zip(before, after, strict=True), 1) if line != other]
    assert not wrong, "UK spelling:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The colour of unlabelled tiles is normalised", "The color of unlabeled tiles is normalized"),
        ("Centres, 40 metres apart", "Centers, 40 meters apart"),
        ("data.unlabelled=pretrain, --unlabelled, 'colours', probe_neighbours, colours.py, unlabelled=x", None),
        ("promise, precise, otherwise, revised, realism", None),
    ],
)
def test_only_prose_is_changed(text, expected):
    assert replace(text) == (expected or text)


def test_code_is_left_alone():
    code = 'def colour(x):\n    """Grey.\n\n    Args:\n      colours: of `labelled` tiles.\n    """\n    return f"the {x.colours} metre", "labelled", {"colours": 1}  # the centre\n'
    assert of_python(code) == code.replace("Grey", "Gray").replace("} metre", "} meter").replace("the centre", "the center")
    assert of_markdown("`colours` colours\n\n```\ngrey\n```\n[grey](grey.md)") == "`colours` colors\n\n```\ngrey\n```\n[gray](grey.md)"
