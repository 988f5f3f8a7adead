"""Sentinel products: sensing dates and processing baselines from their names, the offset of Level-2A values, cloud masks, decibels."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from data.reading.raw import DataError, known_values, parse_day_number
from omnisat_jax.errors import Finding
from omnisat_jax.rasters.offset import BASELINE_OFFSET, BASELINE_WITH_OFFSET, product_baseline
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

# The ten bands of 10 and 20 m, which all datasets here have.
S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
CLOUDY = 50.0  # snow or cloud probability, %, above which a pixel is not a measurement
# Level-2A reflectance x 10,000: values at or below this are fill values.
LOWEST = -9_999
# If more than this share of values is below this, an offset was subtracted that had not been added, or twice.
IMPLAUSIBLE, IMPLAUSIBLE_SHARE = -500, 0.01
NEGATIVE_SHARE = 0.01  # of radar values, above which they cannot be linear power


def product_day(tile: str, path: StrPath, product: str) -> int:
    """Days since 1970-01-01 of a Sentinel product, from the sensing date in its name (the first eight digits before a time).

    Raises:
      DataError: a name without a valid date.
    """
    match = re.search(r"_([0-9]{8})T", product)
    try:
        return parse_day_number(match[1] if match else "")
    except ValueError as error:
        found = f"{product!r} ({error})" if match else repr(product)
        raise DataError(tile=tile, path=path, expected="a product name with a sensing date", found=found) from error


def added_offset(baseline: int | None) -> int:
    """The offset that a processing baseline adds to reflectance x 10,000."""
    return BASELINE_OFFSET if baseline is not None and baseline >= BASELINE_WITH_OFFSET else 0


def measured(values: np.ndarray, bands: int = -1) -> np.ndarray:
    """Which pixels of Level-2A values are measurements: no band is unknown or a fill value, and not all bands are 0.

    Args:
      values: any shape with an axis of bands.
      bands: that axis.

    Returns:
      bool, without the axis of bands.
    """
    known = (values > LOWEST).all(bands) & (values != 0).any(bands)
    return known & known_values(values).all(bands) if values.dtype.kind == "f" else known


def harmonise(values: np.ndarray, known: np.ndarray, products: Sequence[str], *, tile: str, path: StrPath) -> np.ndarray:
    """Brings Level-2A values to one scale, whatever the processing baseline of each date.

    Args:
      values: (T,...,C).
      known: (T,...) bool, see `measured`.
      products: T product names.
      tile, path: for messages.

    Returns:
      The values, less the offset of the baseline of each date.

    Raises:
      DataError: values that are too low to have the offset, so that they seem to be harmonized already.
    """
    offsets = np.array([added_offset(product_baseline(product)) for product in products])
    if not offsets.any():
        return values
    wider = values if values.dtype.kind == "f" else values.astype(np.int32)
    wider = wider - offsets.astype(wider.dtype).reshape(-1, *[1] * (values.ndim - 1))
    low = implausible_share(wider[offsets > 0], known[offsets > 0])
    if low > IMPLAUSIBLE_SHARE:
        raise DataError(
            tile=tile, path=path, expected=f"values with an offset of {BASELINE_OFFSET:,}, as the product names imply (N0400 or later)",
            found=f"{100 * low:.0f} % of them below {IMPLAUSIBLE:,} without it", kind="baseline",
            advice="If they are harmonized already, give the product names the baseline that they follow, such as N0214.",
        )  # fmt: skip
    return wider


def implausible_share(values: np.ndarray, known: np.ndarray) -> float:
    """Share of the known values (N,...,C) that are too low for reflectance; known (N,...) bool."""
    count = int(known.sum()) * values.shape[-1]
    return float(((values < IMPLAUSIBLE) & known[..., None]).sum() / count) if count else 0.0


def inspect_baselines(
    values: np.ndarray, known: np.ndarray, products: Sequence[str], *, tile: str, path: StrPath
) -> Iterator[Finding]:
    """Findings about the scale of Level-2A values. Offsets that `harmonise` removes are only a doubt.

    Args:
      values, known, products, tile, path: see `harmonise`.
    """
    if not products:
        return
    baselines = [product_baseline(product) for product in products]
    later = [baseline for baseline in baselines if baseline is not None and added_offset(baseline)]
    names = ", ".join(f"N{baseline:04d}" for baseline in sorted(set(later)))
    if later and None in baselines:
        expected = f"a processing baseline in the name of every product, as values of {names} are {BASELINE_OFFSET:,} higher"
        found = f"none for {baselines.count(None)} of {number_of(len(products), 'date')}, such as {products[baselines.index(None)]!r}"
        yield Finding("baseline", tile, str(path), expected, found, "Add it, such as N0214: it is unknown whether these dates have the offset.")
    elif later:
        found = f"{names} for {len(later)} of {number_of(len(products), 'date')}, from whose values {BASELINE_OFFSET:,} is subtracted"
        yield Finding("doubt", tile, str(path), "products of one scale, before baseline 04.00", found)
    elif (low := implausible_share(values, known)) > IMPLAUSIBLE_SHARE:
        expected = f"reflectance x 10,000, hardly ever below {IMPLAUSIBLE:,}"
        found = f"{100 * low:.0f} % of the values below it: an offset may have been subtracted twice"
        yield Finding("baseline", tile, str(path), expected, found)


def cloudy(probability: np.ndarray) -> np.ndarray:
    """(T,H,W) bool from snow and cloud probabilities (T,2,H,W), %. Unknown probabilities count as cloud."""
    return np.any(np.nan_to_num(probability, nan=100.0) > CLOUDY, axis=1)


def decibels(linear: np.ndarray, *, tile: str, path: StrPath) -> np.ndarray:
    """10 log10 of linear power, float32; zero, negative and unknown power becomes no data (NaN).

    Raises:
      DataError: more negative values than noise explains.
    """
    known = known_values(linear)
    negative = float((known & (linear < 0)).sum() / max(known.sum(), 1))
    if negative > NEGATIVE_SHARE:
        raise DataError(
            tile=tile, path=path, expected="linear power, which is positive", found=f"{100 * negative:.0f} % negative values: this looks like dB",
            advice="Store 10 ** (dB / 10).",
        )  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(known & (linear > 0), 10 * np.log10(linear), np.nan).astype(np.float32)
