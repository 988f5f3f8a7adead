"""What can be wrong with data, by kind, and how a list of it is shown."""

import dataclasses
import itertools

from rich.padding import Padding
from rich.text import Text

from data.reading.raw import DataError
from omnisat_jax.errors import Finding, printable, reason

KINDS = {
    "unreadable": "a file that cannot be used: missing, truncated, empty, of another form, size or type, with labels or dates that cannot be",
    "missing": "a tile without a modality that other tiles have",
    "unknown": "a modality of a tile of which (nearly) nothing is known, or a part without a label",
    "value": "numbers or dates that cannot be measurements, such as a fill value that is not declared",
    "not-finite": "NaN or infinite numbers",
    "duplicate-date": "two images of one day in a series",
    "order": "dates that do not ascend",
    "georeference": "an image that lies elsewhere than its tile, or says nowhere",
    "baseline": "Sentinel-2 numbers of an unknown processing baseline beside later ones, or that contradict theirs",
    "link": "a link or a reference to a place outside the dataset",
    "leak": "a tile, or the bytes of an image, in more than one part",
    "changed": "a file that differs from the manifest, or prepared records from their checksums",
    "unlisted": "a file that the manifest does not have",
    "gone": "a file of the manifest that is no longer there",
    "fault": "a fault of the program while it read a tile; please report it",
    "doubt": "unusual, but it may be right: look at it; no failure",
}
DOUBT = "doubt"
SHOWN = 20  # findings of one kind on the screen


def fault(tile: str, path, error: BaseException) -> Finding:
    """The finding that stands for an error nobody foresaw, so that the rest goes on."""
    found = printable(f"{type(error).__name__}: {reason(error)}")
    return Finding("fault", printable(tile), printable(str(path)), "data that can be read", found)


def of_error(error: Exception, tile: str, path) -> Finding:
    """The finding in an error that was raised while a tile was read."""
    if not isinstance(error, DataError):
        return fault(tile, path, error)
    return dataclasses.replace(error.finding, tile=printable(tile)) if error.tile == "-" else error.finding


def once(findings) -> list[Finding]:
    """Each finding once: several modalities may lie in one file that cannot be read."""
    kept = {}
    for finding in findings:
        expected = "" if finding.kind == "unreadable" else finding.expected
        kept.setdefault((finding.kind, finding.tile, finding.path, finding.found, expected), finding)
    return list(kept.values())


def failures(findings, allowed=()) -> list[Finding]:
    """Those that make a check fail: no doubts, and none of an allowed kind."""
    return [finding for finding in findings if finding.kind != DOUBT and finding.kind not in allowed]


def show(console, root, findings, allowed=()) -> None:
    """Prints findings by kind, failures before doubts, and the verdict.

    Args:
      console: rich Console.
      root: paths are shown from here.
      findings: to print.
      allowed: kinds that are no failure.
    """
    order = [*KINDS, *sorted({finding.kind for finding in findings} - set(KINDS))]
    for kind, group in itertools.groupby(sorted(findings, key=lambda f: order.index(f.kind)), key=lambda f: f.kind):
        group = list(group)
        console.print()
        heading = f"{line(kind)} ({len(group):,}{', allowed' if kind in allowed else ''}): {KINDS.get(kind, '')}"
        console.print(Text(heading), style="bold yellow" if kind == DOUBT or kind in allowed else "bold red")
        for finding in group[:SHOWN]:
            _line(console, root, finding)
        if len(group) > SHOWN:
            console.print(
                Text(f"  ... and {len(group) - SHOWN:,} more; the manifest, or --json FILE, has all of them"), soft_wrap=True
            )
    failed, doubts = len(failures(findings, allowed)), sum(finding.kind == DOUBT for finding in findings)
    said = f"failures: {failed:,}" if failed else "nothing wrong"
    console.print()
    console.print(Text(said + (f"; doubts: {doubts:,}" if doubts else "")), style="bold red" if failed else "bold green")


def _line(console, root, finding):
    where = [] if finding.tile == "-" else [f"tile {line(finding.tile)}"]
    if finding.path not in ("-", ""):
        where.append(line(finding.path).removeprefix(f"{line(str(root))}/"))
    where = where or ["dataset"]
    text = f"expected {line(finding.expected)}; found {line(finding.found)}" + (
        f". {line(finding.advice)}" if finding.advice else ""
    )
    if console.is_terminal:
        console.print(Padding(Text("  ".join(where)), (0, 0, 0, 2)))
        console.print(Padding(Text(text), (0, 0, 0, 6)))
    else:  # a finding is a line, so that it can be searched for
        console.print(Text(f"  {'  '.join(where)}: {text}"), soft_wrap=True)


def line(text) -> str:
    """Text from outside on one line, safe on a terminal."""
    return printable(str(text)).replace("\n", "\\n")
