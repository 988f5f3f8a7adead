"""Fine-tuning with labels: dense crop maps, or labels of a tile, from any subset of modalities."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from omnisat_jax.batch import normalise, presence
from omnisat_jax.losses.classification import multilabel_loss
from omnisat_jax.losses.segmentation import segmentation_loss
from omnisat_jax.metrics.calibration import calibration_counts
from omnisat_jax.metrics.classification import MultiLabelScores
from omnisat_jax.metrics.segmentation import SegmentationScores, confusion_counts
from omnisat_jax.metrics.subsets import Each, held
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.ops.microbatches import in_microbatches
from omnisat_jax.ops.random import drop_modalities, of_microbatch


@dataclasses.dataclass(frozen=True)
class _Finetune:
    """What both kinds of labels share; see `tasks.base.Task`."""

    model: MultimodalModel
    statistics: dict
    classes: tuple[str, ...]
    modality_dropout: float
    num_microbatches: int = dataclasses.field(default=1, kw_only=True)
    step_name: str = dataclasses.field(default="finetune_step", kw_only=True)
    higher: bool = dataclasses.field(default=True, kw_only=True)

    def init(self, key, batch):
        names = self.model.names
        inputs = normalise(batch, self.statistics, names)
        return self.model.init(key, inputs, presence(batch, names), train=False)["params"]

    def loss(self, params, batch, streams):
        """Mean over the views of each tile: all its modalities, and with modality dropout a random subset of them.

        A step that sees the subset alone learns the whole too seldom. Encoders run once for both.
        """
        names = self.model.names
        views = [presence(batch, names)]
        if self.modality_dropout:
            views.append(drop_modalities(streams("modality_dropout"), views[0], self.modality_dropout))
        rngs, variables = {"dropout": streams("dropout")}, {"params": params}

        def predict(tiles, part):
            measured, views = tiles
            inputs, drawn = normalise(measured, self.statistics, names), of_microbatch(rngs, part)
            encoded = self.model.apply(variables, inputs, train=True, rngs=drawn, method="encode")
            return [self.model.apply(variables, encoded, view, train=True, rngs=drawn, method="predict") for view in views]

        tiles = {name: batch[name] for name in names}, views
        losses = [self._loss(logits, batch) for logits in in_microbatches(predict, self.num_microbatches, tiles)]
        return jax.tree.map(lambda *of_views: sum(of_views) / len(of_views), *losses)

    def logits(self, params, batch, subsets):
        """(S,B,...) logits of each subset (S,M) of the modalities that are present; encoders run once."""
        names = self.model.names
        variables = {"params": params}
        inputs, present = normalise(batch, self.statistics, names), presence(batch, names)
        encoded = self.model.apply(variables, inputs, train=False, method="encode")

        def one(subset):
            return self.model.apply(variables, encoded, present & subset, train=False, method="predict")

        return jax.lax.map(one, subsets)

    def _about(self, batch, logits, subsets):
        """What a result of `evaluate` says of every tile, whatever its labels are: see `Each`."""
        about = held(presence(batch, self.model.names), subsets, logits)
        return about | {name: batch[name] for name in ("tile_index", "weight")}


@dataclasses.dataclass(frozen=True)
class Segment(_Finetune):
    """Cross-entropy and Dice over pixels; mIoU over all classes but void and those that the dataset leaves unscored."""

    ignore: int = 255
    unscored: tuple[str, ...] = ()
    dice_weight: float = 1.0
    best: str = "miou"

    def _loss(self, logits, batch):
        return segmentation_loss(logits, batch["labels"], batch["weight"], ignore=self.ignore, dice_weight=self.dice_weight)

    def evaluate(self, params, batch, subsets):
        """Scores of each subset (S,M) over the tiles that hold some of it: what holds nothing of it is predicted from nothing.

        Returns:
          "tiles", confusion counts (S,B,K,K+1); "calibration", counts (S,BINS,3); "predicted", classes (S,B,H,W) uint8, for pictures; and, see
          `Each`, "some", "whole", "usable" (S,B) bool, "tile_index" and "weight" (B,).
        """
        labels = batch["labels"]
        logits = self.logits(params, batch, subsets)
        predicted, about = logits.argmax(-1).astype(jnp.uint8), self._about(batch, logits, subsets)
        weight = about["some"] * batch["weight"]  # (S,B)

        def count(predicted, labels, weight):
            return confusion_counts(predicted[None], labels[None], weight[None], classes=len(self.classes), ignore=self.ignore)

        of_tiles = jax.vmap(count)
        calibrate = functools.partial(calibration_counts, ignore=self.ignore)
        return {
            "tiles": jax.vmap(of_tiles, (0, None, 0))(predicted, labels, weight),
            "calibration": jax.vmap(calibrate, (0, None, 0))(logits, labels, weight),
            "predicted": predicted,
        } | about

    def scores(self, tile_names=()):
        return Each(
            lambda: SegmentationScores(self.classes, self.unscored),
            lambda result: zip(result["tiles"].sum(1), result["calibration"]),
            tile_names,
        )


@dataclasses.dataclass(frozen=True)
class Classify(_Finetune):
    """Binary cross-entropy of every label; F1 and mAP."""

    threshold: float = 0.5
    best: str = "f1_macro"

    def _loss(self, logits, batch):
        return multilabel_loss(logits, batch["labels"], batch["weight"]), {}

    def evaluate(self, params, batch, subsets):
        """Probabilities "predicted" (S,B,K) of each subset (S,M) with labels (B,K), and, see `Each`, what `Segment.evaluate` says of tiles."""
        logits = self.logits(params, batch, subsets)
        return {"predicted": jax.nn.sigmoid(logits), "labels": batch["labels"]} | self._about(batch, logits, subsets)

    def scores(self, tile_names=()):
        return Each(
            lambda: MultiLabelScores(self.classes, self.threshold),
            lambda result: [(p, result["labels"], some * result["weight"]) for p, some in zip(result["predicted"], result["some"])],
            tile_names,
        )
