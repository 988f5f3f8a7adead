"""Scores of parcels from dense predictions: each parcel has the class of most of its labeled pixels, in the labels and in the prediction.

Letters: H W pixels, K classes, U units, E entries.

A parcel that lies in several tiles is one parcel, as its number is the same in all of them: its pixels are counted together before they vote.
"""

import dataclasses
from collections.abc import Collection, Iterable, Sequence

import numpy as np

# Pixels outside parcels are a unit per tile, with a number below 0, so that parcels and what lies between them can be resampled.
_FIRST_OUTSIDE = -1


@dataclasses.dataclass(frozen=True)
class UnitCounts:
    """Confusion counts of parcels, and of what lies outside parcels in each tile: entries other than 0.

    Attributes:
      unit: (E,) int64, number of the parcel, or -1 - tile_index for the pixels of a tile outside parcels.
      label: (E,) int64, class of the labels.
      predicted: (E,) int64, predicted class; K for a prediction outside the classes.
      pixels: (E,) int64.
    """

    unit: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    pixels: np.ndarray

    def merged(self) -> "UnitCounts":
        """The same counts with each unit, label and predicted class once, in ascending order."""
        keys = np.stack([self.unit, self.label, self.predicted])
        order = np.lexsort(keys[::-1])
        keys, pixels = keys[:, order], self.pixels[order]
        if not len(pixels):
            return self
        starts = np.flatnonzero(np.r_[True, (keys[:, 1:] != keys[:, :-1]).any(0)])
        unit, label, predicted = keys[:, starts]
        return UnitCounts(unit, label, predicted, np.add.reduceat(pixels, starts))

    @classmethod
    def joined(cls, several: "Iterable[UnitCounts]") -> "UnitCounts":
        """The sum of several counts; a unit that is in several is one unit."""
        several = list(several)
        columns = ([getattr(counts, field.name) for counts in several] for field in dataclasses.fields(cls))
        return cls(*(np.concatenate([np.zeros(0, np.int64), *column]) for column in columns)).merged()


class ParcelCounts:
    """Adds up the confusion counts of each parcel; make a new one for each evaluation."""

    def __init__(self, classes: int, ignore: int):
        """No pixel yet.

        Args:
          classes: K.
          ignore: label of void pixels.
        """
        self._classes, self._ignore = classes, ignore
        self._added: list[UnitCounts] = []

    def add(self, parcels: np.ndarray, labels: np.ndarray, predicted: np.ndarray, tile_index: int) -> None:
        """Adds a tile. Pixels whose label is void or outside 0..K-1 are left out.

        Args:
          parcels: (H,W) integer, numbers above 0; others are outside parcels.
          labels, predicted: (H,W) integer.
          tile_index: of the tile.
        """
        k = self._classes
        labels, predicted = labels.astype(np.int64), predicted.astype(np.int64)
        counted = (labels != self._ignore) & (labels >= 0) & (labels < k)
        outside = _FIRST_OUTSIDE - tile_index
        units, position = np.unique(np.where(parcels > 0, parcels, outside)[counted], return_inverse=True)
        columns = np.where((predicted >= 0) & (predicted < k), predicted, k)[counted]
        cells, pixels = np.unique((position * k + labels[counted]) * (k + 1) + columns, return_counts=True)
        rest, column = np.divmod(cells, k + 1)
        self._added.append(UnitCounts(units[rest // k].astype(np.int64), rest % k, column, pixels))

    def compute(self) -> UnitCounts:
        """The counts of everything added so far, merged."""
        return UnitCounts.joined(self._added)


def parcel_confusion(counts: UnitCounts, classes: int) -> np.ndarray:
    """Lets the pixels of each parcel vote; among classes with equally many pixels the first wins.

    Args:
      counts: of pixels.
      classes: K.

    Returns:
      (K,K+1) int64: parcels by the class of their labels and the predicted class, as `confusion_counts` has pixels.
    """
    inside = counts.unit > 0
    units, position = np.unique(counts.unit[inside], return_inverse=True)
    votes = np.zeros((2, len(units), classes + 1), np.int64)
    for side, column in zip(votes, (counts.label, counts.predicted)):
        np.add.at(side, (position, column[inside]), counts.pixels[inside])
    confusion = np.zeros((classes, classes + 1), np.int64)
    np.add.at(confusion, tuple(votes.argmax(-1)), 1)
    return confusion


def parcel_scores(confusion: np.ndarray, classes: Sequence[str], unscored: Collection[str] = ()) -> dict:
    """Scores of parcels.

    F1 = 2 TP / (2 TP + FP + FN). "f1_macro" is `sklearn.metrics.f1_score(..., average="macro")` with its default labels: the mean over the classes
    that the labels or the predictions contain. A class that is predicted but does not occur therefore enters the mean with 0, as in
    `SegmentationScores.compute`; one that neither contains does not enter it.

    Args:
      confusion: (K,K+1), see `parcel_confusion`; of folds the sum.
      classes: names of the K classes.
      unscored: those that do not enter the mean.

    Returns:
      In %: "oa" (share of parcels with the right class), "f1_macro", "f1" {class: F1 or None, where neither labels nor predictions contain it};
      "classes": number in the mean; "parcels".
      Scores are nan without a parcel.
    """
    confusion = np.asarray(confusion, np.int64)
    correct, total = np.diag(confusion).astype(np.float64), int(confusion.sum())
    either = confusion.sum(1) + confusion[:, :-1].sum(0)
    f1 = np.where(either > 0, 200 * correct / np.maximum(either, 1), np.nan)
    in_mean = (either > 0) & np.array([name not in unscored for name in classes], bool)
    return {
        "oa": float(100 * correct.sum() / total) if total else float("nan"),
        "f1_macro": float(f1[in_mean].mean()) if in_mean.any() else float("nan"),
        "classes": int(in_mean.sum()),
        "parcels": total,
        "f1": {name: None if np.isnan(value) else float(value) for name, value in zip(classes, f1)},
    }
