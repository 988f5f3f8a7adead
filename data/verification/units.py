"""In which unit numbers seem to be, and what is unusual about that. A guess from names of bands and ranges: shown and doubted, never acted on."""

import dataclasses
import re

import numpy as np

_RATIO = re.compile(r"[/:]|ratio|(v[vh]|h[vh])\W*[-_]\W*(v[vh]|h[vh])", re.I)
_RADAR = re.compile(r"(?:^|[^a-z])(vv|vh|hh|hv)(?:$|[^a-z])", re.I)
_OPTICAL = re.compile(
    r"b(and)?[ _-]?\d{1,2}a?|r|g|b|n|red|green|blue|nir|pan|coastal\w*|cirrus|yellow|swir[ _-]?\d?|(red|veg)\w*[ _-]?edge[ _-]?\d?|re[ _-]?\d",
    re.I,
)
_HEIGHT = re.compile(r"n?d[ste]m|chm|z|height|elevation|altitude|canopy[ _]?height", re.I)
_INDEX = re.compile(r"(nd|e|sa|ms|nb)\w{0,3}[vwrsb]i?\d?|nbr|evi\d?|savi", re.I)
_RADAR_SENSOR = re.compile(r"s1|sar|sentinel-?_?1|radar|palsar|alos", re.I)
_OPTICAL_SENSOR = re.compile(r"s2|sentinel-?_?2|l[5789]|landsat|hls|planet|optical|modis|spot", re.I)

BACKSCATTER, RATIO, REFLECTANCE, HEIGHT, INDEX, PLACE, UNKNOWN = (
    "backscatter", "ratio", "reflectance", "height", "index", "place", "",
)  # fmt: skip
DECIBELS, LINEAR, TEN_THOUSAND, UNIT, EIGHT_BIT, DEGREES = "dB", "linear power", "x 10,000", "0 to 1", "8 bit", "degrees"
OFFSET = 1_000  # of Sentinel-2 reflectance x 10,000 since processing baseline 04.00
DIMMEST, BRIGHTEST = 20, 6_000  # medians of reflectance x 10,000 over ground
DARK = 950  # reflectance x 10,000 below which shadow and water lie everywhere on Earth, unless the numbers have that offset
CROSS = 1.5  # dB by which cross-polarised backscatter is below co-polarised one at least; 5 to 9 are usual
FAINTEST = -60  # dB, far below the noise of any radar in space
# Beyond these no number of that quantity is a measurement, whatever its unit: it is a fill value.
FILL = {BACKSCATTER: (-200, 1e6), REFLECTANCE: (-9_990, 65_535), HEIGHT: (-9_000, 9_900), UNKNOWN: (-9_990, 1e10)}


@dataclasses.dataclass(frozen=True)
class Range:
    """Of one band: smallest and largest known number, 1 %, median and 99 %."""

    low: float
    first: float
    median: float
    last: float
    high: float


def quantity_of(sensor: str, band: str, kind: str) -> str:
    """What a band of a modality measures, or UNKNOWN."""
    if kind == "location":
        return PLACE
    if _RATIO.search(band):
        return RATIO
    if _RADAR.search(band):
        return BACKSCATTER
    for pattern, quantity in ((_HEIGHT, HEIGHT), (_OPTICAL, REFLECTANCE), (_INDEX, INDEX)):
        if pattern.fullmatch(band):
            return quantity
    for pattern, quantity in ((_RADAR_SENSOR, BACKSCATTER), (_OPTICAL_SENSOR, REFLECTANCE)):
        if pattern.match(sensor):
            return quantity
    return UNKNOWN


def unit_of(quantity: str, dtype: str, levels: Range) -> str:
    """The unit that fits the numbers best; "?" where none does, "" where nothing is known of the quantity."""
    if dtype == "uint8":
        return EIGHT_BIT
    if quantity == BACKSCATTER:
        return backscatter_unit(levels.first, levels.median, levels.last)
    if quantity == REFLECTANCE:
        unit = reflectance_unit(levels.median, levels.last)
        return unit if dtype.startswith("float") or unit == TEN_THOUSAND else "?"
    return {PLACE: DEGREES, HEIGHT: "m", RATIO: "", INDEX: "", UNKNOWN: ""}[quantity]


def backscatter_unit(first, median, last) -> str:
    """Of radar, from its 1 %, median and 99 %."""
    if -45 <= median < 0 and last < 40 and first > -90:
        return DECIBELS
    if first >= 0 and median <= 3:
        return LINEAR
    if first >= 0:
        return "digital numbers"
    return "dB x 100" if -4_500 <= median <= -100 else "?"


