"""Opens every file of a raw dataset, or of records prepared from it, and says what is wrong with it.

python -m data.verify pastis --raw DIR [--jobs N] [--allow missing,not-finite] [--manifest FILE]
python -m data.verify pastis --prepared DIR

The first run writes a manifest with the checksum of every file; later runs compare with it, which finds flipped bits that no reader can see.
Prepared records hold the checksums of their images themselves.
The exit code is 1 if anything was found that --allow does not name.
"""

import argparse
import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import sys

import numpy as np
from rich.console import Console
from rich.table import Table

from data.datasets import DATASETS, open_dataset, reader_of
from data.raw import DataError
from data.workers import in_order
from data.writing import progress_bar
from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import write_json
from omnisat_jax.input.description import read_description
from omnisat_jax.input.records import check_records

KINDS = {
    "unreadable": "a file that cannot be used: missing labels, truncated, empty, wrong form, dates or values",
    "missing": "a tile without a modality that other tiles have",
    "not-finite": "NaN or infinite numbers",
    "duplicate-date": "two images of one day in a series",
    "order": "dates that do not ascend",
    "georeference": "an image that lies elsewhere than its tile",
    "changed": "a file that differs from the manifest, or prepared images from their checksums",
    "unlisted": "a file that the manifest does not have",
    "gone": "a file of the manifest that is no longer there",
}
FORMAT = 1  # of the manifest
CHUNK = 2**20


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something wrong: where, what was expected, what was found. `kind` is one of KINDS."""

    kind: str
    tile: str
    path: str
    expected: str
    found: str


def check_tile(dataset, tile: str):
    """Reads all of one tile.

    Returns:
      (findings, {modality: {"dates": T or 1, "unknown": share of its numbers that are no data}})
    """
    findings, seen = [], {}

    def broken(name, error):
        findings.append(Finding("unreadable", tile, str(error.path), error.expected, error.found))
        seen[name] = None
        return {"values": ()} if name != "labels" else {"labels": ()}

    example = dataset.read(tile, broken)
    for name, modality in dataset.modalities.items():
        if name in seen:
            continue
        entry, path = example[name], str(dataset.path_of(tile, name))
        values = entry["values"]
        if not len(values):
            findings.append(Finding("missing", tile, path, f"{name}, as other tiles have", "none"))
            continue
        unknown = values == np.iinfo(np.int16).min if values.dtype == np.int16 else ~np.isfinite(values)
        share = float(unknown.mean())
        seen[name] = {"dates": len(values) if modality.kind == "series" else 1, "unknown": share}
        if share and values.dtype.kind == "f":
            findings.append(
                Finding("not-finite", tile, path, f"finite {name} numbers", f"{unknown.sum():,} of {unknown.size:,} are not")
            )
        if modality.kind == "series":
            days, counts = np.unique(entry["dates"], return_counts=True)
            twice = days[counts > 1]
            if len(twice):
                day = np.datetime64(int(twice[0]), "D")
                findings.append(
                    Finding("duplicate-date", tile, path, f"each date of {name} once", f"{day} {counts[counts > 1][0]} times")
                )
    with contextlib.suppress(DataError):  # what `inspect` cannot read was found above
        findings += [Finding(kind, tile, str(path), expected, found) for kind, path, expected, found in dataset.inspect(tile)]
    return findings, {name: entry for name, entry in seen.items() if entry}


def checksum(root, path) -> tuple[str, dict]:
    """(path below root, {"bytes", "sha256"})."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return str(path.relative_to(root)), {"bytes": size, "sha256": digest.hexdigest()}


def compare(files: dict, manifest: dict) -> list[Finding]:
    """Findings where the checksums of `files` are not those of `manifest`."""
    findings = []
    for path in sorted(set(files) | set(manifest)):
        have, want = files.get(path), manifest.get(path)
        if want is None:
            findings.append(Finding("unlisted", "-", path, "no such file in the manifest", f"{have['bytes']:,} bytes"))
        elif have is None:
            findings.append(Finding("gone", "-", path, f"{want['bytes']:,} bytes", "no such file"))
        elif have != want:
            expected = f"{want['bytes']:,} bytes, sha256 {want['sha256'][:12]}..."
            findings.append(Finding("changed", "-", path, expected, f"{have['bytes']:,} bytes, sha256 {have['sha256'][:12]}..."))
    return findings


