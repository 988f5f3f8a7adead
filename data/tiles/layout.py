"""The form of a folder of tiles, which `cut` writes and `reader` reads (README.md here).

<root>/dataset.json              see `description`
<root>/<modality>/<tile>.tif     a GeoTIFF of T * C bands, date by date; the dates of a series in its tag
<root>/labels/<tile>.tif         one band of uint8 classes
"""

import datetime
import re

from omnisat_jax.modalities import LOCATION, RESERVED

DESCRIPTION = "dataset.json"
LABELS = "labels"
DATES_TAG = "omnisat_dates"  # YYYYMMDD, joined by commas
KINDS = ("series", "image")
DTYPES = ("uint8", "int16", "float32")
# Sensors become names of folders, of settings (--config.modalities.NAME) and of entries of records.
SENSOR = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
RESERVED_SENSORS = RESERVED | {LOCATION}
# Parts become names of files of records.
RESERVED_PARTS = frozenset({"dataset", "preparing", "manifest", "tiles", "frames", "downloads"})
YEARS = (1970, 2100)  # of dates that are believed
_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII)


def parse_day(text: str) -> datetime.date | None:
    """The date of YYYYMMDD; None for anything else, a day that does not exist, or a year beyond YEARS."""
    match = _DAY.fullmatch(text)
    try:
        day = datetime.date(*map(int, match.groups())) if match else None
    except ValueError:
        return None
    return day if day and YEARS[0] <= day.year <= YEARS[1] else None


def band_name(day: str, band: str) -> str:
    """Description of a band of a tile: its date, if it has one, and its name."""
    return f"{day} {band}".strip()
