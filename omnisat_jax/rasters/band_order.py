"""Are bands in the order that their names say? Recognized from the means that they should have, or from radar alone.

Letters: C bands.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

# Radar returns less power in the polarization that was not sent, over any ground.
WEAKER = (("vv", "vh"), ("hh", "hv"))
APART = 0.25  # standard deviations by which the training means of two polarizations must differ to tell them apart
AWAY, FITS = 2.0, 0.5  # standard deviations: of the worst band as it is named, and of every band once the names are exchanged


def exchanged(bands: tuple[str, ...], found: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[str, ...] | None:
    """What the bands of a sensor seem to hold.

    Args:
      bands: their names in model order.
      found: (C,) their means in the region, or on a date.
      mean, std: (C,) that they should have: of the training tiles, or of the other dates.

    Returns:
      For each band the name of that whose values it seems to have; None if nothing speaks against their names.
    """
    return _polarisations(bands, found, mean, std) or _any_order(bands, found, mean, std)


def exchanged_polarisations(bands: tuple[str, ...], mean: np.ndarray, std: np.ndarray) -> tuple[str, ...] | None:
    """What the bands of radar seem to hold, where nothing else is known: the weaker polarization is not clearly the stronger one.

    Args:
      bands: their names.
      mean, std: (C,) of the bands, in one unit.

    Returns:
      As `exchanged`.
    """
    for i, j in _pairs(bands):
        if 0 < APART * min(std[i], std[j]) < mean[j] - mean[i]:
            return _swapped(bands, i, j)
    return None


def _pairs(bands: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Positions of the stronger and the weaker polarization of a pair."""
    places = {band.strip().casefold(): position for position, band in enumerate(bands)}
    return ((places[strong], places[weak]) for strong, weak in WEAKER if strong in places and weak in places)


def _swapped(bands: tuple[str, ...], i: int, j: int) -> tuple[str, ...]:
    order = list(bands)
    order[i], order[j] = bands[j], bands[i]
    return tuple(order)


def _polarisations(bands: tuple[str, ...], found: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[str, ...] | None:
    """Whether the weaker polarization is clearly the stronger one here. By how much they differ depends on the ground, which comes first does not."""
    for i, j in _pairs(bands):
        gap = mean[i] - mean[j]
        if gap > APART * min(std[i], std[j]) and found[i] - found[j] < -gap / 4:
            return _swapped(bands, i, j)
    return None


def _any_order(bands: tuple[str, ...], found: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[str, ...] | None:
    """The order in which all bands have the means that they should have, if they do not fit as they are named."""
    distance = np.abs(found[:, None] - mean) / std  # of each band to each name
    if np.diagonal(distance).max() < AWAY:
        return None
    rows, columns = linear_sum_assignment(distance**2)
    if distance[rows, columns].max() > FITS or (columns == rows).all():
        return None
    return tuple(bands[column] for column in columns)


def exchange_text(bands: tuple[str, ...], order: tuple[str, ...]) -> str:
    """What was found, in words; order: see `exchanged`."""
    wrong = [(band, other) for band, other in zip(bands, order, strict=True) if band != other]
    pairs = ", ".join(f"{band} has the values of {other}" for band, other in itertools.islice(wrong, 4)) + (", ..." if wrong[4:] else "")
    return f"the names of its bands seem to be exchanged: {pairs}"