def verify(name: str, root, *, nomenclature: str = "", manifest=None, update: bool = False, jobs: int = 1, console: Console):
    """Checks a raw folder, prints tables and writes or compares the manifest.

    Args:
      name: dataset, one of DATASETS.
      root: its folder.
      nomenclature: see `open_dataset`.
      manifest: file; None = <root>/manifest.json.
      update: write the manifest anew instead of comparing.
      jobs: processes.
      console: rich Console.

    Returns:
      Findings, in the order of tiles.

    Raises:
      UserError: the manifest is unreadable or of another dataset.
    """
    root = pathlib.Path(root)
    manifest = pathlib.Path(manifest) if manifest else root / "manifest.json"
    known = None if update or not manifest.is_file() else _read_manifest(manifest, name)
    try:
        dataset = open_dataset(name, root, nomenclature)
    except DataError as error:
        return [Finding("unreadable", error.tile, str(error.path), error.expected, error.found)]
    tiles = [tile for part in dataset.parts.values() for tile in part]
    files = sorted(pathlib.Path(path) for path in reader_of(name).raw_files(root))
    findings, seen, sums = [], collections.defaultdict(list), {}
    with progress_bar(console) as bar:
        task = bar.add_task("reading tiles", total=len(tiles))
        for found, about in in_order(check_tile, dataset, tiles, jobs):
            findings += found
            for modality, entry in about.items():
                seen[modality].append(entry)
            bar.advance(task)
        task = bar.add_task("checksums", total=len(files))
        for path, entry in in_order(checksum, root, files, jobs):
            sums[path] = entry
            bar.advance(task)
    contents = {name: _contents(entries) for name, entries in seen.items()}
    _show_contents(console, dataset, len(tiles), contents)
    if known is not None:
        findings += compare(sums, known)
        console.print(f"compared {len(sums)} files with {manifest}", soft_wrap=True)
    else:
        rows = [dataclasses.asdict(finding) for finding in findings]
        about = {"format": FORMAT, "dataset": name, "tiles": len(tiles), "contents": contents, "findings": rows, "files": sums}
        write_json(manifest, about)
        console.print(f"checksums of {len(sums)} files written to {manifest}", soft_wrap=True)
    return findings


def verify_records(name: str, folder, *, console: Console) -> list:
    """Reads every file of prepared records and compares it with what was written.

    Raises:
      UserError: not a finished preparation, or of another dataset than `name`.
    """
    about = read_description(folder)
    if about["made_with"]["reader"] != name:
        raise UserError(f"{folder}: expected records of {name}, found those of {about['made_with']['reader']}")
    findings = list(check_records(folder))
    console.print(f"{folder}: {about['dataset']}, read {len(about['parts'])} parts", soft_wrap=True)
    return findings


def _read_manifest(path, name):
    try:
        about = json.loads(path.read_text())
        if about["format"] != FORMAT or about["dataset"] != name:
            raise ValueError(f"of {about['dataset']}, format {about['format']}")
        return about["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: expected a manifest of {name}, found {error}; use --update to write it anew") from error


def _contents(entries):
    dates = [entry["dates"] for entry in entries]
    unknown = float(np.mean([entry["unknown"] for entry in entries]))
    return {"tiles": len(entries), "dates": [min(dates), max(dates)], "unknown": unknown}


def _show_contents(console, dataset, tiles, contents):
    table = Table(title=f"{dataset.root}: {dataset.name}, {tiles} tiles in {len(dataset.parts)} parts", title_justify="left")
    for heading in ("modality", "tiles", "dates a tile", "unknown"):
        table.add_column(heading, justify="left" if heading == "modality" else "right")
    for name, entry in contents.items():
        low, high = entry["dates"]
        dates = "-" if dataset.modalities[name].kind != "series" else f"{low} to {high}"
        table.add_row(name, str(entry["tiles"]), dates, f"{100 * entry['unknown']:.2f} %")
    console.print(table)


def _show_findings(console, root, findings, allowed):
    table = Table(title=f"findings: {len(findings)}", title_justify="left", show_lines=True)
    for heading in ("kind", "tile", "path", "expected", "found"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        kind = f"{finding.kind} (allowed)" if finding.kind in allowed else finding.kind
        path = finding.path.removeprefix(f"{root}/")
        table.add_row(kind, finding.tile, path, finding.expected, finding.found)
    console.print(table)


def main(arguments=None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=DATASETS)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--raw", type=pathlib.Path, help="the dataset's folder")
    place.add_argument(
        "--prepared", type=pathlib.Path, help="records made by `python -m data.prepare`, or by a run in data.cache_dir"
    )
    parser.add_argument("--nomenclature", default="", help="which set of classes, where the dataset has several")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default one a core")
    parser.add_argument("--manifest", type=pathlib.Path, help="checksums; default DIR/manifest.json")
    parser.add_argument("--update", action="store_true", help="write the manifest anew instead of comparing with it")
    parser.add_argument("--allow", default="", help="kinds of findings that are no failure: " + ", ".join(KINDS))
    options = parser.parse_args(arguments)
    # Where there is no terminal, a line is not folded at 80 columns.
    console = Console(markup=False, width=None if sys.stdout.isatty() else 200)
    allowed = set(filter(None, options.allow.split(",")))
    try:
        if allowed - set(KINDS):
            raise UserError(f"--allow: expected some of {', '.join(KINDS)}, found {', '.join(sorted(allowed - set(KINDS)))}")
        if options.prepared:
            findings = verify_records(options.dataset, options.prepared, console=console)
        else:
            findings = verify(
                options.dataset, options.raw, nomenclature=options.nomenclature, manifest=options.manifest, update=options.update,
                jobs=options.jobs, console=console,
            )  # fmt: skip
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if findings:
        _show_findings(console, options.prepared or options.raw, findings, allowed)
    failures = [finding for finding in findings if finding.kind not in allowed]
    console.print(f"failures: {len(failures)}" if failures else "nothing wrong", style="bold red" if failures else "bold green")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
