"""Confusion counts on the device, scores on the host: exact for any batch size and any number of devices."""

import jax.numpy as jnp
import numpy as np

from omnisat_jax.metrics.calibration import expected_calibration_error


def confusion_counts(predicted, labels, weight, *, classes: int, ignore: int):
    """Pixels of each (label, prediction).

    Args:
      predicted: (B,H,W) integer; a prediction outside 0..classes-1 is counted in the last column, as an error.
      labels: (B,H,W) integer; `ignore` is left out.
      weight: (B,), samples with 0 are left out.

    Returns:
      (classes, classes + 1) int32.
    """
    labels, predicted = labels.astype(jnp.int32), predicted.astype(jnp.int32)
    counted = (labels != ignore) & (labels >= 0) & (labels < classes) & (weight[:, None, None] > 0)
    column = jnp.where((predicted >= 0) & (predicted < classes), predicted, classes)
    cell = jnp.where(counted, labels * (classes + 1) + column, classes * (classes + 1))
    counts = jnp.bincount(cell.reshape(-1), length=classes * (classes + 1) + 1)
    return counts[:-1].reshape(classes, classes + 1).astype(jnp.int32)


class SegmentationScores:
    """Sums confusion counts; a fresh one an evaluation."""

    def __init__(self, classes, unscored=()):
        """classes: names of the predicted classes, in label order; unscored: those that do not enter the mean."""
        self.classes = tuple(classes)
        self._scored = np.array([name not in unscored for name in self.classes])
        self.confusion = np.zeros((len(self.classes), len(self.classes) + 1), np.int64)
        self.calibration = None

    def add(self, counts, calibration=None):
        """Adds the counts of a batch: confusion (K, K+1), and of `calibration_counts`, where predictions have probabilities."""
        self.confusion += np.asarray(counts, np.int64)
        if calibration is not None:
            self.calibration = np.asarray(calibration, np.float64) + (0 if self.calibration is None else self.calibration)

    def compute(self, min_pixels: int = 0) -> dict:
        """mIoU, OA, per-class IoU and, of probabilities, the expected calibration error in %.

        IoU = TP / (TP + FP + FN). A class that is neither in the labels nor in the predictions has none and does not enter the mean;
        a class that is predicted but absent scores 0. Classes with fewer than `min_pixels` labelled pixels are left out of the mean.
        """
        hit = np.diag(self.confusion).astype(np.float64)
        labelled = self.confusion.sum(1)
        union = labelled + self.confusion[:, :-1].sum(0) - hit
        found = union > 0
        exists = found & (labelled >= min_pixels) & self._scored
        iou = np.where(found & (labelled >= min_pixels), 100 * hit / np.maximum(union, 1), np.nan)
        pixels = self.confusion.sum()
        sure = {} if self.calibration is None else {"ece": expected_calibration_error(self.calibration)}
        return sure | {
            "miou": float(iou[exists].mean()) if exists.any() else float("nan"),
            "oa": float(100 * hit.sum() / pixels) if pixels else float("nan"),
            "classes": int(exists.sum()),
            "pixels": int(pixels),
            "iou": {name: None if np.isnan(value) else float(value) for name, value in zip(self.classes, iou)},
        }
