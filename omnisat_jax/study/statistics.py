"""The uncertainty of scores: bootstrap over test tiles, intervals, paired differences.

Letters: N tiles, K classes, D resampled test sets.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.metrics.classification import label_f1, mean_known
from omnisat_jax.metrics.segmentation import SegmentationScores

LEVEL = 95  # % of the interval


@dataclasses.dataclass(frozen=True)
class Tiles:
    """What each test tile of one run contributes to the scores of one subset of modalities.

    Attributes:
      names: of the N tiles.
      counts: (N,K,K+1) confusion counts of dense labels, else None.
      predicted: (N,K) probabilities of tile labels, else None.
      labels: (N,K) labels of tiles, else None.
      classes: names of the K classes.
      unscored: classes that do not enter the mean.
      threshold: probability above which a label counts as predicted.
    """

    names: tuple[str, ...]
    counts: np.ndarray | None
    predicted: np.ndarray | None
    labels: np.ndarray | None
    classes: tuple[str, ...]
    unscored: tuple[str, ...]
    threshold: float

    def scores(self, draws: np.ndarray) -> np.ndarray:
        """mIoU or macro F1 in % of resampled test sets.

        Args:
          draws: (D,N) how often each set counts each tile.

        Returns:
          (D,) scores.
        """
        if self.counts is not None:
            return np.array([self._miou(np.tensordot(weights, self.counts, 1)) for weights in draws])
        assert self.labels is not None and self.predicted is not None
        return mean_known(label_f1(self.labels > 0.5, self.predicted > self.threshold, draws))

    def _miou(self, confusion):
        scores = SegmentationScores(self.classes, self.unscored)
        scores.add(confusion)
        return scores.compute()["miou"]


def resamples(count: int, times: int, seed: int = 0) -> np.ndarray:
    """Draws `count` tiles with replacement, `times` times: (times, count) how often each tile is drawn."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), times)


def bootstrap(runs: Sequence[Tiles], times: int) -> np.ndarray:
    """Mean score of several runs (seeds) on resampled test tiles (Efron, 1979).

    The same tiles give the same draws, so that the scores of different methods can be paired.

    Args:
      runs: tested on the same tiles.
      times: number of resampled test sets, D.

    Returns:
      (D,) scores in %.

    Raises:
      UserError: the runs were tested on different tiles.
    """
    names = runs[0].names
    for run in runs:
        if run.names != names:
            raise UserError("runs that were tested on different tiles cannot be resampled together")
    draws = resamples(len(names), times)
    return np.mean([run.scores(draws) for run in runs], 0)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The central 95 % of values, without nan."""
    low, high = np.nanpercentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)
