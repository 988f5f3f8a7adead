"""Confusion counts on the device, scores on the host: exact for any batch size and any number of devices.

Letters: B batch, H W pixels, K classes.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from omnisat_jax.metrics.calibration import expected_calibration_error


def confusion_counts(
    predicted: jax.Array | np.ndarray, labels: jax.Array | np.ndarray, weight: jax.Array | np.ndarray, *, classes: int, ignore: int
) -> jax.Array:
    """Counts the pixels of each pair of label and prediction.

    Args:
      predicted: (B,H,W) integer; a prediction outside 0..K-1 counts in the last column, as an error.
      labels: (B,H,W) integer; `ignore` and values outside 0..K-1 are left out.
      weight: (B,), samples with 0 are left out.
      classes: K.
      ignore: label value of void pixels.

    Returns:
      (K,K+1) int32.
    """
    labels, predicted = labels.astype(jnp.int32), predicted.astype(jnp.int32)
    counted = (labels != ignore) & (labels >= 0) & (labels < classes) & (weight[:, None, None] > 0)
    column = jnp.where((predicted >= 0) & (predicted < classes), predicted, classes)
    cell = jnp.where(counted, labels * (classes + 1) + column, classes * (classes + 1))
    counts = jnp.bincount(cell.reshape(-1), length=classes * (classes + 1) + 1)
    return counts[:-1].reshape(classes, classes + 1).astype(jnp.int32)


class SegmentationScores:
    """Adds up confusion counts; make a new one for each evaluation.

    Attributes:
      classes: names of the K classes.
      unscored: those that do not enter the mean.
      confusion: (K,K+1) int64, see `confusion_counts`.
      calibration: (BINS,3) float64, see `calibration_counts`; None if there are none.
    """

    def __init__(self, classes: Sequence[str], unscored: Collection[str] = ()):
        """No pixel yet.

        Args:
          classes: names of the predicted classes, in label order.
          unscored: those that do not enter the mean.
        """
        self.classes, self.unscored = tuple(classes), tuple(unscored)
        self._scored = np.array([name not in unscored for name in self.classes])
        self.confusion = np.zeros((len(self.classes), len(self.classes) + 1), np.int64)
        self.calibration: np.ndarray | None = None

    def add(self, counts: ArrayLike, calibration: ArrayLike | None = None) -> None:
        """Adds the confusion counts (K,K+1) of a batch and, where predictions have probabilities, its calibration counts (BINS,3)."""
        self.confusion += np.asarray(counts, np.int64)
        if calibration is not None:
            self.calibration = np.asarray(calibration, np.float64) + (0 if self.calibration is None else self.calibration)

    def compute(self, min_pixels: int = 0) -> dict:
        """The scores of all pixels.

        IoU = TP / (TP + FP + FN). A class that occurs neither in the labels nor in the predictions has no IoU and does not enter the mean; a
        class that is predicted but does not occur scores 0.

        Args:
          min_pixels: classes with fewer labeled pixels are left out of the mean.

        Returns:
          In %: "miou", "oa", "iou" {class: IoU or None} and, with calibration counts, "ece"; as a reference "miou_most_frequent", the mIoU of
          predicting the most frequent class of the mean everywhere. "classes": number in the mean; "pixels". Scores are nan without a pixel.
        """
        correct = np.diag(self.confusion).astype(np.float64)
        labelled = self.confusion.sum(1)
        union = labelled + self.confusion[:, :-1].sum(0) - correct
        known = (union > 0) & (labelled >= min_pixels)
        in_mean = known & self._scored
        iou = np.where(known, 100 * correct / np.maximum(union, 1), np.nan)
        pixels = self.confusion.sum()
        calibration = {} if self.calibration is None else {"ece": expected_calibration_error(self.calibration)}
        return calibration | {
            "miou": float(iou[in_mean].mean()) if in_mean.any() else float("nan"),
            "oa": float(100 * correct.sum() / pixels) if pixels else float("nan"),
            "miou_most_frequent": _most_frequent(labelled[in_mean & (labelled > 0)], pixels),
            "classes": int(in_mean.sum()),
            "pixels": int(pixels),
            "iou": {name: None if np.isnan(value) else float(value) for name, value in zip(self.classes, iou)},
        }


def _most_frequent(labelled: np.ndarray, pixels: int) -> float:
    """mIoU in % of predicting the most frequent class everywhere; labeled: pixels of each class of the mean that occurs."""
    return float(100 * labelled.max() / pixels / len(labelled)) if len(labelled) else float("nan")


def learnable_classes(tested: Sequence[np.ndarray], training: Sequence[Mapping[str, Any]], classes: Sequence[str], minimum: int = 1) -> list[str]:
    """The classes that a model could learn: each fold that tests one has enough training pixels of it.

    A class that no fold tests is learnable if a fold trains it.

    Args:
      tested: confusion counts (K,K+1) of each fold.
      training: of each fold, {"pixels": K numbers of training pixels, ...}.
      classes: names of the K classes.
      minimum: pixels that are enough.
    """
    tests = np.array([np.asarray(confusion).sum(1) > 0 for confusion in tested])  # (folds, K)
    enough = np.array([np.asarray(fold["pixels"]) >= minimum for fold in training])
    learnable = np.where(tests.any(0), (enough | ~tests).all(0), enough.any(0))
    return [name for name, known in zip(classes, learnable, strict=True) if known]


def learnable_scores(iou: Mapping[str, float | None], learnable: Collection[str], unscored: Collection[str] = ()) -> dict[str, Any]:
    """The mean over learnable classes beside the mean over all.

    Pixels of other classes still count as errors of the classes that are predicted in their place.

    Args:
      iou: {class: IoU in % or None}, as `SegmentationScores.compute` has it.
      learnable: see `learnable_classes`.
      unscored: classes that do not enter the mean.

    Returns:
      "miou_learnable" in %, nan without such a class, and "learnable_classes", the number of classes in it.
    """
    values = [value for name, value in iou.items() if value is not None and name in learnable and name not in unscored]
    return {"miou_learnable": float(np.mean(values)) if values else float("nan"), "learnable_classes": len(values)}
