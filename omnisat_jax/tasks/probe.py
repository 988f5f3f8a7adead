"""Frozen evaluation: what the tokens of an encoder tell without fine-tuning.

Letters: B batch, M modalities, S subsets, P patches, D width, K classes, N tokens.
"""

import dataclasses

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from omnisat_jax.batch import normalise, presence
from omnisat_jax.errors import UserError
from omnisat_jax.metrics.classification import MultiLabelScores
from omnisat_jax.metrics.segmentation import SegmentationScores, confusion_counts
from omnisat_jax.metrics.subsets import Each, held, not_finite
from omnisat_jax.models.base import MultimodalModel


@dataclasses.dataclass(frozen=True)
class TokenReader:
    """Gives tokens instead of predictions; `init` and `evaluate` are those of `tasks.base.Task`.

    What adds up its results is a `Collector` on training tiles and `ProbeScores` on test tiles.

    Attributes:
      model, statistics: as in the training tasks.
    """

    model: MultimodalModel
    statistics: dict

    def init(self, key, batch):
        """Random parameters of everything that tokens need."""
        inputs, present = normalise(batch, self.statistics, self.model.names), presence(batch, self.model.names)
        return self.model.init(key, inputs, present, method=_tokens)["params"]

    def evaluate(self, params, batch, subsets):
        """What is known of each tile without fine-tuning.

        Returns:
          "tokens" (S,B,P,D) of each subset (S,M) of the modalities that are present; "labels", "weight" and "tile_index" as in the batch;
          "attention" {series: {"weights" (B,T,h,w), see `Encoding`, "dates" and "valid" (B,T)}} of the encoders that attend to dates; and
          "some", "whole", "usable" (S,B) bool, see `metrics.subsets.Each`.
        """
        names = self.model.names
        inputs, present = normalise(batch, self.statistics, names), presence(batch, names)
        encoded = self.model.apply({"params": params}, inputs, train=False, method="encode")

        def one(subset):
            return self.model.apply({"params": params}, encoded, present & subset, train=False, method="tokens")

        attention = {
            name: {"weights": weights, "dates": inputs[name]["dates"], "valid": inputs[name]["valid"]}
            for name, weights in self.model.attention(encoded).items()
        }
        about = {key: batch[key] for key in ("labels", "weight", "tile_index")}
        tokens = jax.lax.map(one, subsets)
        return {"tokens": tokens, "attention": attention} | about | held(present, subsets, tokens)


def _tokens(model, inputs, present):
    return model.tokens(model.encode(inputs, train=False), present, train=False)


