"""One modality over all tiles of a dataset: ranges, units, unknown shares and calendar."""

from collections.abc import Sequence

import numpy as np

from data.verification import units
from data.verification.calendars import Calendar
from data.verification.facts import Modality, SensorFacts
from data.verification.histogram import Histogram
from data.verification.units import Range

QUANTILES = (0.01, 0.5, 0.99)


class Sensor:
    """Accumulates the facts about one modality, tile by tile."""

    def __init__(self, name: str, modality: Modality):
        self.modality, count = modality, modality.shape[-1] if modality.kind != "location" else 2
        self.bands = [modality.bands[i] if i < len(modality.bands) else f"band {i + 1}" for i in range(count)]
        self.quantities = [units.quantity_of(name, band, modality.kind) for band in self.bands]
        self.histograms = [Histogram() for _ in self.bands]
        self.unknown, self.total, self.tiles = np.zeros(count, np.int64), 0, []
        self.low, self.high = np.full(count, np.inf), np.full(count, -np.inf)
        self.calendar, self.levels, self.when, self.dark, self.whose = Calendar(), [], [], [], []

    def add(self, tile: str, facts: SensorFacts) -> None:
        """Adds one tile."""
        for histogram, (codes, counts) in zip(self.histograms, facts.counts, strict=True):
            histogram.add(codes, counts)
        self.unknown, self.total = self.unknown + facts.unknown, self.total + facts.total
        self.low, self.high = np.fmin(self.low, facts.low), np.fmax(self.high, facts.high)
        self.tiles.append(tile)
        if len(facts.dates):
            self.calendar.add(tile, facts.dates)
        self.levels.append(facts.levels)
        self.dark.append(facts.dark)
        self.when.append(facts.dates if len(facts.dates) else np.zeros(len(facts.levels), np.int32))
        self.whose.append(np.full(len(facts.levels), len(self.tiles) - 1))

    def ranges(self) -> list[Range | None]:
        """The range of each band; None if nothing is known."""
        found = [histogram.quantiles(QUANTILES) for histogram in self.histograms]
        return [
            Range(*(float(level) for level in (low, *np.clip(quantiles, low, high), high))) if quantiles else None
            for low, quantiles, high in zip(self.low, found, self.high, strict=True)
        ]

    def units(self, ranges: Sequence[Range | None]) -> list[str]:
        """The unit that the values of each band look like, see `units.unit_of`."""
        return [
            units.unit_of(quantity, self.modality.dtype, levels) if levels else ""
            for quantity, levels in zip(self.quantities, ranges, strict=True)
        ]
