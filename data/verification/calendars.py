"""When series were recorded: dates per tile and per month, gaps, and tiles whose dates lie elsewhere than those of the others."""

import collections
import datetime

import numpy as np

from data.reading.raw import EPOCH

FIRST = datetime.date(1972, 7, 23)  # launch of Landsat 1: no series of images of the Earth is older
ENOUGH = 10  # tiles from which on it can be said what is usual
MARGIN = 60  # days


def day(number: int) -> datetime.date:
    """The date of days since 1970-01-01; the nearest that exists."""
    return EPOCH + datetime.timedelta(int(np.clip(number, -719_162, 2_932_896)))


def impossible(dates) -> str:
    """Dates (T,) at which nothing can have been recorded, in words; "" where there is none."""
    latest = (datetime.date.today() - EPOCH).days + 1
    wrong = [day(number).isoformat() for number in dates if not (FIRST - EPOCH).days <= number <= latest]
    return f"{', '.join(wrong[:3])}{' and others' if len(wrong) > 3 else ''}"


class Calendar:
    """Of one series of a dataset."""

    def __init__(self):
        self._tiles, self._first, self._last, self._counts, self._gaps = [], [], [], [], []
        self._months, self._years = collections.Counter(), collections.Counter()

    def add(self, tile: str, dates) -> None:
        """dates: (T,) int32, ascending, T > 0."""
        days = [day(number) for number in dates]
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
        """(tile, expected, found) of the few tiles whose dates lie outside those of nine tiles in ten."""
        if len(self._tiles) < ENOUGH:
            return []
        first = np.quantile(self._first, 0.1, method="higher") - MARGIN
        last = np.quantile(self._last, 0.9, method="lower") + MARGIN
        odd = [i for i in range(len(self._tiles)) if self._first[i] < first or self._last[i] > last]
        if len(odd) > len(self._tiles) // 10:
            return []
        expected = f"dates of {day(first)} to {day(last)}, as of the other tiles"
        return [(self._tiles[i], expected, f"{day(self._first[i])} to {day(self._last[i])}") for i in odd]

    def to_json(self) -> dict:
        """Dates per tile (min, median, max), the first and last date, the widest gap of any tile, and dates per tile in each month."""
        widest = int(np.argmax([days for days, _ in self._gaps]))
        days, start = self._gaps[widest]
        return {
            "dates_per_tile": [min(self._counts), float(np.median(self._counts)), max(self._counts)],
            "first": day(min(self._first)).isoformat(),
            "last": day(max(self._last)).isoformat(),
            "widest_gap": {
                "days": days,
                "from": day(start).isoformat(),
                "to": day(start + days).isoformat(),
                "tile": self._tiles[widest],
                "median_of_tiles": float(np.median([days for days, _ in self._gaps])),
            },
            "tiles_per_year": {str(year): count for year, count in sorted(self._years.items())},
            "dates_per_month": {
                f"{year:04d}-{month:02d}": round(count / self._years[year], 2)
                for (year, month), count in sorted(self._months.items())
            },
        }
