"""Finds the commands, options and configuration keys that a Markdown page names."""

import dataclasses
import re
import shlex

FENCE = re.compile(r"^(?P<fence>```+|~~~+)(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
SHELLS = ("", "bash", "console", "sh", "shell")
PROGRAM = re.compile(r"(?:[\w./-]*/)?(python[\d.]*|pip|omnisat-[a-z]+)")
NAMED = re.compile(rf"(?:^|[\s\"'(]){PROGRAM.pattern}(?=\s|$)")
SEPARATORS = ("&&", "||", ";", "|")


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of a page.

    Attributes:
      line: of the page, from 1, where its block or span begins.
      program: "python", "pip" or "omnisat-...".
      words: its arguments.
      whole: whether a reader can run it as it is; False for a span in a sentence, which may leave out arguments.
    """

    line: int
    program: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"line {self.line}: {shlex.join([self.program, *self.words])}"


def blocks(text: str) -> list[tuple[int, str, str]]:
    """(line, what follows the fence, body) of every fenced block."""
    return [(text.count("\n", 0, match.start()) + 1, match["info"].strip(), match["body"]) for match in FENCE.finditer(text)]


def made_files(text: str) -> dict[str, str]:
    """{path: content} of the files that a page tells its reader to write: blocks whose fence names a file, such as ```python make.py."""
    named = [(info.split(), body) for _, info, body in blocks(text)]
    return {words[1]: body for words, body in named if len(words) == 2 and words[0] == "python"}


def commands(text: str) -> list[Command]:
    """Every command of a page: in blocks of a shell, in notebook cells that run bash, and in spans of sentences."""
    found = []
    for line, info, body in blocks(text):
        if info.startswith("{code-cell}"):
            _, bash, body = body.partition("%%bash\n")
            if not bash:
                continue
        elif info not in SHELLS:
            continue
        for row in re.sub(r"\s*\\\n\s*", " ", body).splitlines():
            found += _of_line(row.removeprefix("$ "), line, whole=True)
    for line, span in spans(text):
        if NAMED.match(span) or span.startswith(("srun", "gcloud")):
            found += _of_line(span, line, whole=False)
    return found


def spans(text: str) -> list[tuple[int, str]]:
    """(line, code) of every span of code outside of blocks."""
    prose = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    return [(prose.count("\n", 0, match.start()) + 1, " ".join(match[1].split())) for match in SPAN.finditer(prose)]


def _of_line(row, line, *, whole):
    """The commands of one line of a shell, those of quoted words and of its comment included."""
    row, _, comment = row.partition(" #")
    row = re.split(r"\s{2,}(?=[a-z])", row)[0]  # a column of explanations
    found, rest = [], []
    for word in [*shlex.split(row), ";"] if NAMED.search(row) else []:
        if word not in SEPARATORS:
            rest.append(word)
            continue
        place = next((place for place, each in enumerate(rest) if PROGRAM.fullmatch(each)), None)
        for quoted in rest[:place]:  # of `ssh HOST --command="..."`
            found += _of_line(quoted.partition("=")[2] or quoted, line, whole=whole) if " " in quoted else []
        if place is not None:
            found.append(Command(line, PROGRAM.fullmatch(rest[place])[1], tuple(rest[place + 1 :]), whole))
        rest = []
    return found + (_of_line(comment.strip(), line, whole=False) if NAMED.match(comment.strip()) else [])
