"""What is unusual about the values of a modality: units, mixtures of units, offsets, polarizations, dates. Guesses, shown but never acted on."""

import collections
from collections.abc import Iterator, Sequence

import numpy as np

from data.verification import units
from data.verification.calendars import date_of
from data.verification.sensors import Sensor
from data.verification.units import Range
from omnisat_jax.errors import Finding
from omnisat_jax.words import number_of

NEW_BASELINE = 19_017  # 2022-01-25 in days since 1970-01-01: from then on, Level-2A values are 1,000 higher
NAMED = 5  # tiles that a doubt names


def sensor_doubts(name: str, sensor: Sensor) -> Iterator[Finding]:
    """Everything that is unusual about a modality.

    Args:
      name: of the modality, for messages.
      sensor: its facts over all tiles.
    """
    ranges = sensor.ranges()
    same = collections.defaultdict(list)  # bands that are unusual in the same way share one finding
    for band, quantity, unit, levels in zip(sensor.bands, sensor.quantities, sensor.units(ranges), ranges, strict=True):
        if levels and (doubt := units.doubt_of(quantity, sensor.modality.dtype, unit, levels)):
            expected, found, looks, advice = doubt
            same[expected, looks, advice].append(f"{band} {found}")
    for (expected, looks, advice), bands in same.items():
        found = "; ".join(bands[:4]) + (f"; and {len(bands) - 4} more bands" if len(bands) > 4 else "")
        yield Finding("doubt", "-", name, expected, found + (f": {looks}" if looks else ""), advice)
    yield from _mixtures(name, sensor)
    yield from _offset(name, sensor)
    yield from _polarisations(name, sensor, ranges)
    for tile, expected, found in sensor.calendar.outside():
        yield Finding("doubt", tile, name, expected, found)


def _mixtures(name: str, sensor: Sensor) -> Iterator[Finding]:
    """Tiles or dates whose unit differs from that of the others."""
    levels, when, whose = np.concatenate(sensor.levels), np.concatenate(sensor.when), np.concatenate(sensor.whose)
    for quantity in (units.BACKSCATTER, units.REFLECTANCE):
        bands = [i for i, found in enumerate(sensor.quantities) if found == quantity]
        level = np.array([_median(row) for row in levels[:, bands]])
        odd = units.mixed_units(quantity, sensor.modality.dtype, level) if bands else None
        if odd is None:
            continue
        usual, rare = np.nanmedian(level[~odd]), np.nanmedian(level[odd])
        tiles = list(dict.fromkeys(sensor.tiles[i] for i in whose[odd]))
        date = f", first {date_of(when[odd].min())}" if sensor.modality.kind == "series" else ""
        yield Finding(
            "doubt", "-", name, f"one unit of {quantity}: the usual median of an image is {units.format_value(usual)}",
            f"a median of {units.format_value(rare)} in {odd.sum():,} of {number_of(len(odd), 'image')}, of {number_of(len(tiles), 'tile')} ({_some(tiles)}{date})",
            "Convert all to one unit.",
        )  # fmt: skip


def _offset(name: str, sensor: Sensor) -> Iterator[Finding]:
    """Reflectance x 10,000 without dark pixels: on all dates, or from the day on which Level-2A values became 1,000 higher."""
    bands = [i for i, quantity in enumerate(sensor.quantities) if quantity == units.REFLECTANCE]
    if not bands or sensor.modality.dtype == "uint8" or sensor.modality.kind != "series":
        return
    dark, when = np.concatenate(sensor.dark), np.concatenate(sensor.when)
    levels = np.concatenate(sensor.levels)[:, bands]
    known = np.isfinite(dark)
    if not known.any() or not units.DIMMEST < np.nanmedian(levels) < units.BRIGHTEST:
        return
    old, new = known & (when < NEW_BASELINE), known & (when >= NEW_BASELINE)
    advice = "Subtract 1,000 from the values of processing baseline 04.00 and later."
    bright = f"the darkest pixels from {units.format_value(dark[new].min())} on" if new.any() else ""
    if old.any() and new.any() and dark[new].min() >= units.DARK > dark[old].min():
        found = f"{bright} from {date_of(when[new].min())} on, from {units.format_value(dark[old].min())} on before"
        yield Finding("doubt", "-", name, "reflectance x 10,000 of one processing baseline", found, advice)
    elif dark[known].min() >= units.DARK:
        found = f"no image with a pixel below {units.format_value(dark[known].min())}: looks like reflectance x 10,000 + 1,000"
        yield Finding("doubt", "-", name, "dark pixels (water, shadow) below 1,000 in some image", found, advice)


def _polarisations(name: str, sensor: Sensor, ranges: Sequence[Range | None]) -> Iterator[Finding]:
    """Tiles where cross-polarised backscatter is as strong as co-polarised backscatter."""
    names = [band.upper() for band in sensor.bands]
    for co, cross in (("VV", "VH"), ("HH", "HV")):
        if co not in names or cross not in names:
            continue
        a, b = names.index(co), names.index(cross)
        units_found = sensor.units(ranges)
        if (units_found[a], units_found[b]) != (units.DECIBELS, units.DECIBELS):
            continue
        above = np.array([_median(levels[:, a] - levels[:, b]) for levels in sensor.levels])
        decibels = np.array([_median(levels[:, b]) < 0 for levels in sensor.levels])  # other units are another finding
        odd = np.flatnonzero((above < units.CROSS) & decibels)
        if len(odd):
            tiles = [sensor.tiles[i] for i in odd]
            found = f"{np.round(np.median(above[odd]), 1) + 0:.1f} dB in {len(odd):,} of {number_of(len(above), 'tile')} ({_some(tiles)})"
            advice = "Check whether the bands are named correctly."
            yield Finding("doubt", "-", name, f"{cross} some 5 to 9 dB below {co}", found, advice)


def _some(tiles: Sequence[str]) -> str:
    return ", ".join(tiles[:NAMED]) + (", ..." if len(tiles) > NAMED else "")


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else np.nan