def reflectance_unit(median, last) -> str:
    """Of optical reflectance, from its median and 99 %."""
    if 0 < median <= 1 and last <= 5:
        return UNIT
    if 1 < median <= 100 and last <= 200:
        return "%"
    return TEN_THOUSAND if DIMMEST <= median <= 20_000 else "?"


def fill_values(quantity: str, low: float, high: float) -> str:
    """Numbers of one tile that cannot be measurements, in words; "" where there is none."""
    floor, ceiling = FILL.get(quantity, FILL[UNKNOWN])
    wrong = [f"{number:.10g}" for number, beyond in ((low, low <= floor), (high, high >= ceiling)) if beyond]
    return " and ".join(wrong)


def doubt_of(quantity: str, dtype: str, unit: str, levels: Range) -> tuple[str, str, str, str] | None:
    """(expected, found, what that looks like, advice) where the numbers of one band, over all tiles, are unusual; None where they are as usual."""
    found = f"{say(levels.first)} to {say(levels.last)} (1 % to 99 %), median {say(levels.median)}"
    if levels.low == levels.high:
        return "numbers that vary", f"{say(levels.low)} everywhere", "", "Look whether the band was written as it should be."
    if unit == EIGHT_BIT:
        if quantity != HEIGHT and (levels.last < 32 or levels.first > 223):
            return "8-bit numbers that use their range of 0 to 255", found, "", "Look whether the image was scaled right."
        return None
    if quantity == BACKSCATTER:
        return _backscatter_doubt(unit, levels, found)
    if quantity == REFLECTANCE:
        return _reflectance_doubt(unit, levels, found)
    if quantity == HEIGHT and not -430 <= levels.low <= levels.high <= 8_900:
        return "heights of -430 to 8,900 m", f"{say(levels.low)} to {say(levels.high)}", "", "Look for fill values."
    return None


def _backscatter_doubt(unit, levels, found):
    if unit != DECIBELS:
        looks = (
            f"looks like {unit} or amplitude"
            if unit == LINEAR
            else "looks like no usual unit"
            if unit == "?"
            else f"looks like {unit}"
        )
        advice = "Power p is 10 log10(p) dB, amplitude a is 20 log10(a) dB." if unit == LINEAR else "Look at how it was calibrated."
        return "backscatter in dB, mostly -30 to 5; -12 is usual", found, looks, advice
    if levels.low < FAINTEST:
        advice = "Look for pixels that were zero before they became dB."
        return f"backscatter of {FAINTEST:g} dB and more, as less cannot be measured", f"down to {say(levels.low)}", "", advice
    return None


def _reflectance_doubt(unit, levels, found):
    if unit not in (TEN_THOUSAND, UNIT):
        looks = "looks like per cent" if unit == "%" else "looks like no usual unit"
        return "reflectance x 10,000, or from 0 to 1", found, looks, "Look at its scale and offset."
    scale = 1 if unit == UNIT else 10_000
    if levels.low < -0.2 * scale:
        advice = "Look for fill values, and integers that wrapped round."
        return f"reflectance of {say(-0.1 * scale)} and more", f"down to {say(levels.low)}", "", advice
    if levels.first < -0.02 * scale:
        found = f"1 % below {say(levels.first)}"
        return "hardly any negative reflectance", found, "", "Look whether an offset was taken off twice."
    if levels.median > BRIGHTEST / 10_000 * scale:
        return "ground: reflectance below 0.6", found, "clouds, snow, or another scale", "Look at it with data.show."
    return None


def mixed_units(quantity: str, dtype: str, levels: np.ndarray) -> np.ndarray | None:
    """Which of many single levels (medians of dates or tiles) are of the rarer kind where two units are mixed, bool; None where they are not."""
    if dtype == "uint8" or quantity not in (BACKSCATTER, REFLECTANCE):
        return None
    with np.errstate(invalid="ignore"):
        small = levels >= 0 if quantity == BACKSCATTER else np.abs(levels) <= 2
        large = levels < -2 if quantity == BACKSCATTER else np.abs(levels) >= 20
    if not small.any() or not large.any():
        return None
    return small if small.sum() <= large.sum() else large


def say(number: float) -> str:
    """A number as short as it can be read: three digits that count, thousands in groups."""
    if not np.isfinite(number):
        return "-"
    if abs(number) >= 1e7:
        return f"{number:.3g}"
    if abs(number) >= 100 or float(number).is_integer():
        return f"{number:,.0f}"
    return f"{number:.3g}"
