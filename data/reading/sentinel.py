"""What Sentinel product names, numbers and masks say."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from data.reading.raw import DataError, day_number, known_values
from omnisat_jax.errors import Finding

# Of the ten bands that all datasets here have; 10 and 20 m.
S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
CLOUDY = 50.0  # % snow or cloud probability above which a pixel is not a measurement
# Level-2A reflectance x 10,000: numbers at or below this are fill, not ground.
LOWEST = -9_999
# Level-2A numbers of processing baseline 04.00 and later are 1,000 higher (ESA, "Copernicus Sentinel-2 Processing Baseline 04.00", January 2022).
BASELINE_WITH_OFFSET = 400
BASELINE_OFFSET = 1_000
OWN_BASELINE = 9999  # of products that users made with Sen2Cor: it says nothing
# More than this share of numbers below this is no ground: an offset was subtracted that had not been added, or twice.
IMPLAUSIBLE, IMPLAUSIBLE_SHARE = -500, 0.01
NEGATIVE_SHARE = 0.01  # of radar numbers, above which they are no linear power


def product_day(tile, path, product: str) -> int:
    """Days since 1970-01-01 of a Sentinel product name, whose first eight-digit group before a time is the sensing date.

    Raises:
      DataError: a name without a date that exists.
    """
    match = re.search(r"_([0-9]{8})T", product)
    try:
        return day_number(match[1] if match else "")
    except ValueError as error:
        found = f"{product!r} ({error})" if match else repr(product)
        raise DataError(tile=tile, path=path, expected="a product name with a sensing date", found=found) from error


def product_baseline(product: str) -> int | None:
    """Processing baseline of a Sentinel-2 product name, 509 for N0509; None where the name has none that says anything."""
    match = re.search(r"(?<![A-Za-z0-9])N([0-9]{4})(?![0-9A-Za-z])", product.replace("_", " "))
    return int(match[1]) if match and int(match[1]) != OWN_BASELINE else None


def added_offset(baseline: int | None) -> int:
    """What the numbers of a processing baseline have in addition to reflectance x 10,000."""
    return BASELINE_OFFSET if baseline is not None and baseline >= BASELINE_WITH_OFFSET else 0


def measured(values: np.ndarray, bands: int = -1) -> np.ndarray:
    """Which pixels of Level-2A numbers are measurements: no band unknown or at the fill level, and not all of them 0.

    Args:
      values: numbers, one axis of which is `bands`.

    Returns:
      bool, without that axis.
    """
    known = (values > LOWEST).all(bands) & (values != 0).any(bands)
    return known & known_values(values).all(bands) if values.dtype.kind == "f" else known


def harmonise(values: np.ndarray, known: np.ndarray, products: Sequence[str], *, tile: str, path) -> np.ndarray:
    """Level-2A numbers of one scale, whatever baseline each date was processed with.

    Args:
      values: (T,...,C) numbers.
      known: (T,...) bool, see `measured`.
      products: T product names.

    Returns:
      The same numbers, less what the baseline of each date adds.

    Raises:
      DataError: numbers that are too low for this, so that they seem to be harmonised already.
    """
    offsets = np.array([added_offset(product_baseline(product)) for product in products])
    if not offsets.any():
        return values
    wider = values if values.dtype.kind == "f" else values.astype(np.int32)
    wider = wider - offsets.astype(wider.dtype).reshape(-1, *[1] * (values.ndim - 1))
    low = share_too_low(wider[offsets > 0], known[offsets > 0])
    if low > IMPLAUSIBLE_SHARE:
        raise DataError(
            tile=tile, path=path, expected=f"numbers that are {BASELINE_OFFSET:,} above reflectance x 10,000, as their product names say (N0400 or later)",
            found=f"{100 * low:.0f} % of them below {IMPLAUSIBLE:,} without that", kind="baseline",
            advice="If they were harmonised, name the baseline that they follow in the product names, such as N0214.",
        )  # fmt: skip
    return wider


def share_too_low(values: np.ndarray, known: np.ndarray) -> float:
    """Share of the known numbers that are too low for a reflectance."""
    count = int(known.sum()) * values.shape[-1]
    return float(((values < IMPLAUSIBLE) & known[..., None]).sum() / count) if count else 0.0


def inspect_baselines(values, known, products, *, tile: str, path) -> Iterator[Finding]:
    """Findings on the scale of Level-2A numbers; arguments as of `harmonise`. What `harmonise` mends is a doubt."""
    if not products:
        return
    baselines = [product_baseline(product) for product in products]
    later = [baseline for baseline in baselines if added_offset(baseline)]
    names = ", ".join(f"N{baseline:04d}" for baseline in sorted(set(later)))
    if later and None in baselines:
        expected = f"a processing baseline in the name of every product, as numbers of those of {names} are {BASELINE_OFFSET:,} higher"
        found = f"none for {baselines.count(None)} of {len(products)} dates, such as {products[baselines.index(None)]!r}"
        yield Finding("baseline", tile, str(path), expected, found, "Name it, such as N0214: whether the others have the offset is not known.")
    elif later:
        found = f"{names} for {len(later)} of {len(products)} dates, from whose numbers {BASELINE_OFFSET:,} is subtracted"
        yield Finding("doubt", tile, str(path), "products of one scale, before baseline 04.00", found)
    elif (low := share_too_low(values, known)) > IMPLAUSIBLE_SHARE:
        expected = f"reflectance x 10,000, hardly ever below {IMPLAUSIBLE:,}"
        found = f"{100 * low:.0f} % of the numbers below it: an offset may have been subtracted twice"
        yield Finding("baseline", tile, str(path), expected, found)


def cloudy(probability: np.ndarray) -> np.ndarray:
    """(T,H,W) bool of snow and cloud probabilities (T,2,H,W), %; where they are not known as well."""
    return (np.nan_to_num(probability, nan=100.0) > CLOUDY).any(1)


def decibels(linear: np.ndarray, *, tile: str, path) -> np.ndarray:
    """10 log10 of linear power, float32; zero, negative and unknown power is no data (NaN).

    Raises:
      DataError: more negative numbers than noise explains.
    """
    known = known_values(linear)
    negative = float((known & (linear < 0)).sum() / max(known.sum(), 1))
    if negative > NEGATIVE_SHARE:
        raise DataError(
            tile=tile, path=path, expected="linear power, which is positive", found=f"{100 * negative:.0f} % negative numbers: it looks like dB",
            advice="Store 10 ** (dB / 10).",
        )  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(known & (linear > 0), 10 * np.log10(linear), np.nan).astype(np.float32)
