"""The form of a folder of tiles, which `cut` writes and `reader` reads (README.md here).

<root>/dataset.json              see `description`
<root>/<modality>/<tile>.tif     a GeoTIFF of T * C bands, date by date; the dates of a series in its tag
<root>/labels/<tile>.tif         one band of uint8 classes
"""

import datetime
import re

from data.reading.raw import day_of
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


def parse_day(text: str) -> datetime.date | None:
    """See `raw.day_of`; None where it raises."""
    try:
        return day_of(text)
    except ValueError:
        return None


def band_name(day: str, band: str) -> str:
    """Description of a band of a tile: its date, if it has one, and its name."""
    return f"{day} {band}".strip()
