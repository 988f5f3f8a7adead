"""Whether the values of two datasets can have the same unit."""

from collections.abc import Sequence

# Standard deviations of a band that differ by this factor mean another unit, such as power instead of dB. Landscapes differ by less.
OTHER_UNIT = 20.0


def band_of_other_unit(expected: Sequence[float], found: Sequence[float]) -> int | None:
    """Position of the first band whose values cannot have the expected unit; None if all can.

    Args:
      expected, found: standard deviation of each band.
    """
    pairs = zip(expected, found, strict=True)
    return next((position for position, (a, b) in enumerate(pairs) if not a / OTHER_UNIT <= b <= OTHER_UNIT * a), None)
