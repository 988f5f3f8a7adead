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
from omnisat_jax.models.assembly import Assembly
from omnisat_jax.ops.parts import in_parts
from omnisat_jax.ops.random import drop_modalities, of_part


@dataclasses.dataclass(frozen=True)
class _Finetune:
    """What both kinds of labels share; see `tasks.base.Task`."""

    model: Assembly
    statistics: dict
    classes: tuple[str, ...]
    modality_dropout: float
    parts: int = dataclasses.field(default=1, kw_only=True)
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
            inputs, drawn = normalise(measured, self.statistics, names), of_part(rngs, part)
            encoded = self.model.apply(variables, inputs, train=True, rngs=drawn, method="encode")
            return [self.model.apply(variables, encoded, view, train=True, rngs=drawn, method="predict") for view in views]

        tiles = {name: batch[name] for name in names}, views
        losses = [self._loss(logits, batch) for logits in in_parts(predict, self.parts, tiles)]
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
        """Confusion counts a tile (S,B,K,K+1), calibration counts (S,BINS,3), and the predicted classes (S,B,H,W) uint8, for pictures; tile_index and weight (B,)."""
        labels, weight = batch["labels"], batch["weight"]
        logits = self.logits(params, batch, subsets)
        predicted = logits.argmax(-1).astype(jnp.uint8)

        def count(predicted, labels, weight):
            return confusion_counts(predicted[None], labels[None], weight[None], classes=len(self.classes), ignore=self.ignore)

        of_tiles = jax.vmap(count)
        calibrate = functools.partial(calibration_counts, ignore=self.ignore)
        return {
            "tiles": jax.vmap(of_tiles, (0, None, None))(predicted, labels, weight),
            "calibration": jax.vmap(calibrate, (0, None, None))(logits, labels, weight),
            "predicted": predicted,
            "tile_index": batch["tile_index"],
            "weight": weight,
        }

    def scores(self):
        return _Each(
            lambda: SegmentationScores(self.classes, self.unscored),
            lambda result: zip(result["tiles"].sum(1), result["calibration"]),
        )


@dataclasses.dataclass(frozen=True)
class Classify(_Finetune):
    """Binary cross-entropy of every label; F1 and mAP."""

    threshold: float = 0.5
    best: str = "f1_macro"

    def _loss(self, logits, batch):
        return multilabel_loss(logits, batch["labels"], batch["weight"]), {}

    def evaluate(self, params, batch, subsets):
        """Probabilities "predicted" (S,B,K) with labels (B,K), weight and tile_index (B,)."""
        predicted = jax.nn.sigmoid(self.logits(params, batch, subsets))
        return {"predicted": predicted} | {key: batch[key] for key in ("labels", "weight", "tile_index")}

    def scores(self):
        return _Each(
            lambda: MultiLabelScores(self.classes, self.threshold),
            lambda result: [(p, result["labels"], result["weight"]) for p in result["predicted"]],
        )


class _Each:
    """One score object a subset."""

    def __init__(self, make, split):
        self._make, self._split, self.parts = make, split, None

    def add(self, result):
        pieces = list(self._split(result))
        if self.parts is None:
            self.parts = [self._make() for _ in pieces]
        for part, piece in zip(self.parts, pieces, strict=True):
            part.add(*piece)

    def compute(self):
        return [part.compute() for part in self.parts]
