"""Missing measurements: what stands for them in files, records and batches, and how they are recognized. No jax here."""

from typing import Any

import numpy as np

NO_DATA_INT16 = np.iinfo(np.int16).min  # stored by the readers in place of an unknown integer
FILL = 1e30  # magnitude above which a float is a fill value, whether or not a file declares it (undeclared ones such as -3.4e38 exist)


def measured(values: Any) -> Any:
    """Which numbers are measurements.

    Args:
      values: NumPy or JAX array, stored or normalized. In int16 NO_DATA_INT16 is unknown; in floats NaN, infinities and magnitudes above
        FILL are; other integers have no unknown value.

    Returns:
      Boolean array of the same shape and library.
    """
    xp = values.__array_namespace__()
    if values.dtype == np.int16:
        return values != NO_DATA_INT16
    if xp.isdtype(values.dtype, "real floating"):
        wide = values if values.dtype.itemsize > 2 else values.astype(np.float32)  # FILL is infinite in float16
        return xp.abs(wide) <= FILL
    return xp.ones(values.shape, bool)
