"""When series were recorded: dates per tile and per month, gaps, and tiles whose dates differ from those of the others."""

import collections
import datetime
from typing import Any

import numpy as np

from omnisat_jax.dates import EPOCH

FIRST = datetime.date(1972, 7, 23)  # launch of Landsat 1: no image series of the Earth is older
ENOUGH = 10  # tiles, below which nothing can be said about what is usual
MARGIN = 60  # days


def date_of(number: int) -> datetime.date:
    """The date of a number of days since 1970-01-01, clipped to the range of dates."""
    return EPOCH + datetime.timedelta(int(np.clip(number, -719_162, 2_932_896)))


def impossible(dates: np.ndarray) -> str:
    """Which dates (T,), days since 1970-01-01, are before FIRST or in the future, in words; "" if none."""
    latest = (datetime.date.today() - EPOCH).days + 1
    wrong = [date_of(number).isoformat() for number in dates if not (FIRST - EPOCH).days <= number <= latest]
    return f"{', '.join(wrong[:3])}{' and others' if len(wrong) > 3 else ''}"


class Calendar:
    """The calendar of one series of a dataset."""

    def __init__(self) -> None:
        self._tiles, self._first, self._last, self._counts, self._gaps = [], [], [], [], []
        self._months, self._years = collections.Counter(), collections.Counter()

    def add(self, tile: str, dates: np.ndarray) -> None:
        """Adds the dates (T,) int32 of a tile, ascending, T > 0."""
        days = [date_of(number) for number in dates]
        gaps = np.diff(dates)
        widest = int(gaps.argmax()) if len(gaps) else 0
        self._tiles.append(tile)
        self._first.append(int(dates[0]))
        self._last.append(int(dates[-1]))
        self._counts.append(len(dates))
        self._gaps.append((int(gaps[widest]) if len(gaps) else 0, int(dates[widest])))
        self._months.update((moment.year, moment.month) for moment in days)
        self._years.update({moment.year for moment in days})

    def outside(self) -> list[tuple[str, str, str]]:
        """(tile, expected, found) for the few tiles whose dates are outside those of nine tiles in ten."""
        if len(self._tiles) < ENOUGH:
            return []
        first = np.quantile(self._first, 0.1, method="higher") - MARGIN
        last = np.quantile(self._last, 0.9, method="lower") + MARGIN
        odd = [i for i in range(len(self._tiles)) if self._first[i] < first or self._last[i] > last]
        if len(odd) > len(self._tiles) // 10:
            return []
        expected = f"dates of {date_of(first)} to {date_of(last)}, like the other tiles"
        return [(self._tiles[i], expected, f"{date_of(self._first[i])} to {date_of(self._last[i])}") for i in odd]

    def to_json(self) -> dict[str, Any]:
        """Dates per tile (min, median, max), the first and last date, the widest gap of any tile, and dates per tile in each month."""
        widest = int(np.argmax([days for days, _ in self._gaps]))
        days, start = self._gaps[widest]
        return {
            "dates_per_tile": [min(self._counts), float(np.median(self._counts)), max(self._counts)],
            "first": date_of(min(self._first)).isoformat(),
            "last": date_of(max(self._last)).isoformat(),
            "widest_gap": {
                "days": days,
                "from": date_of(start).isoformat(),
                "to": date_of(start + days).isoformat(),
                "tile": self._tiles[widest],
                "median_of_tiles": float(np.median([days for days, _ in self._gaps])),
            },
            "tiles_per_year": {str(year): count for year, count in sorted(self._years.items())},
            "dates_per_month": {
                f"{year:04d}-{month:02d}": round(count / self._years[year], 2)
                for (year, month), count in sorted(self._months.items())
            },
        }
