"""Scores of several labels a tile, from the predictions of the whole evaluation."""

import warnings

import numpy as np
from sklearn import metrics


def label_f1(labels, predicted, weights):
    """F1 of each label, each tile counted so many times.

    Args:
      labels, predicted: (N,K) bool.
      weights: (...,N).

    Returns:
      (...,K) in %, nan for labels that neither occur nor are predicted.
    """
    hits, there, said = (np.asarray(weights, np.float64) @ x for x in (labels & predicted, labels, predicted))
    with np.errstate(invalid="ignore"):
        return 100 * 2 * hits / (there + said)


def mean_known(values):
    """Mean over the last axis of what is not nan; nan where nothing is known."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(-1) / known.sum(-1)


class MultiLabelScores:
    """Collects probabilities; a fresh one an evaluation."""

    def __init__(self, classes, threshold):
        """classes: label names in order; threshold: probability above which a label is predicted."""
        self.classes, self.threshold = tuple(classes), threshold
        self._probabilities, self._labels = [], []

    def add(self, probabilities, labels, weight):
        """Adds a batch: probabilities (B,K), labels (B,K), weight (B,) with 0 for padding."""
        real = np.asarray(weight) > 0
        self._probabilities.append(np.asarray(probabilities)[real])
        self._labels.append(np.asarray(labels)[real])

    def compute(self) -> dict:
        """Macro and weighted F1, mAP over the classes that occur, per-class F1; all in %. With them the macro F1 and mAP of giving every label to every tile.

        Of no tile at all there is no score: nan.
        """
        if not sum(map(len, self._labels)):
            keys = ("f1_macro", "f1_weighted", "map", "f1_every_label", "map_every_label")
            return dict.fromkeys(keys, float("nan")) | {"classes": 0, "tiles": 0, "f1": dict.fromkeys(self.classes)}
        probabilities, labels = np.concatenate(self._probabilities), np.concatenate(self._labels) > 0.5
        predicted = probabilities > self.threshold
        each = label_f1(labels, predicted, np.ones(len(labels)))
        occurs = labels.any(0)
        share = labels[:, occurs].mean(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            precision = [metrics.average_precision_score(labels[:, i], probabilities[:, i]) for i in np.flatnonzero(occurs)]
        return {
            "f1_macro": float(mean_known(each)),
            "f1_weighted": float(each[occurs] @ labels[:, occurs].sum(0) / labels.sum()) if occurs.any() else 0.0,
            "map": float(100 * np.mean(precision)) if precision else float("nan"),
            "f1_every_label": float(100 * (2 * share / (1 + share)).mean()) if occurs.any() else float("nan"),
            "map_every_label": float(100 * share.mean()) if occurs.any() else float("nan"),
            "classes": int(occurs.sum()),
            "tiles": len(labels),
            "f1": {name: float(value) if np.isfinite(value) else None for name, value in zip(self.classes, each)},
        }