class Collector:
    """Tokens of the first subset and what is known of their patches; tiles give equal shares of at most `limit` tokens.

    Tiles that hold nothing of the subset give none.
    """

    def __init__(self, classes: int, limit: int, tiles: int, seed: int, tile_names=()):
        """classes: K; tiles: how many will come; tile_names: in the order of tile_index, for messages."""
        self._classes, self._share, self._rng = classes, max(1, limit // tiles), np.random.default_rng(seed)
        self._tokens, self._targets, self._tiles, self._names = [], [], tiles, tile_names

    def add(self, result):
        """Adds a batch of `TokenReader.evaluate`.

        Raises:
          UserError: tokens that are not finite; names their tiles.
        """
        real = (np.asarray(result["weight"]) > 0) & np.asarray(result["some"])[0]
        unusable = real & ~np.asarray(result["usable"])[0]
        if unusable.any():
            raise not_finite(np.asarray(result["tile_index"])[unusable].tolist(), self._tiles, self._names)
        for tokens, labels in zip(np.asarray(result["tokens"][0], np.float32)[real], np.asarray(result["labels"])[real]):
            if labels.ndim == 1:
                tokens, targets = tokens.mean(0, keepdims=True), labels[None]
            else:
                targets = class_shares(labels, len(tokens), self._classes)
            known = np.flatnonzero(targets.any(1)) if labels.ndim == 2 else np.zeros(1, int)
            chosen = self._rng.permutation(known)[: self._share]
            self._tokens.append(tokens[chosen])
            self._targets.append(targets[chosen])

    def compute(self):
        """Tokens (N,D) and their targets (N,K): shares of classes, or labels.

        Raises:
          UserError: no tile has a labelled patch.
        """
        if not sum(map(len, self._tokens)):
            raise UserError(f"a probe needs labelled patches, found none in {self._tiles} training tiles")
        return np.concatenate(self._tokens), np.concatenate(self._targets)


def class_shares(labels, patches: int, classes: int):
    """(P,K) float32 share of each class among the pixels of each patch of labels (H,W) that count; 0 where none counts."""
    side = round(patches**0.5)
    p = labels.shape[0] // side
    cells = labels.reshape(side, p, side, p).swapaxes(1, 2).reshape(patches, p * p)
    counts = np.stack([np.bincount(cell[cell < classes], minlength=classes) for cell in cells]).astype(np.float32)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def fit(kind: str, tokens, targets, *, dense: bool, neighbours: int):
    """A function from tokens (N,D) to scores (N,K), fitted to tokens and targets as `Collector` gives them.

    "linear" is logistic regression on standardised tokens, a dense patch counting for each of its classes by their share; "knn" averages
    the targets of the nearest tokens, weighted by cosine distance. Both by scikit-learn.

    Raises:
      UserError: training tokens of one class only.
    """
    if kind == "knn":
        count = min(neighbours, len(tokens))
        return KNeighborsRegressor(count, weights="distance", metric="cosine").fit(tokens, targets).predict
    if not dense:
        occurs = np.flatnonzero(targets.any(0) & ~targets.all(0))
        constant = targets.mean(0)
        if not len(occurs):
            return lambda x: np.broadcast_to(constant, (len(x), len(constant)))
        model = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(max_iter=1000)))
        model.fit(tokens, targets[:, occurs])

        def labels(x):
            out = np.tile(constant, (len(x), 1))
            out[:, occurs] = model.predict_proba(x).reshape(len(x), -1)[:, -len(occurs) :]
            return out

        return labels
    index, classes = np.nonzero(targets)
    if len(np.unique(classes)) < 2:
        raise UserError("a linear probe needs training patches of at least two classes, found one")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(tokens[index], classes, logisticregression__sample_weight=targets[index, classes])

    def scores(x):
        out = np.zeros((len(x), targets.shape[1]))
        out[:, model.classes_] = model.predict_proba(x)
        return out

    return scores


class ProbeScores(Each):
    """Scores of a fitted probe for each subset; a dense prediction is one class per patch."""

    def __init__(self, predict, classes, *, ignore: int, threshold: float, unscored=(), tile_names=()):
        """predict: of `fit`; classes: names; ignore: void label; threshold: of tile labels; unscored: classes outside the mean."""
        super().__init__(self._make_one, self._predictions, tile_names)
        self._predict, self._classes, self._ignore, self._threshold = predict, classes, ignore, threshold
        self._unscored, self._dense = unscored, False

    def _make_one(self):
        return SegmentationScores(self._classes, self._unscored) if self._dense else MultiLabelScores(self._classes, self._threshold)

    def _predictions(self, result):
        """What a batch of `TokenReader.evaluate` adds to the scores of each subset."""
        labels = np.asarray(result["labels"])
        self._dense = labels.ndim == 3
        weights = np.asarray(result["weight"]) * np.asarray(result["some"])
        # Tokens that are not finite are no input of a probe; `compute` refuses them.
        usable = np.asarray(result["usable"])[..., None, None]
        every = np.where(usable, np.asarray(result["tokens"], np.float32), 0)
        return [(self._one(tokens, labels, weight)) for tokens, weight in zip(every, weights, strict=True)]

    def _one(self, tokens, labels, weight):
        b, p, d = tokens.shape
        if not self._dense:
            return self._predict(tokens.mean(1)), labels, weight
        side = round(p**0.5)
        cells = self._predict(tokens.reshape(b * p, d)).argmax(-1).reshape(b, side, side)
        pixels = labels.shape[1] // side
        predicted = cells.repeat(pixels, axis=1).repeat(pixels, axis=2)
        return (confusion_counts(predicted, labels, weight, classes=len(self._classes), ignore=self._ignore),)
