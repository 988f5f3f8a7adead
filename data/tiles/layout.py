"""The form of a folder of tiles, which `cutting` writes and `reader` reads (see README.md here).

<root>/dataset.json              see `description`
<root>/<modality>/<tile>.tif     a GeoTIFF of T * C bands, date by date; a tag holds the dates of a series
<root>/labels/<tile>.tif         one band of uint8 classes
"""

DESCRIPTION = "dataset.json"
LABELS = "labels"
DATES_TAG = "omnisat_dates"  # YYYYMMDD, joined by commas
KINDS = ("series", "image")
DTYPES = ("uint8", "int16", "float32")
# Names of parts become names of files of records.
RESERVED_PARTS = frozenset({"dataset", "preparing", "manifest", "tiles", "frames", "downloads"})


def band_name(day: str, band: str) -> str:
    """The description of a band of a tile: its date, if any, and its name."""
    return f"{day} {band}".strip()
