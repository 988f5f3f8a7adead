"""Fine-tuning with labels: dense segmentation, or labels of whole tiles, from any subset of modalities.

Letters: B batch, M modalities, S subsets, H W label pixels, K classes.
"""

import abc
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from omnisat_jax.batch import normalise, presence
from omnisat_jax.losses.classification import multilabel_loss
from omnisat_jax.losses.segmentation import segmentation_loss
from omnisat_jax.metrics.calibration import (
    calibration_counts,
    multilabel_calibration_counts,
    multilabel_negative_log_likelihood,
    negative_log_likelihood,
)
from omnisat_jax.metrics.classification import MultiLabelScores
from omnisat_jax.metrics.segmentation import SegmentationScores, confusion_counts
from omnisat_jax.metrics.subsets import PerSubset, coverage
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.ops.microbatches import in_microbatches
from omnisat_jax.ops.random import Streams, drop_modalities, of_microbatch
from omnisat_jax.tasks.base import LabelInfo, Normalizing
from omnisat_jax.types import Batch, Params, PyTree, Statistics


@dataclasses.dataclass(frozen=True)
class Finetune(Normalizing, abc.ABC):
    """The part of a fine-tuning task that does not depend on the kind of labels; see `tasks.base.Task`.

    Attributes:
      model: see `models.registry.make_model`.
      statistics: {modality: {"mean" (C,), "std" (C,)}} of the training tiles.
      labels: classes, and what is left out of loss and scores.
      modality_dropout: probability that a present modality is hidden from the second view of each tile; 0 = one view.
      unimodal_weight: of the mean loss of what each modality with a dense map predicts by itself, beside that of the views.
      num_microbatches: equal parts of the batch that go through the model one after another.
    """

    model: MultimodalModel
    statistics: Statistics
    labels: LabelInfo
    modality_dropout: float
    unimodal_weight: float = dataclasses.field(default=0.0, kw_only=True)
    num_microbatches: int = dataclasses.field(default=1, kw_only=True)

    step_name: ClassVar[str] = "finetune_step"
    best: ClassVar[str]
    higher: ClassVar[bool] = True

    def init(self, key: jax.Array, batch: Batch) -> Params:
        names = self.model.names
        inputs = normalise(batch, self.statistics, names)
        return self.model.init(key, inputs, presence(batch, names), train=False)["params"]

    def loss(self, params: Params, batch: Batch, streams: Streams) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean over the views of each tile: all of its modalities and, with modality dropout, a random subset of them.

        Training on the subset alone rarely shows the model all modalities together. The encoders run once for both views.
        """
        names = self.model.names
        views = [presence(batch, names)]
        if self.modality_dropout:
            views.append(drop_modalities(streams("modality_dropout"), views[0], self.modality_dropout))
        rngs, variables = {"dropout": streams("dropout")}, {"params": params}

        def predict(tiles: PyTree, index: jax.Array) -> tuple[list[jax.Array], dict[str, tuple[jax.Array, jax.Array]]]:
            measured, views = tiles
            inputs, drawn = normalise(measured, self.statistics, names), of_microbatch(rngs, index)
            encoded = self.model.apply(variables, inputs, train=True, rngs=drawn, method="encode")
            logits: Any = [self.model.apply(variables, encoded, view, train=True, rngs=drawn, method="predict") for view in views]
            alone: Any = self.model.apply(variables, encoded, method="unimodal") if self.unimodal_weight else {}
            return logits, alone

        tiles = {name: batch[name] for name in names}, views
        every, alone = in_microbatches(predict, self.num_microbatches, tiles)
        losses = [self._loss(logits, batch) for logits in every]
        loss, metrics = jax.tree.map(lambda *values: sum(values) / len(values), *losses)
        if alone:
            each = [self._loss(logits, {**batch, "weight": batch["weight"] * there})[0] for logits, there in alone.values()]
            metrics = metrics | {"unimodal": sum(each) / len(each)}
            loss = loss + self.unimodal_weight * metrics["unimodal"]
        return loss, metrics

    def logits(self, params: Params, batch: Batch, subsets: jax.Array) -> jax.Array:
        """(S,B,...) logits from each subset (S,M) of the modalities that are present; the encoders run once."""
        names = self.model.names
        variables = {"params": params}
        inputs, present = normalise(batch, self.statistics, names), presence(batch, names)
        encoded = self.model.apply(variables, inputs, train=False, method="encode")

        def predict(subset: jax.Array) -> jax.Array:
            logits: Any = self.model.apply(variables, encoded, present & subset, train=False, method="predict")
            return logits

        return jax.lax.map(predict, subsets)

    @abc.abstractmethod
    def likelihood(self, logits: jax.Array, batch: Batch, weight: jax.Array, temperatures: jax.typing.ArrayLike) -> jax.Array:
        """(B,T) float32: the summed negative log-likelihood of the labels of each tile at temperatures (T,).

        Args:
          logits: (B,...) of one subset.
          batch: with "labels".
          weight: (B,), tiles with 0 sum to 0.
          temperatures: (T,), above 0.
        """

    @abc.abstractmethod
    def reliability(self, logits: jax.Array, batch: Batch, weight: jax.Array) -> jax.Array:
        """(BINS,3) float32: calibration counts of the logits (B,...) of one subset, without tiles of weight (B,) 0."""

    @abc.abstractmethod
    def _loss(self, logits: jax.Array, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(loss, metrics) of the logits (B,...) of one view."""

    def coverage(self, batch: Batch, logits: jax.Array, subsets: jax.Array) -> dict[str, jax.Array]:
        """The entries of a result that `PerSubset` needs, of logits (S,B,...) and subsets (S,M)."""
        covered = coverage(presence(batch, self.model.names), subsets, logits)
        return covered | {name: batch[name] for name in ("tile_index", "weight")}


