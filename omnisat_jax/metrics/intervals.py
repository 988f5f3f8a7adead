"""The uncertainty of scores: bootstrap over test tiles or parcels, t-intervals over seeds, paired differences.

The two answer different questions. Over tiles or parcels: would other fields give the same score, with these weights? Over seeds: would other
weights, with these fields? Tiles hold many pixels of few fields; parcels are the finer unit, but neighbors are not independent.

Letters: N tiles, U units, K classes, D resampled test sets.
"""

import dataclasses
from collections.abc import Collection, Hashable, Sequence
from typing import Protocol

import numpy as np
from scipy import sparse, special

from omnisat_jax.errors import UserError
from omnisat_jax.metrics.classification import label_f1, mean_known
from omnisat_jax.metrics.parcels import UnitCounts

LEVEL = 95  # % of the interval
_DRAWN = 2**24  # weights that are held at a time


class Resampled(Protocol):
    """What each unit of the test set contributes to the score of a run."""

    @property
    def names(self) -> Sequence[Hashable]:
        """Of the units, which are drawn with replacement."""
        ...

    def scores(self, draws: np.ndarray) -> np.ndarray:
        """(D,) scores in % of resampled test sets, which count each unit draws (D,units) times."""
        ...


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
            labelled = self.counts.sum((0, 2)) > 0
            return mean_iou(np.tensordot(draws, self.counts, 1), self.classes, self.unscored, labelled)
        assert self.labels is not None and self.predicted is not None
        labels = self.labels > 0.5
        scored = ~labels.any(0) | (draws @ labels > 0)  # (D,K), as in `mean_iou`
        return mean_known(np.where(scored, label_f1(labels, self.predicted > self.threshold, draws), np.nan))


@dataclasses.dataclass(frozen=True)
class Parcels:
    """What each parcel contributes to the mIoU of one run and subset; what lies outside parcels is one unit per tile.

    Attributes:
      names: of the U units, as `UnitCounts.unit`.
      counts: merged.
      classes: names of the K classes.
      unscored: classes that do not enter the mean.
    """

    names: tuple[int, ...]
    counts: UnitCounts
    classes: tuple[str, ...]
    unscored: tuple[str, ...]

    @classmethod
    def of(cls, counts: UnitCounts, classes: Sequence[str], unscored: Collection[str]) -> "Parcels":
        """The units of some counts."""
        return cls(tuple(np.unique(counts.unit).tolist()), counts.merged(), tuple(classes), tuple(unscored))

    def scores(self, draws: np.ndarray) -> np.ndarray:
        """mIoU in % of resampled test sets.

        Args:
          draws: (D,U) how often each set counts each unit.

        Returns:
          (D,) scores.
        """
        k, counts = len(self.classes), self.counts
        rows, columns = np.searchsorted(self.names, counts.unit), counts.label * (k + 1) + counts.predicted
        cells = sparse.csr_array((counts.pixels.astype(np.float64), (rows, columns)), shape=(len(self.names), k * (k + 1)))
        labelled = np.bincount(counts.label, minlength=k) > 0
        return mean_iou((draws @ cells).reshape(-1, k, k + 1), self.classes, self.unscored, labelled)


def mean_iou(
    confusion: np.ndarray, classes: Sequence[str], unscored: Collection[str] = (), labelled: np.ndarray | None = None
) -> np.ndarray:
    """`SegmentationScores.compute()["miou"]` of many confusion matrices.

    A class that the test set labels and a resample does not would enter the mean of a method that predicts it, as 0, and not that of a method
    that does not. With `labelled` it enters neither, so that both are means over the same classes; so it is with the F1 of labels of tiles.

    Args:
      confusion: (...,K,K+1).
      classes: names of the K classes.
      unscored: those that do not enter the mean.
      labelled: (K,) bool, classes that the whole test set labels, of resamples; None for the whole test set itself.

    Returns:
      (...) in %; nan without a scored class.
    """
    correct = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(-1) + confusion[..., :-1].sum(-2) - correct
    scored = np.array([name not in unscored for name in classes], bool)
    if labelled is not None:
        scored = scored & (~labelled | (confusion.sum(-1) > 0))
    return mean_known(np.where((union > 0) & scored, 100 * correct / np.where(union > 0, union, 1), np.nan))


def resamples(count: int, times: int, seed: int | np.random.Generator = 0) -> np.ndarray:
    """Draws `count` units with replacement, `times` times: (times, count) how often each unit is drawn."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), times)


def bootstrap(runs: Sequence[Resampled], times: int, stream: int = 0) -> np.ndarray:
    """Mean score of several runs (seeds) on resampled test sets (Efron, 1979).

    The same number of units gives the same draws, so that the scores of different methods can be paired.

    Args:
      runs: tested on the same tiles or parcels.
      times: number of resampled test sets, D.
      stream: of random numbers. Test sets whose scores are averaged, such as those of folds, need one each: with the same draws their scores would
        rise and fall together.

    Returns:
      (D,) scores in %.

    Raises:
      UserError: the runs were tested on different tiles or parcels.
    """
    names = runs[0].names
    for run in runs:
        if run.names != names:
            raise UserError("runs that were tested on different tiles cannot be resampled together")
    rng, chunk = np.random.default_rng(stream), max(1, _DRAWN // max(len(names), 1))
    found = []
    for start in range(0, times, chunk):
        draws = resamples(len(names), min(chunk, times - start), rng)
        found.append(np.mean([run.scores(draws) for run in runs], 0))
    return np.concatenate(found)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The central 95 % of values, without nan."""
    low, high = np.nanpercentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)


def seed_interval(scores: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % t-interval of the mean over seeds, of scores or of differences that are paired by seed.

    mean -+ t(n - 1) s / sqrt(n) (Student, 1908), which covers the mean over all seeds if scores are about normal.

    Args:
      scores: one per seed.

    Returns:
      None with fewer than two seeds, or a score that is not finite.
    """
    values = np.asarray(scores, np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    half = float(special.stdtrit(len(values) - 1, (100 + LEVEL) / 200) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half
