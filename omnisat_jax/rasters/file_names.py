"""What the names of image files say: the day of sensing, and formats that must be converted first."""

import os
import pathlib
import re
from collections.abc import Sequence

from omnisat_jax.dates import find_date
from omnisat_jax.rasters.grid import RasterError

_DATE = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)", re.ASCII)
# About a file of the user's own, which no archive holds.
ADVICE = "Check the path, and whether gdalinfo reads it; download or export it again, or remove it."
_RASTER_FORMATS = (".vrt", ".jp2", ".j2k", ".img", ".nc", ".hdf", ".h5", ".png", ".jpg", ".jpeg", ".asc", ".ecw", ".sid", ".bil", ".zarr")
_VECTOR_FORMATS = (".gpkg", ".geojson", ".json", ".shp", ".fgb", ".parquet", ".geoparquet", ".kml", ".gml", ".gdb")
_S2_PRODUCT = re.compile(r"S2[A-D]_MSIL[12][AC]_\d{8}T", re.ASCII)


def format_advice(path: str | os.PathLike) -> str:
    """What to do about a file that is no GeoTIFF, by the ending of its name."""
    suffix = pathlib.Path(path).suffix.lower()
    if suffix in _RASTER_FORMATS:
        return "Convert it first (gdal_translate)."
    return "Rasterize it first (gdal_rasterize)." if suffix in _VECTOR_FORMATS else ADVICE


def date_of(path: str | os.PathLike) -> str | None:
    """YYYYMMDD of the first valid date in a file name, or None."""
    return next(iter(_dates(path)), None)


def series_dates(files: Sequence[pathlib.Path], one_file_per_date: bool) -> list[tuple[str, pathlib.Path]]:
    """The day of sensing of each file of a series, YYYYMMDD: the first date in its name.

    Args:
      files: of the series.
      one_file_per_date: whether two files of one date are refused. Otherwise they are parts of one image.

    Raises:
      RasterError: a name without a date; a name whose first date is later than another, as is that of an export; two files of one date.
    """
    found, first = [], {}
    for path in files:
        days = _dates(path)
        if not days:
            raise RasterError(f"{path}: expected a date in the file's name (YYYYMMDD or YYYY-MM-DD), found no valid one")
        if min(days) < days[0]:
            raise RasterError(
                f"{path}: expected the day of sensing as the first date in the file's name, found {days[0]} before {min(days)}, as if it were "
                "the day of an export; rename the files"
            )
        found.append((days[0], path))
    for day, path in found:
        earlier = first.setdefault(day, path)
        if earlier != path and _named_after_another_date(earlier, path, files, one_file_per_date):
            raise RasterError(
                f"{path}: expected the day of sensing as the first date in the file's name, found {day}, as in {earlier.name}, while other dates in "
                "the names differ; rename the files, or join those of one day"
            )
        if earlier != path and one_file_per_date:
            raise RasterError(
                f"{path}: expected one file per date, found {earlier.name} of the same date; join them first: bands by gdal_merge.py -separate, "
                "parts of an image by gdal_merge.py"
            )
    return found


def _named_after_another_date(earlier, path, files, one_file_per_date):
    """Whether the first date in the names may be that of something else, such as the version of a grid."""
    if any(_S2_PRODUCT.match(file.name) for file in (earlier, path)):
        return False  # the last date is that of processing
    if one_file_per_date:
        return _dates(earlier)[1:] != _dates(path)[1:]
    days = [_dates(file) for file in files]
    seconds = {found[1] for found in days if len(found) > 1}
    return len({found[0] for found in days}) == 1 and len(seconds) == len(files)


def _dates(path: str | os.PathLike) -> list[str]:
    """YYYYMMDD of every valid date in a file name, in order."""
    return [day for match in _DATE.finditer(pathlib.Path(path).stem) if find_date(day := "".join(match.groups()))]
