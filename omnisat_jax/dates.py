"""Days as integers: where they are counted from, and which dates of a long series are used.

Training, evaluation and `omnisat_jax.Model` share these rules. Letters: T dates.
"""

import datetime
import re
from collections.abc import Sequence

import numpy as np

EPOCH = datetime.date(1970, 1, 1)  # day 0 of stored dates
RULES = ("season", "year")  # values of data.origin by which day 0 follows from the dates of each tile
YEARS = (1970, 2100)  # first and last plausible year of an image


def parse_date(text: str) -> datetime.date:
    """The date YYYYMMDD.

    Raises:
      ValueError: no such day, or a year outside YEARS.
    """
    match = re.fullmatch(r"([0-9]{4})([0-9]{2})([0-9]{2})", text)
    if not match:
        raise ValueError(f"{text[:20]!r} is not a date YYYYMMDD")
    day = datetime.date(*map(int, match.groups()))
    if not YEARS[0] <= day.year <= YEARS[1]:
        raise ValueError(f"the year {day.year} is not between {YEARS[0]} and {YEARS[1]}")
    return day


def find_date(text: str) -> datetime.date | None:
    """The date YYYYMMDD; None if there is no such day."""
    try:
        return parse_date(text)
    except ValueError:
        return None


def choose_dates(valid: np.ndarray, limit: int, rng: np.random.Generator | None) -> np.ndarray:
    """Returns which dates of a series to use.

    Args:
      valid: (T,) bool, which dates can be used.
      limit: the largest number of dates.
      rng: draws them; None = evenly spaced ones.

    Returns:
      At most `limit` positions, ascending. Valid dates come first; invalid ones only fill what is left.
    """
    usable = np.flatnonzero(valid)
    if len(usable) <= limit:
        rest = np.flatnonzero(~valid)[: limit - len(usable)]
        return np.sort(np.concatenate([usable, rest]))
    if rng is None:
        return usable[np.round(np.linspace(0, len(usable) - 1, limit)).astype(int)]
    return np.sort(rng.choice(usable, limit, replace=False))


def day_zero(origin: str, series: Sequence[np.ndarray]) -> int:
    """Returns the day, as days since 1970-01-01, that the dates of a tile are counted from.

    Args:
      origin: `data.origin` of the configuration. An ISO day is the same for every tile. "season" is the last 1 September before the middle of
        the tile's dates, "year" the 1 January of the year in which that middle lies.
      series: the dates of each series of the tile, as days since 1970-01-01.
    """
    if origin not in RULES:
        return (datetime.date.fromisoformat(origin) - EPOCH).days
    dates = np.concatenate([np.asarray(d) for d in series] or [np.zeros(0, int)])
    if not len(dates):
        return 0
    middle = EPOCH + datetime.timedelta(int(np.median(dates)))
    if origin == "year":
        return (datetime.date(middle.year, 1, 1) - EPOCH).days
    return (datetime.date(middle.year - (middle.month < 9), 9, 1) - EPOCH).days
