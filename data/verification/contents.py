"""What a dataset holds, gathered tile by tile: ranges and units, unknown shares, classes, parcels, calendars; and what is unusual about it."""

import collections

import numpy as np

from data.verification import units
from data.verification.calendars import Calendar, day
from data.verification.facts import SensorFacts, TileFacts
from data.verification.histogram import Histogram
from data.verification.units import Range
from omnisat_jax.errors import Finding

QUANTILES = (0.01, 0.5, 0.99)
NEW_BASELINE = 19_017  # 2022-01-25 in days since 1970-01-01: from here on Level-2A numbers are 1,000 higher
FAR = 0.2  # degrees: no parcel is that large
NAMED = 5  # tiles that a doubt names


class _Sensor:
    """One modality over all tiles."""

    def __init__(self, name, modality):
        self.modality, count = modality, modality.shape[-1] if modality.kind != "location" else 2
        self.bands = [modality.bands[i] if i < len(modality.bands) else f"band {i + 1}" for i in range(count)]
        self.quantities = [units.quantity_of(name, band, modality.kind) for band in self.bands]
        self.histograms = [Histogram() for _ in self.bands]
        self.unknown, self.total, self.tiles = np.zeros(count, np.int64), 0, []
        self.low, self.high = np.full(count, np.inf), np.full(count, -np.inf)
        self.calendar, self.levels, self.when, self.dark, self.whose = Calendar(), [], [], [], []

    def add(self, tile, facts: SensorFacts):
        for histogram, (codes, counts) in zip(self.histograms, facts.counts, strict=True):
            histogram.add(codes, counts)
        self.unknown, self.total = self.unknown + facts.unknown, self.total + facts.total
        self.low, self.high = np.fmin(self.low, facts.low), np.fmax(self.high, facts.high)
        self.tiles.append(tile)
        if len(facts.dates):
            self.calendar.add(tile, facts.dates)
        self.levels.append(facts.levels)
        self.dark.append(facts.dark)
        self.when.append(facts.dates if len(facts.dates) else np.zeros(len(facts.levels), np.int32))
        self.whose.append(np.full(len(facts.levels), len(self.tiles) - 1))

    def ranges(self) -> list[Range | None]:
        found = [histogram.quantiles(QUANTILES) for histogram in self.histograms]
        return [
            Range(float(low), *np.clip(quantiles, low, high).tolist(), float(high)) if quantiles else None
            for low, quantiles, high in zip(self.low, found, self.high, strict=True)
        ]

    def units(self, ranges) -> list[str]:
        return [
            units.unit_of(quantity, self.modality.dtype, levels) if levels else ""
            for quantity, levels in zip(self.quantities, ranges, strict=True)
        ]


class Contents:
    """What is in the tiles that were added. Everything it needs of a dataset are its names."""

    def __init__(self, *, modalities, parts, classes, task: str):
        """modalities: name -> RawModality or ModalityInfo; parts: name -> tile ids; classes: names; task: "segment" or "classify"."""
        self._sensors = {name: _Sensor(name, modality) for name, modality in modalities.items()}
        self._parts, self._classes, self._task = parts, tuple(classes), task
        self._part_of = {tile: part for part, tiles in parts.items() for tile in tiles}
        dense = task == "segment"
        self._labels = {part: np.zeros(len(self._classes) + dense, np.int64) for part in parts}
        self._read = dict.fromkeys(parts, 0)  # tiles whose labels could be read
        self._unlabelled = dict.fromkeys(parts, 0)
        self._parcels = collections.defaultdict(set)  # number -> parts
        self._extents = {}  # number of a parcel -> least and greatest (longitude, latitude) of the centres of its tiles

    def add(self, facts: TileFacts) -> None:
        """Counts one tile."""
        part = self._part_of[facts.tile]
        for name, sensor in facts.sensors.items():
            self._sensors[name].add(facts.tile, sensor)
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

    def to_json(self) -> dict:
        """Everything as plain values; what nothing is known of is null."""
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

    def _modality(self, sensor):
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
        found = []
        for part, tiles in self._parts.items():
            labels = self._labels[part][: len(self._classes)]
            if tiles and self._read[part] and not labels.any():
                found.append(Finding("unknown", "-", "-", f"labels in part {part}", f"none in its {self._read[part]:,} tiles"))
        found += self._class_doubts()
        apart = sum((high - low).max() > FAR for low, high in self._extents.values())
        if apart:
            said = f"{apart:,} of {len(self._parcels):,} numbers in tiles that are more than {FAR:g} degrees apart"
            advice = "Numbers that are counted anew at each place need its location_id in the metadata, or labels are made void for nothing."
            found.append(Finding("doubt", "-", "-", "each number of a parcel at one place", said, advice))
        for name, sensor in self._sensors.items():
            if sensor.tiles and sensor.modality.kind != "location":
                found += _sensor_doubts(name, sensor)
        return found

    def _class_doubts(self):
        """Classes that are tested but never trained on, where the parts say which those are."""
        if not {"train", "test"} <= set(self._parts):
            return
        for index, name in enumerate(self._classes):
            if self._labels["test"][index] and not self._labels["train"][index]:
                unit = "pixels" if self._task == "segment" else "tiles"
                found = f"none in train; in test: {self._labels['test'][index]:,} {unit}"
                yield Finding("doubt", "-", "-", f"class {name} in the part that trains", found)


