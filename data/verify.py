"""Opens every file of a raw dataset, or of records prepared from it, shows what is in it, and says what is wrong or unusual.

python -m data.verify pastis --raw DIR [--jobs N] [--allow missing,not-finite] [--manifest FILE] [--json FILE]
python -m data.verify pastis --prepared DIR

Shown are parts and classes, ranges and units of every band, and calendars. The first run writes all that, and a checksum of every file, to a manifest;
later runs compare with it, which finds flipped bits that no reader can see. Prepared records hold their checksums themselves.
The exit code is 1 if anything is wrong that --allow does not name. What is only unusual ("doubt") is listed, and is no failure.
"""

import argparse
import dataclasses
import os
import pathlib
import sys

from rich.console import Console
from rich.text import Text

from data.preparation.writing import progress_bar
from data.reading.datasets import DATASETS, open_dataset, reader_of
from data.reading.raw import DataError
from data.reading.workers import in_order
from data.verification import findings as kinds
from data.verification import manifest as manifests
from data.verification import tables
from data.verification.checks import check_tile, same_bytes
from data.verification.contents import Contents
from data.verification.findings import KINDS, fault, once
from data.verification.records_check import check_records
from omnisat_jax.cli import terminal
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import Finding, UserError
from omnisat_jax.files.atomic import write_json

WIDE = 500  # columns where there is no terminal, so that no line is folded


def verify(
    name: str, root, *, nomenclature: str = "", manifest=None, update: bool = False, jobs: int = 1, allowed=(), json_file=None,
    console: Console,
) -> list[Finding]:  # fmt: skip
    """Checks a raw folder, prints what is in it and what is wrong, and writes or compares the manifest.

    Args:
      name: dataset, one of DATASETS.
      root: its folder.
      nomenclature: see `open_dataset`.
      manifest: file; None = <root>/manifest.json.
      update: write the manifest anew instead of comparing.
      jobs: processes.
      allowed: kinds of findings that are no failure.
      json_file: where contents and findings are written as well, or None.
      console: rich Console.

    Returns:
      Findings, in the order of tiles.

    Raises:
      UserError: options that cannot be, or a file that cannot be written; everything was printed before.
    """
    root = pathlib.Path(root)
    manifest = pathlib.Path(manifest) if manifest else root / "manifest.json"
    findings, contents, dataset = [], None, None
    try:
        dataset = open_dataset(name, root, nomenclature)
    except DataError as error:
        findings.append(error.finding)
    except UserError:
        raise  # an option that cannot be
    except Exception as error:  # one that the reader does not foresee
        findings.append(fault("-", root, error))
    if dataset is not None:
        contents, found = _check(dataset, jobs, console)
        findings += found
    sums, found = _checksums(name, root, jobs, console)
    findings += found
    if dataset is not None:
        findings += same_bytes(dataset, sums)
    findings, said = once(findings), None
    if not update and os.path.lexists(manifest) and not manifest.is_dir():
        try:
            findings += manifests.compare(sums, manifests.read(manifest, name))
            said = f"compared {len(sums):,} files with {kinds.line(manifest)}"
        except DataError as error:
            findings.append(error.finding)
            said = f"no file was compared, as {kinds.line(manifest)} cannot be read"
    about = {"dataset": name, "contents": contents, "findings": [dataclasses.asdict(finding) for finding in findings]}
    if said:
        console.print(Text(said), soft_wrap=True)
    kinds.show(console, root, findings, allowed)
    if json_file is not None:
        write_json(pathlib.Path(json_file), about)
    if not said and dataset is not None:
        manifests.write(manifest, about | {"files": sums})
        console.print(Text(f"contents, and checksums of {len(sums):,} files, written to {kinds.line(manifest)}"), soft_wrap=True)
    return findings


