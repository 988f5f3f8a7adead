"""The kinds of findings, and how a list of findings is printed."""

import dataclasses
import itertools
from collections.abc import Collection, Iterable

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from data.reading.raw import DataError
from omnisat_jax.errors import Finding, printable, reason
from omnisat_jax.types import StrPath

KINDS = {
    "unreadable": "an unusable file: missing, truncated, empty, of another form, size or type, or with impossible labels or dates",
    "missing": "a tile without a modality that other tiles have",
    "unknown": "a modality of a tile that is (nearly) unknown everywhere, or a part without a label",
    "value": "values or dates that cannot be measurements, such as an undeclared fill value",
    "not-finite": "NaN or infinite values",
    "duplicate-date": "several images of one day in a series",
    "order": "dates that do not ascend",
    "georeference": "an image that is not where its tile is, or is not georeferenced",
    "baseline": "Sentinel-2 values of an unknown processing baseline beside later ones, or that contradict their baseline",
    "link": "a link or reference to something outside the dataset",
    "leak": "a tile, or equal images, in more than one part",
    "changed": "a file that differs from the manifest, or records that differ from their checksums",
    "unlisted": "a file that is not in the manifest",
    "gone": "a file of the manifest that no longer exists",
    "fault": "an error of the program while it read a tile; please report it",
    "doubt": "unusual, but possibly right: have a look; not a failure",
}
DOUBT = "doubt"
SHOWN = 20  # findings of one kind that are printed


def fault(tile: str, path: StrPath, error: BaseException) -> Finding:
    """The finding for an unforeseen error, so that the rest is still checked."""
    found = printable(f"{type(error).__name__}: {reason(error)}")
    return Finding("fault", printable(tile), printable(str(path)), "data that can be read", found)


def error_finding(error: Exception, tile: str, path: StrPath) -> Finding:
    """The finding for an error that was raised while a tile was read."""
    if not isinstance(error, DataError):
        return fault(tile, path, error)
    return dataclasses.replace(error.finding, tile=printable(tile)) if error.tile == "-" else error.finding


def unique(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once: several modalities may be in one unreadable file."""
    kept = {}
    for finding in findings:
        expected = "" if finding.kind == "unreadable" else finding.expected
        kept.setdefault((finding.kind, finding.tile, finding.path, finding.found, expected), finding)
    return list(kept.values())


def failures(findings: Iterable[Finding], allowed: Collection[str] = ()) -> list[Finding]:
    """The findings that make a check fail: neither doubts nor of an allowed kind."""
    return [finding for finding in findings if finding.kind != DOUBT and finding.kind not in allowed]


def print_findings(console: Console, root: StrPath, findings: Collection[Finding], allowed: Collection[str] = ()) -> None:
    """Prints findings by kind, failures before doubts, and the verdict.

    Args:
      console: where to.
      root: paths are shown relative to it.
      findings: to print.
      allowed: kinds that are not failures.
    """
    order = [*KINDS, *sorted({finding.kind for finding in findings} - set(KINDS))]
    for kind, group in itertools.groupby(sorted(findings, key=lambda f: order.index(f.kind)), key=lambda f: f.kind):
        group = list(group)
        console.print()
        heading = f"{one_line(kind)} ({len(group):,}{', allowed' if kind in allowed else ''}): {KINDS.get(kind, '')}"
        console.print(Text(heading), style="bold yellow" if kind == DOUBT or kind in allowed else "bold red")
        for finding in group[:SHOWN]:
            _print_finding(console, root, finding)
        if len(group) > SHOWN:
            console.print(
                Text(f"  ... and {len(group) - SHOWN:,} more; the manifest, or --json FILE, has all of them"), soft_wrap=True
            )
    failed, doubts = len(failures(findings, allowed)), sum(finding.kind == DOUBT for finding in findings)
    verdict = f"failures: {failed:,}" if failed else "nothing wrong"
    console.print()
    console.print(Text(verdict + (f"; doubts: {doubts:,}" if doubts else "")), style="bold red" if failed else "bold green")


def _print_finding(console: Console, root: StrPath, finding: Finding) -> None:
    where = [] if finding.tile == "-" else [f"tile {one_line(finding.tile)}"]
    if finding.path not in ("-", ""):
        where.append(one_line(finding.path).removeprefix(f"{one_line(str(root))}/"))
    where = where or ["dataset"]
    text = f"expected {one_line(finding.expected)}; found {one_line(finding.found)}" + (
        f". {one_line(finding.advice)}" if finding.advice else ""
    )
    if console.is_terminal:
        console.print(Padding(Text("  ".join(where)), (0, 0, 0, 2)))
        console.print(Padding(Text(text), (0, 0, 0, 6)))
    else:  # one line per finding, for grep
        console.print(Text(f"  {'  '.join(where)}: {text}"), soft_wrap=True)


def one_line(text: object) -> str:
    """Text from outside on one line, safe to print on a terminal."""
    return printable(str(text)).replace("\n", "\\n")
