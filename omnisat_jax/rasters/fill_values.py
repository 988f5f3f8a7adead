"""Fill values that a file does not declare: numbers that stand for no data by custom, found where measurements have nothing like them.

Letters: C bands, H W pixels.
"""

import numpy as np

from omnisat_jax.rasters.grid import RasterError

CUSTOMARY = (-9999, -99999, -32768)
_PIXELS = 4  # that have the value, at least: fewer may be a coincidence
_APART = 50  # no measurement is this close to a fill value; radar in thousandths of a decibel does reach -9999, but gradually


def need_declared(values: np.ndarray, known: np.ndarray, what: str) -> None:
    """Refuses values that look like no data but count as measurements.

    Args:
      values: (C,H,W) as stored, before scale and offset.
      known: (C,H,W) bool, measurements as far as is declared.
      what: the file, for messages.

    Raises:
      RasterError: a customary fill value, isolated from all other values of its band.
    """
    if values.dtype.kind == "u" or not known.any() or values.min() > max(CUSTOMARY):
        return
    for band, (numbers, there) in enumerate(zip(values, known, strict=True)):
        for fill in CUSTOMARY:
            found = there & (numbers == fill)
            count = int(found.sum())
            if count < _PIXELS:
                continue
            with np.errstate(invalid="ignore"):
                near = there & ~found & (np.abs(numbers.astype(np.float64) - fill) < _APART)
            if not near.any():
                raise RasterError(
                    f"{what}: expected measurements, found {fill} in {count:,} pixels of band {band + 1} and nothing near it, which usually stands for no data; "
                    f"declare it in the file (gdal_edit.py -a_nodata {fill} FILE)"
                )
