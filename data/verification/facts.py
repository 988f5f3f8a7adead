"""Facts about one tile, small enough to send to another process: ranges, unknown shares, dates, labels.

Shapes: T dates, H x W pixels, C bands, K classes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.reading.raw import RawModality, known_values
from data.verification.histogram import sparse
from omnisat_jax.records.info import ModalityInfo

PIXELS = 32  # per side, from which the levels of single dates are taken; ranges cover all pixels

Modality = RawModality | ModalityInfo  # of a raw folder, of records


@dataclasses.dataclass(frozen=True)
class SensorFacts:
    """Facts about one modality of one tile with C bands and T dates (1 for an image).

    Attributes:
      counts: `histogram.sparse` of the known values of each band.
      low, high: (C,) float64 smallest and largest known value, NaN if nothing is known.
      unknown: (C,) int64 number of unknown values.
      total: number of values of one band.
      dates: (T,) int32 days since 1970-01-01, empty for images.
      levels: (T, C) float32 medians, NaN where nothing is known.
      dark: (T,) float32 1 % quantile of the darkest band.
    """

    counts: tuple[tuple[np.ndarray, np.ndarray], ...]
    low: np.ndarray
    high: np.ndarray
    unknown: np.ndarray
    total: int
    dates: np.ndarray
    levels: np.ndarray
    dark: np.ndarray

    @property
    def unknown_share(self) -> float:
        """Unknown share of all values."""
        return float(self.unknown.sum() / max(1, self.total * len(self.unknown)))


@dataclasses.dataclass(frozen=True)
class TileFacts:
    """Facts about one tile.

    Attributes:
      tile: its id.
      sensors: modality -> SensorFacts, for the modalities it has.
      labels: (K + 1,) int64 pixels of each class and, last, void; or (K,) 1 for each label of the tile; None if there are none, or if they
        are unreadable.
      parcels: sorted numbers of its parcels.
      labelled: whether the tile has labels, readable or not.
    """

    tile: str
    sensors: Mapping[str, SensorFacts]
    labels: np.ndarray | None
    parcels: np.ndarray
    labelled: bool = True


def sensor_facts(values: np.ndarray, dates: Sequence[int] | np.ndarray = ()) -> SensorFacts:
    """The facts about values (T,H,W,C), or (1,C) for a location; dates (T,)."""
    values = values if values.ndim == 4 else values[:, None, None, :]
    known, bands = known_values(values), range(values.shape[-1])
    numbers = [values[..., band][known[..., band]] for band in bands]
    step = max(1, values.shape[1] // PIXELS)
    few = np.where(known[:, ::step, ::step], values[:, ::step, ::step].astype(np.float32), np.inf)
    few = np.sort(few.reshape(len(values), -1, len(bands)), axis=1)  # unknown values last
    counts = np.isfinite(few).sum(1)  # (T, C)

    def rank(share: float) -> np.ndarray:
        at = np.clip((share * counts).astype(int), 0, few.shape[1] - 1)
        found = np.take_along_axis(few, at[:, None], axis=1)[:, 0]
        return np.where(counts > 0, found, np.nan)

    return SensorFacts(
        counts=tuple(sparse(band) for band in numbers),
        low=np.array([band.min() if band.size else np.nan for band in numbers], np.float64),
        high=np.array([band.max() if band.size else np.nan for band in numbers], np.float64),
        unknown=(~known).sum((0, 1, 2)),
        total=known[..., 0].size,
        dates=np.asarray(dates, np.int32),
        levels=rank(0.5),
        dark=np.where(counts.any(1), np.min(np.where(counts > 0, rank(0.01), np.inf), 1), np.nan),
    )


def label_facts(entry: Mapping[str, Any], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(labels, parcels) of `TileFacts`, from an entry with "labels" and, if dense, "parcels"."""
    labels = np.asarray(entry["labels"])
    if labels.ndim == 1:
        return (labels > 0).astype(np.int64), np.zeros(0, np.int64)
    counts = np.bincount(np.minimum(labels.reshape(-1), classes), minlength=classes + 1)
    numbers = np.unique(entry["parcels"]) if "parcels" in entry else np.zeros(0, np.int64)
    return counts.astype(np.int64), numbers[numbers > 0]
