"""The checks of each tile of a raw dataset, and of files that are equal. The index of a dataset is checked when it is opened."""

from collections.abc import Mapping

import numpy as np

from data.reading.raw import DataError, Entry, RawDataset
from data.verification import calendars, units
from data.verification.facts import Modality, SensorFacts, TileFacts, label_facts, sensor_facts
from data.verification.findings import error_finding, unique
from omnisat_jax.errors import Finding, printable

NEARLY_ALL = 0.95  # unknown share of the values of a modality in a tile from which the modality counts as unknown



def check_tile(dataset: RawDataset, tile: str) -> tuple[list[Finding], TileFacts]:
    """Reads all of one tile. Whatever goes wrong becomes a finding, and the rest of the tile is still read."""
    findings, sensors, labels, parcels = [], {}, None, np.zeros(0, np.int64)
    for name in dataset.readers:
        path = "-"
        try:
            path = dataset.path_of(tile, name)
            entry = dataset.read_modality(name, tile)
            found, facts = _check_sensor(dataset, tile, name, path, entry)
            findings += found
            if facts is not None:
                sensors[name] = facts
        except Exception as error:
            findings.append(error_finding(error, tile, path))
    labelled = tile not in dataset.unlabelled
    try:
        if labelled:
            labels, parcels = label_facts(dataset.read_labels(tile), len(dataset.classes))
    except Exception as error:
        findings.append(error_finding(error, tile, "-"))
    broken = {finding.path for finding in findings}
    try:
        for remark in dataset.inspect(tile):
            findings.append(remark)
    except DataError as error:
        if error.path not in broken:  # otherwise it was found when the file was read
            findings.append(error_finding(error, tile, "-"))
    except Exception as error:
        findings.append(error_finding(error, tile, "-"))
    return _without_echoes(unique(findings), dataset), TileFacts(tile, sensors, labels, parcels, labelled)


def _without_echoes(findings: list[Finding], dataset: RawDataset) -> list[Finding]:
    """Drops findings of a location whose file, which belongs to another modality, is missing or broken."""
    locations = {f"{name}, as other tiles have" for name, modality in dataset.modalities.items() if modality.kind == "location"}
    reported = {finding.path for finding in findings if finding.expected not in locations}
    return [finding for finding in findings if finding.expected not in locations or finding.path not in reported]


def _check_sensor(dataset: RawDataset, tile: str, name: str, path, entry: Entry) -> tuple[list[Finding], SensorFacts | None]:
    """Findings and facts of one modality of a tile, from the entry that its reader returned."""
    modality, values, shown = dataset.modalities[name], entry["values"], printable(str(path))
    if not len(values):
        if entry.get("remark"):
            finding = Finding("unknown", tile, shown, f"known values of {name}", printable(str(entry["remark"])))
        else:
            finding = Finding("missing", tile, shown, f"{name}, as other tiles have", "none")
        return [finding], None
    facts = sensor_facts(values, entry.get("dates", ()))
    return sensor_findings(modality, tile, (name, shown), values, facts), facts


def sensor_findings(
    modality: Modality, tile: str, where: tuple[str, str], values: np.ndarray, facts: SensorFacts
) -> list[Finding]:
    """What is wrong with the values and dates of one modality of a tile.

    Args:
      modality: RawModality or ModalityInfo.
      tile: its id, for messages.
      where: name of the modality and its path, for messages.
      values: (T,H,W,C), or (1,2) for a location.
      facts: of these values.
    """
    name, path = where
    found, missing = [], int(facts.unknown.sum())
    if facts.unknown_share > NEARLY_ALL:
        found.append(
            Finding(
                "unknown",
                tile,
                path,
                f"known values of {name}",
                "none" if facts.unknown_share == 1 else f"{100 * facts.unknown_share:.2f} % unknown",
            )
        )
    elif missing and values.dtype.kind == "f":
        found.append(
            Finding("not-finite", tile, path, f"finite {name} values", f"{missing:,} of {values.size:,} are not")
        )
    for index, (low, high) in enumerate(zip(facts.low, facts.high, strict=True)):
        band = modality.bands[index] if index < len(modality.bands) else f"band {index + 1}"
        quantity = units.quantity_of(name, band, modality.kind)
        if np.isfinite(low) and (wrong := units.fill_values(quantity, low, high)):
            expected = f"measurements of {quantity or name} in band {band}"
            advice = "Declare it as nodata, or write NaN."
            found.append(Finding("value", tile, path, expected, f"{wrong}, which looks like a fill value", advice))
            break
    if len(facts.dates):
        days, counts = np.unique(facts.dates, return_counts=True)
        if (counts > 1).any():
            day, times = calendars.date_of(days[counts > 1][0]), counts[counts > 1][0]
            found.append(Finding("duplicate-date", tile, path, f"each date of {name} once", f"{day} {times} times"))
        if wrong := calendars.impossible(days):
            expected = f"dates of {name} from {calendars.FIRST} to today"
            found.append(Finding("value", tile, path, expected, wrong))
    return found


def same_bytes(dataset: RawDataset, sums: Mapping[str, dict]) -> list[Finding]:
    """Files of images or series of different tiles that are equal byte for byte.

    Args:
      dataset: their dataset.
      sums: {path below the root: {"bytes", "sha256"}}.
    """
    owners = {}  # path below the root -> (parts, a tile)
    for part, tiles in dataset.parts.items():
        for tile in tiles:
            for name, modality in dataset.modalities.items():
                if modality.kind == "location":
                    continue
                try:
                    path = dataset.path_of(tile, name).relative_to(dataset.root).as_posix()
                except Exception:  # no path, or one outside the root: reported elsewhere
                    continue
                owners.setdefault(path, (set(), tile))[0].add(part)
    first, findings = {}, []
    for path in sorted(owners):
        entry = sums.get(path)
        if not entry or not entry["bytes"]:
            continue
        other = first.setdefault(entry["sha256"], path)
        if other == path:
            continue
        parts, tile = owners[path]
        kind = "leak" if parts | owners[other][0] != parts & owners[other][0] else "doubt"
        where = f"the bytes of {printable(other)} (part {', '.join(sorted(owners[other][0]))})"
        findings.append(Finding(kind, tile, printable(path), f"a distinct image (part {', '.join(sorted(parts))})", where))
    return findings
