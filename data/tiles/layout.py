"""The form of a folder of tiles, which `cutting` writes and `reader` reads (see README.md here).

<root>/dataset.json              see `description`
<root>/<modality>/<tile>.tif     a GeoTIFF of T * C bands, date by date; a tag holds the dates of a series
<root>/labels/<tile>.tif         one band of uint8 classes
"""

import datetime
import re

from data.reading.raw import parse_date
from omnisat_jax.modalities import LOCATION, RESERVED

DESCRIPTION = "dataset.json"
LABELS = "labels"
DATES_TAG = "omnisat_dates"  # YYYYMMDD, joined by commas
KINDS = ("series", "image")
DTYPES = ("uint8", "int16", "float32")
# Names of sensors become names of folders, of configuration keys (--config.modalities.NAME) and of entries of records.
SENSOR = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
RESERVED_SENSORS = RESERVED | {LOCATION}
# Names of parts become names of files of records.
RESERVED_PARTS = frozenset({"dataset", "preparing", "manifest", "tiles", "frames", "downloads"})


def parse_day(text: str) -> datetime.date | None:
    """The date YYYYMMDD; None if there is no such day (see `raw.parse_date`)."""
    try:
        return parse_date(text)
    except ValueError:
        return None


def band_name(day: str, band: str) -> str:
    """The description of a band of a tile: its date, if any, and its name."""
    return f"{day} {band}".strip()
