"""Verifies a raw folder: reads every tile, prints contents and findings, and writes or compares the manifest."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from data.reading.datasets import open_dataset, reader_of
from data.reading.raw import DataError, RawDataset
from data.reading.workers import in_order
from data.verification import manifest as manifests
from data.verification.checks import check_tile, same_bytes
from data.verification.contents import Contents
from data.verification.facts import TileFacts
from data.verification.findings import fault, one_line, print_findings, unique
from data.verification.options import VerificationOptions
from data.verification.tables import print_contents
from omnisat_jax.cli.progress import progress_bar
from omnisat_jax.errors import Finding, UserError
from omnisat_jax.files.atomic import write_json
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of


def verify_raw(name: str, root: StrPath, options: VerificationOptions, console: Console) -> list[Finding]:
    """Checks a raw folder, prints its contents and findings, and writes or compares the manifest.

    Args:
      name: of the dataset, one of DATASETS.
      root: its folder.
      options: see `VerificationOptions`.
      console: where to print.

    Returns:
      Findings, in the order of tiles.

    Raises:
      UserError: impossible options, or a file that cannot be written; everything was printed before.
    """
    root = pathlib.Path(root)
    findings: list[Finding] = []
    contents, dataset = None, None
    try:
        dataset = open_dataset(name, root, options.nomenclature, options.unlabelled)
    except DataError as error:
        findings.append(error.finding)
    except UserError:
        raise  # an impossible option
    except Exception as error:  # not foreseen by the reader
        findings.append(fault("-", root, error))
    if dataset is not None:
        contents, found = _check_tiles(dataset, options.jobs, console)
        findings += found
    sums, found = _checksums(name, root, options.jobs, console)
    findings += found
    if dataset is not None:
        findings += same_bytes(dataset, sums)
    findings, compared = unique(findings), None
    manifest = options.manifest or root / "manifest.json"
    if not options.update and os.path.lexists(manifest) and not manifest.is_dir():
        try:
            findings += manifests.compare(sums, manifests.read(manifest, name))
            compared = f"compared {number_of(len(sums), 'file')} with {one_line(manifest)}"
        except DataError as error:
            findings.append(error.finding)
            compared = f"no file was compared, as {one_line(manifest)} cannot be read"
    report = {"dataset": name, "contents": contents, "findings": [dataclasses.asdict(finding) for finding in findings]}
    if compared:
        console.print(Text(compared), soft_wrap=True)
    print_findings(console, root, findings, options.allowed)
    if options.json_file is not None:
        write_json(options.json_file, report)
    if not compared and dataset is not None:
        manifests.write(manifest, report | {"files": sums})
        console.print(Text(f"contents, and checksums of {number_of(len(sums), 'file')}, written to {one_line(manifest)}"), soft_wrap=True)
    return findings


def _check_tiles(dataset: RawDataset, jobs: int, console: Console) -> tuple[dict[str, Any], list[Finding]]:
    """Reads every tile and prints the contents; returns contents and findings."""
    findings = []
    contents = Contents(modalities=dataset.modalities, parts=dataset.parts, classes=dataset.classes, task=dataset.task)
    tiles = list(dict.fromkeys(dataset.tiles))
    with progress_bar(console) as bar:
        task = bar.add_task("reading tiles", total=len(tiles))
        for found, facts in results(check_tile, dataset, tiles, jobs):
            findings += found
            if facts is not None:
                contents.add(facts)
            bar.advance(task)
    findings += contents.findings()
    report = contents.to_json()
    kind = "simulated" if dataset.simulated else "measured"
    print_contents(console, f"{dataset.root}: {dataset.name} ({kind}), {number_of(len(tiles), 'tile')} in {number_of(len(dataset.parts), 'part')}", report)
    return report, unique(findings)


def results(function: Callable, shared: Any, tiles: Sequence[str], jobs: int) -> Iterator[tuple[list[Finding], TileFacts | None]]:
    """Yields what `in_order` yields. A tile that kills its process (memory, a broken library) becomes a finding; the others are still read.

    Args:
      function: returns (findings, facts) of a tile and does not raise.
      shared, tiles, jobs: see `in_order`.
    """
    done = 0
    while done < len(tiles):
        try:
            for result in in_order(function, shared, tiles[done:], jobs):
                done += 1
                yield result
        except Exception:  # `function` does not raise, so a process died, and with it the tiles that were in progress
            for tile in tiles[done : done + 2 * jobs + 1]:
                done += 1
                try:
                    yield from list(in_order(function, shared, [tile], 2))
                except Exception as error:
                    yield [fault(tile, "-", error)], None


def _checksums(name: str, root: pathlib.Path, jobs: int, console: Console) -> tuple[dict[str, dict], list[Finding]]:
    """({path below root: {"bytes", "sha256"}}, findings)."""
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
