"""Which unit values seem to have, and what is unusual about it. Guesses from band names and ranges, shown but never acted on."""

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

BACKSCATTER, RATIO, REFLECTANCE, HEIGHT, INDEX, LOCATION, UNKNOWN = (
    "backscatter", "ratio", "reflectance", "height", "index", "place", "",
)  # fmt: skip
DECIBELS, LINEAR, TEN_THOUSAND, UNIT, EIGHT_BIT, DEGREES = "dB", "linear power", "x 10,000", "0 to 1", "8 bit", "degrees"
DIMMEST, BRIGHTEST = 20, 6_000  # plausible medians of reflectance x 10,000 over ground
DARK = 950  # shadow and water are below this reflectance x 10,000 everywhere on Earth, unless the values have an offset of 1,000
CROSS = 1.5  # dB, smallest plausible difference of co- and cross-polarised backscatter; 5 to 9 are usual
FAINTEST = -60  # dB, far below the noise floor of any spaceborne radar
# Values of a quantity beyond these limits are fill values, whatever their unit.
FILL = {BACKSCATTER: (-200, 1e6), REFLECTANCE: (-9_990, 65_535), HEIGHT: (-9_000, 9_900), UNKNOWN: (-9_990, 1e10)}


@dataclasses.dataclass(frozen=True)
class Range:
    """The range of the known values of one band.

    Attributes:
      low, high: smallest and largest value.
      first, median, last: quantiles of 1 %, 50 % and 99 %.
    """

    low: float
    first: float
    median: float
    last: float
    high: float


def quantity_of(sensor: str, band: str, kind: str) -> str:
    """What a band of a modality measures, or UNKNOWN.

    Args:
      sensor: name of the modality.
      band: name of the band.
      kind: of the modality.
    """
    if kind == "location":
        return LOCATION
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
    """The unit that fits the values best; "?" if none does, "" if nothing is known about the quantity."""
    if dtype == "uint8":
        return EIGHT_BIT
    if quantity == BACKSCATTER:
        return backscatter_unit(levels.first, levels.median, levels.last)
    if quantity == REFLECTANCE:
        unit = reflectance_unit(levels.median, levels.last)
        return unit if dtype.startswith("float") or unit == TEN_THOUSAND else "?"
    return {LOCATION: DEGREES, HEIGHT: "m", RATIO: "", INDEX: "", UNKNOWN: ""}[quantity]


def backscatter_unit(first: float, median: float, last: float) -> str:
    """The unit of radar backscatter, from its quantiles of 1 %, 50 % and 99 %."""
    if -45 <= median < 0 and last < 40 and first > -90:
        return DECIBELS
    if first >= 0 and median <= 3:
        return LINEAR
    if first >= 0:
        return "digital numbers"
    return "dB x 100" if -4_500 <= median <= -100 else "?"


def reflectance_unit(median: float, last: float) -> str:
    """The unit of optical reflectance, from its median and 99 % quantile."""
    if 0 < median <= 1 and last <= 5:
        return UNIT
    if 1 < median <= 100 and last <= 200:
        return "%"
    return TEN_THOUSAND if DIMMEST <= median <= 20_000 else "?"


def fill_values(quantity: str, low: float, high: float) -> str:
    """Extremes of one tile that cannot be measurements, in words; "" if both can."""
    floor, ceiling = FILL.get(quantity, FILL[UNKNOWN])
    wrong = [f"{number:.10g}" for number, beyond in ((low, low <= floor), (high, high >= ceiling)) if beyond]
    return " and ".join(wrong)


def doubt_of(quantity: str, dtype: str, unit: str, levels: Range) -> tuple[str, str, str, str] | None:
    """(expected, found, what it looks like, advice) if the values of a band over all tiles are unusual, else None."""
    found = f"{format_value(levels.first)} to {format_value(levels.last)} (1 % to 99 %), median {format_value(levels.median)}"
    if levels.low == levels.high:
        return "values that vary", f"{format_value(levels.low)} everywhere", "", "Check how the band was written."
    if unit == EIGHT_BIT:
        if quantity != HEIGHT and (levels.last < 32 or levels.first > 223):
            return "8-bit values that use their range of 0 to 255", found, "", "Check how the image was scaled."
        return None
    if quantity == BACKSCATTER:
        return _backscatter_doubt(unit, levels, found)
    if quantity == REFLECTANCE:
        return _reflectance_doubt(unit, levels, found)
    if quantity == HEIGHT and not -430 <= levels.low <= levels.high <= 8_900:
        return "heights of -430 to 8,900 m", f"{format_value(levels.low)} to {format_value(levels.high)}", "", "Look for fill values."
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
        advice = "Power p is 10 log10(p) dB, amplitude a is 20 log10(a) dB." if unit == LINEAR else "Check its calibration."
        return "backscatter in dB, mostly -30 to 5; -12 is usual", found, looks, advice
    if levels.low < FAINTEST:
        advice = "Look for pixels that were zero before the conversion to dB."
        return f"backscatter above {FAINTEST:g} dB, below which nothing can be measured", f"down to {format_value(levels.low)}", "", advice
    return None


def _reflectance_doubt(unit, levels, found):
    if unit not in (TEN_THOUSAND, UNIT):
        looks = "looks like per cent" if unit == "%" else "looks like no usual unit"
        return "reflectance x 10,000, or from 0 to 1", found, looks, "Check its scale and offset."
    scale = 1 if unit == UNIT else 10_000
    if levels.low < -0.2 * scale:
        advice = "Look for fill values, and integers that wrapped around."
        return f"reflectance of {format_value(-0.1 * scale)} and more", f"down to {format_value(levels.low)}", "", advice
    if levels.first < -0.02 * scale:
        found = f"1 % below {format_value(levels.first)}"
        return "hardly any negative reflectance", found, "", "Check whether an offset was subtracted twice."
    if levels.median > BRIGHTEST / 10_000 * scale:
        return "ground: reflectance below 0.6", found, "clouds, snow, or another scale", "Look at it with data.show."
    return None


def mixed_units(quantity: str, dtype: str, levels: np.ndarray) -> np.ndarray | None:
    """Which of many levels (medians of dates or tiles) have the rarer unit, if two units are mixed, bool; otherwise None."""
    if dtype == "uint8" or quantity not in (BACKSCATTER, REFLECTANCE):
        return None
    with np.errstate(invalid="ignore"):
        small = levels >= 0 if quantity == BACKSCATTER else np.abs(levels) <= 2
        large = levels < -2 if quantity == BACKSCATTER else np.abs(levels) >= 20
    if not small.any() or not large.any():
        return None
    return small if small.sum() <= large.sum() else large


def format_value(number: float) -> str:
    """A value with three significant digits, thousands grouped."""
    if not np.isfinite(number):
        return "-"
    if abs(number) >= 1e7:
        return f"{number:.3g}"
    if abs(number) >= 100 or float(number).is_integer():
        return f"{number:,.0f}"
    return f"{number:.3g}"
