"""Files beside a GeoTIFF that GDAL reads along with it: a mask, and metadata including the georeference."""

import os
import pathlib
import xml.etree.ElementTree

import rasterio
from rasterio.errors import RasterioError

from omnisat_jax.errors import DataError, reason
from omnisat_jax.files.paths import need_file

LARGEST_XML = 2**24  # bytes of a metadata file
MASKS = (".msk", ".MSK")
SIDECARS = (*MASKS, ".aux.xml", ".AUX.XML")
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of TIFF and BigTIFF


def need_sidecars(path: pathlib.Path, tile: str) -> None:
    """Refuses files next to a GeoTIFF that GDAL would hang on, or that refer to other files, as a VRT does.

    Args:
      path: the GeoTIFF.
      tile: ID of the tile, for messages.

    Raises:
      DataError: such a file.
    """
    for suffix in SIDECARS:
        beside = path.with_name(path.name + suffix)
        if not os.path.lexists(beside):
            continue
        need_file(beside, what="a file that accompanies a GeoTIFF", tile=tile, advice="Restore it, or remove it.")
        if suffix in MASKS:
            with open(beside, "rb") as source:
                start = source.read(4)
            if start not in MAGIC:
                raise DataError(
                    tile=tile, path=beside, expected="a mask that is a TIFF", found="another format", advice="Remove it."
                )
        else:  # GDAL silently ignores metadata that it cannot read
            try:
                if beside.stat().st_size > LARGEST_XML:
                    raise ValueError(f"{beside.stat().st_size:,} bytes")
                xml.etree.ElementTree.parse(beside)
            except (xml.etree.ElementTree.ParseError, ValueError, LookupError, OSError) as error:
                raise DataError(
                    tile=tile, path=beside, expected="metadata of an image in XML", found=reason(error), advice="Restore it, or remove it."
                ) from error


def need_mask(path: pathlib.Path, tile: str, size: tuple[int, int], used: bool) -> None:
    """Refuses a mask beside a GeoTIFF that GDAL passes over, or cannot read.

    Args:
      path: the GeoTIFF.
      tile: ID of the tile, for messages.
      size: its height and width in pixels.
      used: whether GDAL takes a mask for it.

    Raises:
      DataError: such a mask.
    """
    beside = next((mask for suffix in MASKS if os.path.exists(mask := path.with_name(path.name + suffix))), None)
    if beside is None:
        return
    try:
        with rasterio.open(beside, driver="GTiff") as mask:
            found = f"{mask.height}x{mask.width} px" if (mask.height, mask.width) != size else "" if used else "no such tag"
    except (RasterioError, OSError) as error:
        found = reason(error)
    if found:
        raise DataError(
            tile=tile, path=beside, expected=f"a mask of {size[0]}x{size[1]} px, as the image, with the tag INTERNAL_MASK_FLAGS_1",
            found=found, advice="Make it anew (gdal_translate -mask), or remove it.",
        )  # fmt: skip
