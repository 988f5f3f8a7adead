"""The checks of prepared records: every file is compared with what was written, and what is in them is gathered as for a raw folder."""

import numpy as np

from data.preparation.writing import progress_bar
from data.verification.checks import sensor_findings
from data.verification.contents import Contents
from data.verification.facts import TileFacts, label_facts, sensor_facts
from omnisat_jax.errors import DataError, Finding, UserError
from omnisat_jax.records import reader as stored
from omnisat_jax.records.description import read_description


def check_records(name: str, folder, console) -> tuple[str, Contents | None, list[Finding]]:
    """(name of the dataset, what is in it or None where that cannot be told, what is wrong).

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
            # What is damaged was named above, and may not even end when it is read.
            if not any(f"/{part}/" in finding.path or f"/{part}.json" in finding.path for finding in findings):
                source = records.source([part])
                for position, tile in enumerate(tiles):
                    found_here, facts = _contents_of(records, source[position], tile, f"{folder}/tiles/{part}")
                    findings += found_here
                    contents.add(facts)
            bar.advance(task, len(tiles))
    return records.info.dataset, contents, findings


def _contents_of(records, example, tile, path):
    labels, parcels = label_facts(example, len(records.classes))
    findings, sensors = [], {}
    for name, modality in records.modalities.items():
        values = np.asarray(example[name]["values"][:])
        values = values.astype(np.float32) if values.dtype == np.float16 else values
        if len(values):
            sensors[name] = sensor_facts(values, example[name].get("dates", ()))
            # Unknown numbers and doubled dates were found, and said, when the records were made.
            found = sensor_findings(modality, tile, name, f"{path}/{name}", values, sensors[name])
            findings += [finding for finding in found if finding.kind in ("unknown", "value")]
    return findings, TileFacts(tile, sensors, labels, parcels)
