"""Are the bands of a region in the order that their names say? Recognised from the means of the training tiles.

Letters: C bands.
"""

import itertools

import numpy as np
from scipy.optimize import linear_sum_assignment

# Radar returns less power in the polarisation that was not sent, over any ground.
WEAKER = (("vv", "vh"), ("hh", "hv"))
APART = 0.25  # standard deviations by which the training means of two polarisations must differ to tell them apart
AWAY, FITS = 2.0, 0.5  # standard deviations: of the worst band as it is named, and of every band once the names are exchanged


def exchanged(bands: tuple[str, ...], found: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[str, ...] | None:
    """What the bands of a sensor seem to hold.

    Args:
      bands: their names in model order.
      found: (C,) their means in the region.
      mean, std: (C,) of the training tiles.

    Returns:
      For each band the name of that whose values it seems to have; None if nothing speaks against their names.
    """
    return _polarisations(bands, found, mean, std) or _any_order(bands, found, mean, std)


def _polarisations(bands: tuple[str, ...], found: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[str, ...] | None:
    """Whether the weaker polarisation is clearly the stronger one here. By how much they differ depends on the ground, which comes first does not."""
    places = {band.strip().casefold(): position for position, band in enumerate(bands)}
    for strong, weak in WEAKER:
        if strong not in places or weak not in places:
            continue
        i, j = places[strong], places[weak]
        gap = mean[i] - mean[j]
        if gap > APART * min(std[i], std[j]) and found[i] - found[j] < -gap / 4:
            order = list(bands)
            order[i], order[j] = bands[j], bands[i]
            return tuple(order)
    return None


def _any_order(bands: tuple[str, ...], found: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[str, ...] | None:
    """The order in which all bands fit the training tiles, if they do not fit as they are named."""
    distance = np.abs(found[:, None] - mean) / std  # of each band to each name
    if np.diagonal(distance).max() < AWAY:
        return None
    rows, columns = linear_sum_assignment(distance**2)
    if distance[rows, columns].max() > FITS or (columns == rows).all():
        return None
    return tuple(bands[column] for column in columns)


def exchange_text(name: str, bands: tuple[str, ...], order: tuple[str, ...]) -> str:
    """What was found and what to do about it."""
    wrong = [(band, other) for band, other in zip(bands, order, strict=True) if band != other]
    pairs = ", ".join(f"{band} has the values of {other}" for band, other in itertools.islice(wrong, 4)) + (", ..." if wrong[4:] else "")
    return (
        f"the names of its bands seem to be exchanged: {pairs}; correct them where they come from: in the descriptions of the files (rasterio: "
        f"dataset.descriptions), which count before names in the command, in the STAC items or in the cube; files without descriptions: {name}=PATH:BAND,BAND"
    )
