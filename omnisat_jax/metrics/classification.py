"""Scores of several labels a tile, by scikit-learn, from the predictions of the whole evaluation."""

import warnings

import numpy as np
from sklearn import metrics


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
        """Macro and weighted F1, mAP over the classes that occur, per-class F1; all in %. With them the macro F1 and mAP of giving every label to every tile."""
        probabilities, labels = np.concatenate(self._probabilities), np.concatenate(self._labels) > 0.5
        predicted = probabilities > self.threshold
        each = metrics.f1_score(labels, predicted, average=None, zero_division=0)
        occurs = labels.any(0)
        share = labels[:, occurs].mean(0)
        seen = occurs | predicted.any(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weighted = metrics.f1_score(labels, predicted, average="weighted", zero_division=0)
            precision = [metrics.average_precision_score(labels[:, i], probabilities[:, i]) for i in np.flatnonzero(occurs)]
        return {
            "f1_macro": float(100 * each[seen].mean()) if seen.any() else float("nan"),
            "f1_weighted": float(100 * weighted),
            "map": float(100 * np.mean(precision)) if precision else float("nan"),
            "f1_every_label": float(100 * (2 * share / (1 + share)).mean()) if occurs.any() else float("nan"),
            "map_every_label": float(100 * share.mean()) if occurs.any() else float("nan"),
            "classes": int(occurs.sum()),
            "tiles": len(labels),
            "f1": {name: float(100 * value) if known else None for name, value, known in zip(self.classes, each, seen)},
        }
