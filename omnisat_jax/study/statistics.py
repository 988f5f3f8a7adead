"""How sure a number is: spread over seeds, bootstrap over tiles, paired differences."""

import dataclasses

import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.metrics.classification import label_f1, mean_known
from omnisat_jax.metrics.segmentation import SegmentationScores

LEVEL = 95  # % of the interval


@dataclasses.dataclass(frozen=True)
class Tiles:
    """What each test tile of one run adds to the scores of one subset of modalities.

    Attributes:
      names: of the N tiles.
      counts: (N,K,K+1) confusion, or None.
      predicted, labels: (N,K) probabilities and labels of tiles, or None.
      classes, unscored, threshold: as the run scored.
    """

    names: tuple[str, ...]
    counts: np.ndarray | None
    predicted: np.ndarray | None
    labels: np.ndarray | None
    classes: tuple[str, ...]
    unscored: tuple[str, ...]
    threshold: float

    def scores(self, draws) -> np.ndarray:
        """(T,) mIoU or macro F1 in %, each tile counted draws (T,N) times."""
        if self.counts is None:
            return mean_known(label_f1(self.labels > 0.5, self.predicted > self.threshold, draws))
        return np.array([self._miou(np.tensordot(weights, self.counts, 1)) for weights in draws])

    def _miou(self, confusion):
        scores = SegmentationScores(self.classes, self.unscored)
        scores.add(confusion)
        return scores.compute()["miou"]


def resamples(count: int, times: int, seed: int = 0) -> np.ndarray:
    """(times, count) how often each of `count` tiles is drawn, with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), times)


def bootstrap(runs: list[Tiles], times: int) -> np.ndarray:
    """(times,) mean score over the runs (seeds) of tests on resampled tiles; the same draws for the same tiles, so that they can be paired.

    Raises:
      UserError: runs on different tiles.
    """
    names = runs[0].names
    for run in runs:
        if run.names != names:
            raise UserError("runs that were tested on different tiles cannot be resampled together")
    draws = resamples(len(names), times)
    return np.mean([run.scores(draws) for run in runs], 0)


def interval(values) -> tuple[float, float]:
    """The central 95 % of values."""
    low, high = np.nanpercentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)