def _check(dataset, jobs, console):
    """(contents, findings) of an open dataset."""
    findings = []
    contents = Contents(modalities=dataset.modalities, parts=dataset.parts, classes=dataset.classes, task=dataset.task)
    tiles = list(dict.fromkeys(tile for part in dataset.parts.values() for tile in part))
    with progress_bar(console) as bar:
        task = bar.add_task("reading tiles", total=len(tiles))
        for found, facts in _results(check_tile, dataset, tiles, jobs):
            findings += found
            if facts is not None:
                contents.add(facts)
            bar.advance(task)
    findings += contents.findings()
    told = contents.to_json()
    kind = "simulated" if dataset.simulated else "measured"
    tables.show(console, f"{dataset.root}: {dataset.name} ({kind}), {len(tiles):,} tiles in {len(dataset.parts)} parts", told)
    return told, once(findings)


def _results(function, shared, tiles, jobs):
    """What `in_order` yields; where a process dies of a tile (memory, a broken library), a finding that names it, and the rest goes on."""
    done = 0
    while done < len(tiles):
        try:
            for result in in_order(function, shared, tiles[done:], jobs):
                done += 1
                yield result
        except Exception:  # `function` raises nothing, so a process died, with all tiles that it and the others were at
            for tile in tiles[done : done + 2 * jobs + 1]:
                done += 1
                try:
                    yield from list(in_order(function, shared, [tile], 2))
                except Exception as error:
                    yield [fault(tile, "-", error)], None


def _checksums(name, root, jobs, console):
    """({path below root: checksum}, findings)."""
    try:
        files = sorted(pathlib.Path(path) for path in reader_of(name).raw_files(root))
    except DataError as error:
        return {}, [error.finding]
    except Exception as error:
        return {}, [fault("-", root, error)]
    sums, findings = {}, []
    with progress_bar(console) as bar:
        task = bar.add_task("checksums", total=len(files))
        for path, entry in in_order(manifests.checksum, root, files, jobs):
            if isinstance(entry, Finding):
                findings.append(entry)
            else:
                sums[path] = entry
            bar.advance(task)
    return sums, findings


def verify_records(name: str, folder, *, allowed=(), json_file=None, console: Console) -> list[Finding]:
    """Reads every tile of prepared records, compares each image with the checksum it was written with, and prints what is in them.

    Raises:
      UserError: no finished preparation, or one of another dataset than `name`; a file that cannot be written.
    """
    dataset, contents, findings = check_records(name, folder, console)
    told = None
    if contents is not None:
        told = contents.to_json()
        tiles = sum(entry["tiles"] for entry in told["parts"].values())
        tables.show(console, f"{folder}: records of {dataset}, {tiles:,} tiles in {len(told['parts'])} parts", told)
        findings += contents.findings()
    findings = once(findings)
    kinds.show(console, folder, findings, allowed)
    if json_file is not None:
        about = {"dataset": dataset, "contents": told, "findings": [dataclasses.asdict(finding) for finding in findings]}
        write_json(pathlib.Path(json_file), about)
    return findings


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
    parser.add_argument("--manifest", type=pathlib.Path, help="checksums and contents; default DIR/manifest.json")
    parser.add_argument("--update", action="store_true", help="write the manifest anew instead of comparing with it")
    parser.add_argument("--json", type=pathlib.Path, help="write contents and findings to this file as well")
    parser.add_argument("--allow", default="", help="kinds of findings that are no failure: " + ", ".join(KINDS))
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        raise UserError(f"--jobs: expected 1 or more, found {options.jobs}")
    allowed = set(filter(None, options.allow.split(",")))
    if allowed - set(KINDS):
        raise UserError(f"--allow: expected some of {', '.join(KINDS)}, found {', '.join(sorted(allowed - set(KINDS)))}")
    console = terminal.console(width=None if sys.stdout.isatty() else WIDE)
    more = {"allowed": allowed, "json_file": options.json, "console": console}
    if options.prepared:
        findings = verify_records(options.dataset, options.prepared, **more)
    else:
        findings = verify(
            options.dataset, options.raw, nomenclature=options.nomenclature, manifest=options.manifest, update=options.update,
            jobs=options.jobs, **more,
        )  # fmt: skip
    return 1 if kinds.failures(findings, allowed) else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
