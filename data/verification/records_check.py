"""Verifies prepared records: compares every file with what was written, and gathers their contents as for a raw folder."""

import dataclasses

import numpy as np
from rich.console import Console

from data.verification.checks import sensor_findings
from data.verification.contents import Contents
from data.verification.facts import TileFacts, label_facts, sensor_facts
from data.verification.findings import print_findings, unique
from data.verification.options import VerificationOptions
from data.verification.tables import print_contents
from omnisat_jax.cli.progress import progress_bar
from omnisat_jax.errors import DataError, Finding, UserError
from omnisat_jax.files.atomic import write_json
from omnisat_jax.records import reader as stored
from omnisat_jax.records.description import read_description
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of


def verify_records(name: str, folder: StrPath, options: VerificationOptions, console: Console) -> list[Finding]:
    """Reads every tile of prepared records, compares each image with its checksum, and prints contents and findings.

    Args:
      name: of the dataset, one of DATASETS.
      folder: of the records.
      options: `allowed` and `json_file` apply.
      console: where to print.

    Raises:
      UserError: no finished preparation, or one of another dataset than `name`; a file that cannot be written.
    """
    dataset, contents, findings = _check_records(name, folder, console)
    report = None
    if contents is not None:
        report = contents.to_json()
        tiles = sum(entry["tiles"] for entry in report["parts"].values())
        print_contents(console, f"{folder}: records of {dataset}, {number_of(tiles, 'tile')} in {number_of(len(report['parts']), 'part')}", report)
        findings += contents.findings()
    findings = unique(findings)
    print_findings(console, folder, findings, options.allowed)
    if options.json_file is not None:
        write_json(
            options.json_file,
            {"dataset": dataset, "contents": report, "findings": [dataclasses.asdict(finding) for finding in findings]},
        )
    return findings


def _check_records(name: str, folder: StrPath, console: Console) -> tuple[str, Contents | None, list[Finding]]:
    """(name of the dataset, its contents or None if they cannot be read, findings).

    Raises:
      UserError: no finished preparation, or one of another dataset than `name`.
    """
    findings = list(stored.check_records(folder))
    try:
        found = read_description(folder).made_with.reader
        if found != name:
            raise UserError(f"{folder}: expected records of {name}, found those of {found}")
        records = stored.Records(folder, compare=False)
    except DataError as error:
        return name, None, findings or [error.finding]
    contents = Contents(
        modalities=records.modalities, parts={part: records.tiles([part]) for part in records.parts}, classes=records.classes, task=records.task
    )
    with progress_bar(console) as bar:
        task = bar.add_task("reading records", total=len(records.tile_ids))
        for part in records.parts:
            tiles = records.tiles([part])
            # Damaged parts are among the findings already, and reading them might not even end.
            if not any(f"/{part}/" in finding.path or f"/{part}.json" in finding.path for finding in findings):
                source, labelled = records.every_tile([part]), set(records.labelled_tiles([part]))
                for position, tile in enumerate(tiles):
                    found_here, facts = _check_record(records, source[position], tile, f"{folder}/tiles/{part}")
                    facts = facts if tile in labelled else dataclasses.replace(facts, labels=None, labelled=False)
                    findings += found_here
                    contents.add(facts)
            bar.advance(task, len(tiles))
    return records.info.dataset, contents, findings


def _check_record(records: stored.Records, example: dict, tile: str, path: str) -> tuple[list[Finding], TileFacts]:
    labels, parcels = label_facts(example, len(records.classes))
    findings, sensors = [], {}
    for name, modality in records.modalities.items():
        values = np.asarray(example[name]["values"][:])
        values = values.astype(np.float32) if values.dtype == np.float16 else values
        if len(values):
            sensors[name] = sensor_facts(values, example[name].get("dates", ()))
            found = sensor_findings(modality, tile, (name, f"{path}/{name}"), values, sensors[name])
            # Unknown values and repeated dates were reported when the records were made.
            findings += [finding for finding in found if finding.kind in ("unknown", "value")]
    return findings, TileFacts(tile, sensors, labels, parcels)
