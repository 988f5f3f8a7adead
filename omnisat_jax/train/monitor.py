"""Probes of frozen tokens: how they are fitted, and the k-NN that watches pre-training."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from omnisat_jax.config import schema
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.probe import Collector, ProbeScores, fit
from omnisat_jax.train.batches import RunBatches
from omnisat_jax.train.evaluator import CompiledEvaluation, Watch
from omnisat_jax.types import PyTree

Pictures = Callable[[int], AbstractContextManager[Watch | None]]  # step -> what sees the evaluation of the body, then draws it


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeFitter:
    """Fits probes to the frozen tokens of training tiles, read as in evaluation: all dates, no augmentation.

    Attributes:
      batches: of the run.
      config: of the evaluation.
      dense: whether labels are of pixels, not of tiles.
    """

    batches: RunBatches
    config: schema.EvalConfig
    dense: bool

    def fit(self, read: CompiledEvaluation, params: PyTree, kind: str, share: float) -> ProbeScores:
        """Fresh scores of a probe.

        Args:
          read: a `tasks.probe.TokenReader`, compiled for all modalities.
          params: of the encoder.
          kind: "linear" or "knn".
          share: of the training tiles.
        """
        records, classes = self.batches.records, self.batches.input_spec.classes
        tiles = max(1, round(share * len(records.labelled_tiles(self.batches.split.train))))
        collector = Collector(len(classes), self.config.probe_tokens, tiles, self.batches.seed, records.tile_ids)
        tokens, targets = read(params, self.batches.training_tiles(share), collector)
        predict = fit(kind, tokens, targets, dense=self.dense, neighbours=self.config.probe_neighbours)
        return ProbeScores(
            predict,
            LabelInfo(classes, records.ignore, records.unscored),
            threshold=self.config.threshold,
            tile_names=records.tile_ids,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class KnnMonitor:
    """Measures how well the tokens of pre-training predict the labels, which pre-training itself never sees.

    A k-NN that knows at most eval.monitor_tiles training tiles is scored on as many validation tiles, the same ones every time.

    Attributes:
      read: a `tasks.probe.TokenReader`, compiled for all modalities.
      fitter: fits the k-NN.
      pictures: sees the tokens of the validation tiles.
    """

    read: CompiledEvaluation
    fitter: ProbeFitter
    pictures: Pictures

    @functools.cached_property
    def labelled(self) -> bool:
        """Whether the tiles that are read hold a label at all; without any there is nothing to measure."""
        batches = self.fitter.batches
        counted = (batches.records.label_counts(parts, self._share(parts), batches.seed) for parts in (batches.split.train, batches.split.validation))
        return all(counts.any() for counts in counted)

    def __call__(self, params: PyTree, step: int) -> dict[str, Any]:
        """{"knn_<score>": value} of the parameters after a step."""
        if not self.labelled:
            return {}
        batches = self.fitter.batches
        scores = self.fitter.fit(self.read, params, "knn", self._share(batches.split.train))
        tiles = batches.evaluation(batches.split.validation, self._share(batches.split.validation))
        with self.pictures(step) as watch:
            values = self.read(params, tiles, scores, watch)[0]
        return {f"knn_{key}": value for key, value in values.items() if isinstance(value, float)}

    def _share(self, parts: Sequence[str]) -> float:
        return min(1.0, self.fitter.config.monitor_tiles / max(1, len(self.fitter.batches.records.labelled_tiles(parts))))
