"""Histograms of values, gathered from many tiles and processes; quantiles to 0.1 %."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

KEPT = 18  # leading bits of a float32 that are counted: sign, exponent, 10 significant bits; whole numbers up to 1,024 are exact
CODES = 2**KEPT
SORTED = 2**14  # fewer values than this are sorted, which takes less time than to go through all codes
_DROPPED = 32 - KEPT
_SIGN = np.uint32(2**31)


def codes_of(values: ArrayLike) -> np.ndarray:
    """Codes (N,) int64 in [0, CODES) of finite values (N,). Codes are ordered as the values are."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    negative = bits >= _SIGN
    magnitude = (bits & (_SIGN - 1)).astype(np.int64)
    rounded = np.minimum(magnitude + (1 << (_DROPPED - 1)), 2**31 - 1) >> _DROPPED
    half = CODES // 2
    return np.where(negative, half - 1 - rounded, half + rounded)


def values_of(codes: ArrayLike) -> np.ndarray:
    """The float64 values that codes stand for."""
    codes, half = np.asarray(codes, np.int64), CODES // 2
    negative = codes < half
    bits = (np.where(negative, half - 1 - codes, codes - half) << _DROPPED).astype(np.uint32)
    return np.where(negative, -1.0, 1.0) * bits.view(np.float32).astype(np.float64)


def sparse(values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(codes, counts) of finite values (N,), small enough to send to another process."""
    found = codes_of(values)
    if len(found) < SORTED:
        return np.unique(found, return_counts=True)
    counts = np.bincount(found, minlength=CODES)
    codes = np.flatnonzero(counts)
    return codes, counts[codes]


class Histogram:
    """Counts of values."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODES, np.int64)

    def add(self, codes: np.ndarray, counts: np.ndarray) -> None:
        """Adds what `sparse` returned."""
        self._counts[codes] += counts

    def quantiles(self, shares: Sequence[float]) -> list[float] | None:
        """The quantiles at these shares; None if nothing was counted."""
        sums = np.cumsum(self._counts)
        if not sums[-1]:
            return None
        ranks = np.maximum(1, np.ceil(np.asarray(shares) * sums[-1]))
        return values_of(np.searchsorted(sums, ranks)).tolist()
