"""Summary of a part of a dataset, gathered while it is written: counts, labels, exact band statistics and parcels.

Shapes: T dates, H x W pixels, C bands, K classes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from data.reading.raw import RawModality, known_values
from omnisat_jax.missing import NO_DATA_INT16

# A date whose first band is this many robust standard deviations above the usual level of the tile counts as cloudy.
CLOUD_DEVIATIONS = 3.0
MAD_TO_STD = 1.4826  # for a normal distribution


class Summary:
    """Accumulates one part. Statistics ignore no-data pixels and invalid dates.

    "moments" include clouds; "clear_moments" leave out the dates of a reflectance series that `clear_dates` rejects.
    """

    def __init__(self, modalities: Mapping[str, RawModality], *, classes: int, ignore: int, with_parcels: bool):
        """
        Args:
          modalities: of the dataset.
          classes: K.
          ignore: label of pixels that do not count, or -1.
          with_parcels: whether labels are dense.
        """
        self._modalities, self._classes, self._ignore, self._labels = modalities, classes, ignore, []
        self._moments = {name: np.zeros((3, spec.shape[-1])) for name, spec in modalities.items()}
        self._clear = {name: np.zeros((3, spec.shape[-1])) for name, spec in modalities.items() if _is_reflectance(spec)}
        self._present, self._unknown = dict.fromkeys(modalities, 0), dict.fromkeys(modalities, 0)
        self._longest = {name: 0 for name, spec in modalities.items() if spec.kind == "series"}
        self._dates, self._invalid = dict.fromkeys(self._longest, 0), dict.fromkeys(self._longest, 0)
        self._days: dict[str, tuple[int, int]] = {}
        self._tiles, self._parcels, self._bad = [], {} if with_parcels else None, []
        self._unlabelled: list[str] = []
        self._places: dict[str, list[float]] = {}

    @property
    def tiles(self) -> tuple[str, ...]:
        """Ids of the tiles that were added."""
        return tuple(self._tiles)

    def note_bad(self, entries: Iterable[dict]) -> None:
        """Keeps what `read_tile` reports about a broken tile."""
        self._bad += entries

    def add(self, example: dict[str, Any]) -> None:
        """Counts one tile, as returned by `RawDataset.read`."""
        self._tiles.append(example["tile_id"])
        self._labels.append(self._count(example["labels"]))
        if not example["labelled"]:
            self._unlabelled.append(example["tile_id"])
        if len(example.get("location", {"values": ()})["values"]):
            self._places[example["tile_id"]] = [float(degrees) for degrees in example["location"]["values"][0]]
        for name in example.get("remarks", ()):
            self._unknown[name] += 1
        for name, spec in self._modalities.items():
            values = example[name]["values"]
            if not len(values):
                continue
            self._present[name] += 1
            if spec.kind == "series":
                valid = example[name]["valid"]
                self._longest[name] = max(self._longest[name], len(values))
                self._dates[name] += len(values)
                self._invalid[name] += int((~valid).sum())
                values = values[valid]
                self._extend(name, example[name]["dates"][valid])
            if name in self._clear:
                keep = clear_dates(values)
                clear = band_moments(values[keep])
                self._clear[name] = merge(self._clear[name], clear)
                self._moments[name] = merge(self._moments[name], merge(clear, band_moments(values[~keep])))
            else:
                self._moments[name] = merge(self._moments[name], band_moments(values))
        if self._parcels is not None:
            numbers = np.unique(example["parcels"])
            self._parcels[example["tile_id"]] = [int(n) for n in numbers if n > 0]

    def _extend(self, name: str, dates: np.ndarray) -> None:
        """Widens the range of days of a series by valid dates (T,)."""
        if len(dates):
            known = self._days.get(name, (int(dates[0]),) * 2)
            self._days[name] = min(known[0], int(dates.min())), max(known[1], int(dates.max()))

    def _count(self, labels):
        """Pixels per class of dense labels (H,W); 0 or 1 per class of tile labels (K,)."""
        if labels.ndim == 1:
            return [int(value > 0.5) for value in labels]
        counts = np.bincount(labels.reshape(-1), minlength=self._classes)[: self._classes]
        return [int(count) if index != self._ignore else 0 for index, count in enumerate(counts)]

    def to_json(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "tiles": self._tiles,
            "labels": self._labels,  # per tile
            "unlabelled": self._unlabelled,  # tiles without labels, only for pre-training
            "places": self._places,  # longitude and latitude of the centers of tiles that have a location
            "present": self._present,
            "wholly_unknown": self._unknown,  # tiles with a file that has no known value; they count as absent
            "longest": self._longest,
            "dates": self._dates,
            "invalid_dates": self._invalid,
            "days": {name: list(days) for name, days in self._days.items()},  # first and last valid one, since 1970-01-01
            "moments": {name: moments.tolist() for name, moments in self._moments.items()},
            "clear_moments": {name: moments.tolist() for name, moments in self._clear.items()},
            "parcels": self._parcels,
            "bad": self._bad,
        }


def _is_reflectance(modality):
    return modality.kind == "series" and modality.dtype == "int16"


def clear_dates(values: np.ndarray) -> np.ndarray:
    """Which dates of a reflectance series (T,H,W,C) int16 are not much brighter than usual for the tile, (T,) bool.

    Compares the median over pixels of the first (bluest) band of each date with its median over dates: clouds are bright in blue.
    """
    if not len(values):
        return np.zeros(0, bool)
    blue = np.ma.masked_equal(values[..., 0].reshape(len(values), -1), NO_DATA_INT16)
    level = np.ma.median(blue, axis=1).filled(np.nan).astype(np.float64)
    usual = np.nanmedian(level)
    spread = MAD_TO_STD * np.nanmedian(np.abs(level - usual))
    return level <= usual + CLOUD_DEVIATIONS * spread


def band_moments(values: np.ndarray) -> np.ndarray:
    """(3, C) float64: count, mean and sum of squared deviations of each band of values (..., C), without no data."""
    flat = values.reshape(-1, values.shape[-1])
    known = known_values(flat)
    count = known.sum(0).astype(np.float64)
    numbers = np.where(known, flat, 0).astype(np.float64)
    mean = numbers.sum(0) / np.maximum(count, 1)
    deviation = (np.where(known, numbers - mean, 0) ** 2).sum(0)
    return np.stack([count, mean, deviation])


def merge(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Moments (3, C) of the union of two samples, stable and the same in any order up to rounding (Chan, Golub & LeVeque 1979)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    count = a[0] + b[0]
    safe = np.maximum(count, 1)
    delta = b[1] - a[1]
    return np.stack([count, a[1] + delta * b[0] / safe, a[2] + b[2] + delta**2 * a[0] * b[0] / safe])
