"""What Sentinel product names and masks say."""

import datetime
import re

from data.raw import DataError

# Of the ten bands that all datasets here have; 10 and 20 m.
S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
CLOUDY = 50.0  # % snow or cloud probability above which a pixel is not a measurement
EPOCH = datetime.date(1970, 1, 1)


def product_day(tile, path, product):
    """Days since 1970-01-01 of a Sentinel product name, whose first eight-digit group before a time is the sensing date.

    Raises:
      DataError: a name without a date that exists.
    """
    text = product.decode() if isinstance(product, bytes) else str(product)
    match = re.search(r"_(\d{4})(\d{2})(\d{2})T", text)
    try:
        return (datetime.date(*map(int, match.groups())) - EPOCH).days
    except (AttributeError, ValueError) as error:
        raise DataError(tile=tile, path=path, expected="a product name with a sensing date", found=repr(text)) from error


# Level-2A numbers of processing baseline 04.00 and later are 1,000 higher (ESA, "Copernicus Sentinel-2 Processing Baseline 04.00", January 2022).
BASELINE_WITH_OFFSET = 400
BASELINE_OFFSET = 1_000


def product_baseline(product: str) -> int | None:
    """Processing baseline of a Sentinel-2 product name, 509 for N0509; None where the name has none."""
    match = re.search(r"(?<![A-Za-z0-9])N(\d{4})(?![0-9A-Za-z])", product.replace("_", " "))
    return int(match[1]) if match else None


def added_offset(baseline: int | None) -> int:
    """What the numbers of a processing baseline have in addition to reflectance x 10,000."""
    return BASELINE_OFFSET if baseline is not None and baseline >= BASELINE_WITH_OFFSET else 0
