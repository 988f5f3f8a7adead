"""The contents of a dataset, gathered tile by tile: ranges and units, unknown shares, classes, parcels, calendars; and what is unusual."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.verification.doubts import sensor_doubts
from data.verification.facts import Modality, TileFacts
from data.verification.sensors import Sensor
from omnisat_jax.errors import Finding
from omnisat_jax.words import number_of

FAR = 0.2  # degrees; no parcel is that large


class Contents:
    """Accumulates the contents of a raw folder or of records, tile by tile."""

    def __init__(
        self, *, modalities: Mapping[str, Modality], parts: Mapping[str, Sequence[str]], classes: Sequence[str], task: str
    ):
        """
        Args:
          modalities: name -> RawModality or ModalityInfo.
          parts: name -> tile ids.
          classes: names.
          task: "segment" or "classify".
        """
        self._sensors = {name: Sensor(name, modality) for name, modality in modalities.items()}
        self._parts, self._classes, self._task = parts, tuple(classes), task
        self._part_of = {tile: part for part, tiles in parts.items() for tile in tiles}
        dense = task == "segment"
        self._labels = {part: np.zeros(len(self._classes) + dense, np.int64) for part in parts}
        self._read = dict.fromkeys(parts, 0)  # tiles whose labels could be read
        self._unlabelled = dict.fromkeys(parts, 0)
        self._parcels = collections.defaultdict(set)  # number -> parts
        self._extents = {}  # number of a parcel -> smallest and largest (longitude, latitude) of the centers of its tiles

    def add(self, facts: TileFacts) -> None:
        """Adds one tile."""
        part = self._part_of[facts.tile]
        for name, sensor in facts.sensors.items():
            self._sensors[name].add(facts.tile, sensor)
        self._unlabelled[part] += not facts.labelled
        if facts.labels is not None and len(facts.labels) == len(self._labels[part]):
            self._read[part] += 1
            self._labels[part] += facts.labels
            self._unlabelled[part] += not facts.labels[: len(self._classes)].any()
        place = facts.sensors["location"].low if "location" in facts.sensors else None
        for number in facts.parcels.tolist():
            self._parcels[number].add(part)
            if place is not None:
                low, high = self._extents.get(number, (place, place))
                self._extents[number] = np.fmin(low, place), np.fmax(high, place)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values; null where nothing is known."""
        dense = self._task == "segment"
        return {
            "counted": "pixels" if dense else "tiles",
            "parts": {
                part: {
                    "tiles": len(tiles),
                    "without_label": self._unlabelled[part],
                    "void": int(self._labels[part][-1]) if dense else None,
                    "classes": {name: int(n) for name, n in zip(self._classes, self._labels[part], strict=False)},
                }
                for part, tiles in self._parts.items()
            },
            "parcels": {
                "number": len(self._parcels),
                "in_several_parts": sum(len(parts) > 1 for parts in self._parcels.values()),
            },
            "modalities": {name: self._modality(sensor) for name, sensor in self._sensors.items()},
        }

    def _modality(self, sensor: Sensor) -> dict[str, Any]:
        ranges = sensor.ranges()
        bands = {}
        for band, quantity, unit, levels, unknown in zip(
            sensor.bands, sensor.quantities, sensor.units(ranges), ranges, sensor.unknown, strict=True
        ):
            numbers = (
                dict(min=levels.low, p1=levels.first, median=levels.median, p99=levels.last, max=levels.high) if levels else {}
            )
            unknown = float(unknown / sensor.total) if sensor.total else None
            bands[band] = {"quantity": quantity, "looks_like": unit, **numbers, "unknown": unknown}
        count = sensor.total * len(sensor.bands)
        return {
            "kind": sensor.modality.kind,
            "dtype": sensor.modality.dtype,
            "shape": list(sensor.modality.shape),
            "tiles": len(sensor.tiles),
            "unknown": float(sensor.unknown.sum() / count) if count else None,
            "bands": bands,
            "calendar": sensor.calendar.to_json() if sensor.modality.kind == "series" and sensor.tiles else None,
        }

    def findings(self) -> list[Finding]:
        """Parts without a label, and doubts."""
        found: list[Finding] = []
        for part, tiles in self._parts.items():
            labels = self._labels[part][: len(self._classes)]
            if tiles and self._read[part] and not labels.any():
                found.append(Finding("unknown", "-", "-", f"labels in part {part}", f"none in its {number_of(self._read[part], 'tile')}"))
        found += self._class_doubts()
        apart = sum((high - low).max() > FAR for low, high in self._extents.values())
        if apart:
            where = f"{apart:,} of {len(self._parcels):,} numbers in tiles that are more than {FAR:g} degrees apart"
            advice = "Numbers that restart at each place need its location_id in the metadata; otherwise labels become void without need."
            found.append(Finding("doubt", "-", "-", "each parcel number at one place", where, advice))
        for name, sensor in self._sensors.items():
            if sensor.tiles and sensor.modality.kind != "location":
                found += sensor_doubts(name, sensor)
        return found

    def _class_doubts(self) -> Iterator[Finding]:
        """Classes that are tested but never trained on, where the names of the parts say which is which."""
        if not {"train", "test"} <= set(self._parts):
            return
        for index, name in enumerate(self._classes):
            if self._labels["test"][index] and not self._labels["train"][index]:
                unit = "pixels" if self._task == "segment" else "tiles"
                found = f"none in train; in test: {self._labels['test'][index]:,} {unit}"
                yield Finding("doubt", "-", "-", f"class {name} in the training part", found)