def _sensor_doubts(name, sensor):
    ranges = sensor.ranges()
    told = collections.defaultdict(list)  # what is unusual in the same way of several bands is said once
    for band, quantity, unit, levels in zip(sensor.bands, sensor.quantities, sensor.units(ranges), ranges, strict=True):
        if levels and (doubt := units.doubt_of(quantity, sensor.modality.dtype, unit, levels)):
            expected, found, looks, advice = doubt
            told[expected, looks, advice].append(f"{band} {found}")
    for (expected, looks, advice), bands in told.items():
        found = "; ".join(bands[:4]) + (f"; and {len(bands) - 4} more bands" if len(bands) > 4 else "")
        yield Finding("doubt", "-", name, expected, found + (f": {looks}" if looks else ""), advice)
    yield from _mixtures(name, sensor)
    yield from _offset(name, sensor)
    yield from _polarisations(name, sensor, ranges)
    for tile, expected, found in sensor.calendar.outside():
        yield Finding("doubt", tile, name, expected, found)


def _mixtures(name, sensor):
    """Tiles or dates of another unit than the others."""
    levels, when, whose = np.concatenate(sensor.levels), np.concatenate(sensor.when), np.concatenate(sensor.whose)
    for quantity in (units.BACKSCATTER, units.REFLECTANCE):
        bands = [i for i, found in enumerate(sensor.quantities) if found == quantity]
        level = np.array([_median(row) for row in levels[:, bands]]) if bands else None
        odd = units.mixed_units(quantity, sensor.modality.dtype, level) if bands else None
        if odd is None:
            continue
        usual, rare = np.nanmedian(level[~odd]), np.nanmedian(level[odd])
        tiles = list(dict.fromkeys(sensor.tiles[i] for i in whose[odd]))
        date = f", first {day(when[odd].min())}" if sensor.modality.kind == "series" else ""
        yield Finding(
            "doubt", "-", name, f"one unit of {quantity}: the usual median of an image is {units.say(usual)}",
            f"a median of {units.say(rare)} in {odd.sum():,} of {len(odd):,} images, of {len(tiles):,} tiles ({_some(tiles)}{date})",
            "Bring all to one unit.",
        )  # fmt: skip


def _offset(name, sensor):
    """Reflectance x 10,000 that is nowhere dark: everywhere, or from the day on which the numbers of Level-2A became 1,000 higher."""
    bands = [i for i, quantity in enumerate(sensor.quantities) if quantity == units.REFLECTANCE]
    if not bands or sensor.modality.dtype == "uint8" or sensor.modality.kind != "series":
        return
    dark, when = np.concatenate(sensor.dark), np.concatenate(sensor.when)
    levels = np.concatenate(sensor.levels)[:, bands]
    known = np.isfinite(dark)
    if not known.any() or not units.DIMMEST < np.nanmedian(levels) < units.BRIGHTEST:
        return
    old, new = known & (when < NEW_BASELINE), known & (when >= NEW_BASELINE)
    advice = "Take 1,000 off the numbers of processing baseline 04.00 and later, of all dates alike."
    bright = f"the darkest pixels from {units.say(dark[new].min())} on" if new.any() else ""
    if old.any() and new.any() and dark[new].min() >= units.DARK > dark[old].min():
        found = f"{bright} from {day(when[new].min())} on, from {units.say(dark[old].min())} on before"
        yield Finding("doubt", "-", name, "reflectance x 10,000 of one processing baseline", found, advice)
    elif dark[known].min() >= units.DARK:
        found = f"no image with a pixel below {units.say(dark[known].min())}: looks like reflectance x 10,000 + 1,000"
        yield Finding("doubt", "-", name, "dark pixels (water, shadow) below 1,000 in some image", found, advice)


def _polarisations(name, sensor, ranges):
    """Tiles where cross-polarised backscatter is as strong as co-polarised one."""
    names = [band.upper() for band in sensor.bands]
    for co, cross in (("VV", "VH"), ("HH", "HV")):
        if co not in names or cross not in names:
            continue
        a, b = names.index(co), names.index(cross)
        units_found = sensor.units(ranges)
        if (units_found[a], units_found[b]) != (units.DECIBELS, units.DECIBELS):
            continue
        above = np.array([_median(levels[:, a] - levels[:, b]) for levels in sensor.levels])
        decibels = np.array(
            [_median(levels[:, b]) < 0 for levels in sensor.levels]
        )  # others are of another unit, which is said elsewhere
        odd = np.flatnonzero((above < units.CROSS) & decibels)
        if len(odd):
            tiles = [sensor.tiles[i] for i in odd]
            found = f"{np.round(np.median(above[odd]), 1) + 0:.1f} dB in {len(odd):,} of {len(above):,} tiles ({_some(tiles)})"
            advice = "Look whether the bands are what they are called."
            yield Finding("doubt", "-", name, f"{cross} some 5 to 9 dB below {co}", found, advice)


def _some(tiles):
    return ", ".join(tiles[:NAMED]) + (", ..." if len(tiles) > NAMED else "")


def _median(values):
    values = values[np.isfinite(values)]
    return np.median(values) if len(values) else np.nan
