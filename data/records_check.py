"""The checks of prepared records: every tile is read, and every image compared with the checksum it was written with."""

import numpy as np

from data.checks import sensor_findings
from data.contents import Contents
from data.datasets import DATASETS
from data.facts import TileFacts, label_facts, sensor_facts
from data.writing import progress_bar
from omnisat_jax.errors import Finding, UserError, printable, reason
from omnisat_jax.input.frames import FrameError
from omnisat_jax.input.records import Records

OWN = "tiles"  # the layout whose datasets have names of their own


def check_records(name: str, folder, console) -> tuple[str, Contents, list[Finding]]:
    """(name of the dataset, what is in it, what is wrong).

    Raises:
      UserError: no finished preparation, or one of another dataset than `name`.
    """
    records, findings = Records(folder), []
    found = records.about["dataset"]
    if found != name and (name != OWN or found in set(DATASETS) - {OWN}):
        raise UserError(f"{folder}: expected records of {name}, found those of {found}")
    parts = {part: records.tiles([part]) for part in records.parts}
    contents = Contents(modalities=records.modalities, parts=parts, classes=records.classes, task=records.task)
    with progress_bar(console) as bar:
        task = bar.add_task("reading records", total=len(records.tile_ids))
        for part, tiles in parts.items():
            try:
                source = records.source([part])
            except FrameError as error:
                findings.append(Finding("unreadable", f"all of {part}", str(error.path), error.expected, error.found))
                continue
            except Exception as error:  # of whatever reads the tables
                path = printable(f"{folder}/tiles/{part}")
                findings.append(Finding("unreadable", f"all of {part}", path, "a table of tiles", _said(error)))
                continue
            for position, tile in enumerate(tiles):
                found_here, facts = _check_record(records, source, position, tile, f"{folder}/tiles/{part}")
                findings += found_here
                if facts is not None:
                    contents.add(facts)
                bar.advance(task)
    return found, contents, findings


def _check_record(records, source, position, tile, path):
    try:
        example = source[position]
        labels, parcels = label_facts(example, len(records.classes))
    except Exception as error:  # of whatever reads ArrayRecord and decodes it
        return [Finding("unreadable", tile, path, "a record of a tile", _said(error))], None
    findings, sensors = [], {}
    for name, modality in records.modalities.items():
        try:
            values = np.asarray(example[name]["values"][:])
            values = values.astype(np.float32) if values.dtype == np.float16 else values
            if len(values):
                sensors[name] = sensor_facts(values, example[name].get("dates", ()))
                # Unknown numbers and doubled dates were found, and said, when the records were made.
                found = sensor_findings(modality, tile, name, f"{path}/{name}", values, sensors[name])
                findings += [finding for finding in found if finding.kind in ("unknown", "value")]
        except FrameError as error:
            findings.append(Finding("changed", tile, str(error.path), error.expected, error.found))
        except Exception as error:
            findings.append(Finding("unreadable", tile, path, f"{name} of a tile", _said(error)))
    return findings, TileFacts(tile, sensors, labels, parcels)


def _said(error):
    return printable(f"{type(error).__name__}: {reason(error)}")
