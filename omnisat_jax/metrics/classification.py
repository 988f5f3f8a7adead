"""Scores of multi-label classification, from the predictions of a whole evaluation. Letters: B batch, N tiles, K labels."""

import warnings
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike


def label_f1(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The F1 score of each label.

    Args:
      labels, predicted: (N,K) bool.
      weights: (...,N), how often each tile counts.

    Returns:
      (...,K) in %; nan for labels that neither occur nor are predicted.
    """
    correct, positive, claimed = (np.asarray(weights, np.float64) @ x for x in (labels & predicted, labels, predicted))
    with np.errstate(invalid="ignore"):
        return 100 * 2 * correct / (positive + claimed)


def mean_known(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis without nan; nan if all are nan."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(-1) / known.sum(-1)


class MultiLabelScores:
    """Collects probabilities and labels; make a new one for each evaluation."""

    def __init__(self, classes: Sequence[str], threshold: float):
        """No tile yet.

        Args:
          classes: names of the labels, in order.
          threshold: probability above which a label is predicted.
        """
        self.classes, self.threshold = tuple(classes), threshold
        self._probabilities: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def add(self, probabilities: ArrayLike, labels: ArrayLike, weight: ArrayLike) -> None:
        """Adds a batch: probabilities (B,K), labels (B,K), weight (B,) with 0 for padding."""
        real = np.asarray(weight) > 0
        self._probabilities.append(np.asarray(probabilities)[real])
        self._labels.append(np.asarray(labels)[real])

    def compute(self) -> dict:
        """The scores of all tiles.

        A label that occurs nowhere and is predicted has an F1 of 0, which enters the macro mean; one that is not predicted either has none.

        Returns:
          In %: "f1_macro" over the labels that occur or are predicted, "f1_weighted" and "map" over those that occur, "f1" {label: F1 or
          None}; as a reference "f1_every_label" and "map_every_label", the macro F1 and the mean average precision of predicting every label
          for every tile. "classes": labels that occur; "tiles". Scores are nan without a tile.
        """
        from sklearn import metrics  # takes a second to import, and segmentation does not use it

        if not sum(map(len, self._labels)):
            keys = ("f1_macro", "f1_weighted", "map", "f1_every_label", "map_every_label")
            return dict.fromkeys(keys, float("nan")) | {"classes": 0, "tiles": 0, "f1": dict.fromkeys(self.classes)}
        probabilities, labels = np.concatenate(self._probabilities), np.concatenate(self._labels) > 0.5
        predicted = probabilities > self.threshold
        f1 = label_f1(labels, predicted, np.ones(len(labels)))
        occurs = labels.any(0)
        share = labels[:, occurs].mean(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            precision = [metrics.average_precision_score(labels[:, i], probabilities[:, i]) for i in np.flatnonzero(occurs)]
        return {
            "f1_macro": float(mean_known(f1)),
            "f1_weighted": float(f1[occurs] @ labels[:, occurs].sum(0) / labels.sum()) if occurs.any() else 0.0,
            "map": float(100 * np.mean(precision)) if precision else float("nan"),
            "f1_every_label": float(mean_known(label_f1(labels, np.ones_like(labels), np.ones(len(labels))))),
            "map_every_label": float(100 * share.mean()) if occurs.any() else float("nan"),
            "classes": int(occurs.sum()),
            "tiles": len(labels),
            "f1": {name: float(value) if np.isfinite(value) else None for name, value in zip(self.classes, f1)},
        }
