"""The form of a folder of tiles, which `cut` writes and `reader` reads (README.md here).

<root>/dataset.json              name, citation, classes, ignore, modalities, parts
<root>/<modality>/<tile>.tif     a GeoTIFF of T * C bands, date by date; the dates of a series in its tag
<root>/labels/<tile>.tif         one band of uint8 classes
"""

DESCRIPTION = "dataset.json"
LABELS = "labels"
DATES_TAG = "omnisat_dates"  # YYYYMMDD, joined by commas
KINDS = ("series", "image")
DTYPES = ("uint8", "int16", "float32")