@dataclasses.dataclass(frozen=True)
class Segment(Finetune):
    """Dense labels: cross-entropy and Dice over pixels; mIoU.

    Attributes:
      dice_weight: loss = cross-entropy + dice_weight * Dice.
      label_smoothing: share of the cross-entropy that goes to all classes alike.
    """

    dice_weight: float = 1.0
    label_smoothing: float = 0.0
    best: ClassVar[str] = "miou"

    def _loss(self, logits, batch):
        return segmentation_loss(
            logits,
            batch["labels"],
            batch["weight"],
            ignore=self.labels.ignore,
            dice_weight=self.dice_weight,
            smoothing=self.label_smoothing,
        )

    def evaluate(self, params: Params, batch: Batch, subsets: jax.Array) -> dict[str, jax.Array]:
        """Counts for each subset (S,M), over the tiles that have at least one of its modalities.

        Returns:
          "tiles", confusion counts (S,B,K,K+1) int32; "calibration", counts (S,BINS,3) float32; "predicted", classes (S,B,H,W) uint8; and the
          entries that `PerSubset` needs.
        """
        labels = batch["labels"]
        logits = self.logits(params, batch, subsets)
        predicted, covered = logits.argmax(-1).astype(jnp.uint8), self.coverage(batch, logits, subsets)
        weight = covered["has_any"] * batch["weight"]  # (S,B)

        def count(predicted: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
            classes = len(self.labels.classes)
            return confusion_counts(predicted[None], labels[None], weight[None], classes=classes, ignore=self.labels.ignore)

        count_tiles = jax.vmap(count)
        calibrate = functools.partial(calibration_counts, ignore=self.labels.ignore)
        return {
            "tiles": jax.vmap(count_tiles, (0, None, 0))(predicted, labels, weight),
            "calibration": jax.vmap(calibrate, (0, None, 0))(logits, labels, weight),
            "predicted": predicted,
        } | covered

    def likelihood(self, logits: jax.Array, batch: Batch, weight: jax.Array, temperatures: jax.typing.ArrayLike) -> jax.Array:
        return negative_log_likelihood(logits, batch["labels"], weight, temperatures, ignore=self.labels.ignore)

    def reliability(self, logits: jax.Array, batch: Batch, weight: jax.Array) -> jax.Array:
        return calibration_counts(logits, batch["labels"], weight, ignore=self.labels.ignore)

    def scores(self, tile_names: Sequence[str] = ()) -> PerSubset:
        return PerSubset(
            lambda: SegmentationScores(self.labels.classes, self.labels.unscored),
            lambda result: zip(result["tiles"].sum(1), result["calibration"]),
            tile_names,
        )


@dataclasses.dataclass(frozen=True)
class Classify(Finetune):
    """Labels of tiles: binary cross-entropy of each label; F1 and mAP.

    Attributes:
      threshold: probability above which a label is predicted.
    """

    threshold: float = 0.5
    best: ClassVar[str] = "f1_macro"

    def _loss(self, logits, batch):
        return multilabel_loss(logits, batch["labels"], batch["weight"]), {}

    def evaluate(self, params: Params, batch: Batch, subsets: jax.Array) -> dict[str, jax.Array]:
        """"predicted", probabilities (S,B,K) from each subset (S,M); "labels" (B,K); and the entries that `PerSubset` needs."""
        logits = self.logits(params, batch, subsets)
        return {"predicted": jax.nn.sigmoid(logits), "labels": batch["labels"]} | self.coverage(batch, logits, subsets)

    def likelihood(self, logits: jax.Array, batch: Batch, weight: jax.Array, temperatures: jax.typing.ArrayLike) -> jax.Array:
        return multilabel_negative_log_likelihood(logits, batch["labels"], weight, temperatures)

    def reliability(self, logits: jax.Array, batch: Batch, weight: jax.Array) -> jax.Array:
        return multilabel_calibration_counts(logits, batch["labels"], weight)

    def scores(self, tile_names: Sequence[str] = ()) -> PerSubset:
        return PerSubset(
            lambda: MultiLabelScores(self.labels.classes, self.threshold),
            lambda result: [
                (predicted, result["labels"], has_any * result["weight"])
                for predicted, has_any in zip(result["predicted"], result["has_any"])
            ],
            tile_names,
        )
