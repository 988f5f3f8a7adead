"""Frozen evaluation: scores of simple predictors on the tokens of an encoder, without fine-tuning.

Letters: B batch, M modalities, S subsets, P patches, D width, T dates, h w positions of the attention's grid, K classes, N tokens.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from omnisat_jax.batch import normalise, presence
from omnisat_jax.errors import UserError
from omnisat_jax.metrics.classification import MultiLabelScores
from omnisat_jax.metrics.segmentation import SegmentationScores, confusion_counts
from omnisat_jax.metrics.subsets import PerSubset, coverage, not_finite_error
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.tasks.base import LabelInfo, Normalizing
from omnisat_jax.types import Batch, Params, PyTree, Statistics

MAX_ITERATIONS = 1000  # of logistic regression

Predict = Callable[[np.ndarray], np.ndarray]  # tokens (N,D) -> scores (N,K)


@dataclasses.dataclass(frozen=True)
class TokenReader(Normalizing):
    """Returns tokens instead of predictions; see `tasks.base.Evaluable`.

    Its results are added up by a `Collector` on training tiles and by `ProbeScores` on test tiles.

    Attributes:
      model: see `models.registry.make_model`.
      statistics: {modality: {"mean" (C,), "std" (C,)}} of the training tiles.
    """

    model: MultimodalModel
    statistics: Statistics

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Random parameters of everything that computes tokens."""
        inputs, present = normalise(batch, self.statistics, self.model.names), presence(batch, self.model.names)
        return self.model.init(key, inputs, present, method=_tokens)["params"]

    def evaluate(self, params: Params, batch: Batch, subsets: jax.Array) -> dict[str, PyTree]:
        """The tokens of each tile from each subset (S,M) of the modalities that are present.

        Returns:
          "tokens" (S,B,P,D); "labels", "weight" and "tile_index" as in the batch; "attention" {series: {"weights" (B,T,h,w), see `Encoding`,
          "dates" and "valid" (B,T)}} of the encoders that attend to dates; and the entries of `metrics.subsets.coverage`.
        """
        names = self.model.names
        inputs, present = normalise(batch, self.statistics, names), presence(batch, names)
        encoded: Any = self.model.apply({"params": params}, inputs, train=False, method="encode")

        def read(subset: jax.Array) -> Any:
            return self.model.apply({"params": params}, encoded, present & subset, train=False, method="tokens")

        attention = {
            name: {"weights": weights, "dates": inputs[name]["dates"], "valid": inputs[name]["valid"]}
            for name, weights in self.model.attention(encoded).items()
        }
        copied = {key: batch[key] for key in ("labels", "weight", "tile_index")}
        tokens = jax.lax.map(read, subsets)
        return {"tokens": tokens, "attention": attention} | copied | coverage(present, subsets, tokens)


def _tokens(model, inputs, present):
    return model.tokens(model.encode(inputs, train=False), present, train=False)


class Collector:
    """Collects training tokens, of the first subset, with the labels of their patches.

    Tiles give equal shares of at most `limit` tokens; tiles without any modality of the subset give none.
    """

    def __init__(self, classes: int, limit: int, tiles: int, seed: int, tile_names: Sequence[str] = ()):
        """No token yet.

        Args:
          classes: K.
          limit: largest number of tokens.
          tiles: how many tiles will be added.
          seed: of the choice of tokens.
          tile_names: in the order of tile_index, for error messages.
        """
        self._classes, self._share, self._rng = classes, max(1, limit // tiles), np.random.default_rng(seed)
        self._tokens: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self._tiles, self._tile_names = tiles, tile_names

    def add(self, result: Mapping[str, Any]) -> None:
        """Adds the result of `TokenReader.evaluate` for one batch.

        Raises:
          UserError: tokens that are not finite; names their tiles.
        """
        real = (np.asarray(result["weight"]) > 0) & np.asarray(result["has_any"])[0]
        not_finite = real & ~np.asarray(result["finite"])[0]
        if not_finite.any():
            raise not_finite_error(np.asarray(result["tile_index"])[not_finite].tolist(), self._tiles, self._tile_names)
        for tokens, labels in zip(np.asarray(result["tokens"][0], np.float32)[real], np.asarray(result["labels"])[real]):
            if labels.ndim == 1:
                tokens, targets = tokens.mean(0, keepdims=True), labels[None]
            else:
                targets = class_shares(labels, len(tokens), self._classes)
            known = np.flatnonzero(targets.any(1)) if labels.ndim == 2 else np.zeros(1, int)
            chosen = self._rng.permutation(known)[: self._share]
            self._tokens.append(tokens[chosen])
            self._targets.append(targets[chosen])

    def compute(self) -> tuple[np.ndarray, np.ndarray]:
        """All tokens with their targets.

        Returns:
          tokens: (N,D) float32.
          targets: (N,K) float32, shares of classes, or labels of the tile.

        Raises:
          UserError: no tile has a labeled patch.
        """
        if not sum(map(len, self._tokens)):
            raise UserError(f"a probe needs labeled patches, found none in {self._tiles} training tiles")
        return np.concatenate(self._tokens), np.concatenate(self._targets)


def class_shares(labels: np.ndarray, patches: int, classes: int) -> np.ndarray:
    """The share of each class among the labeled pixels of each patch.

    Args:
      labels: (H,W) integer; values outside 0..K-1 are not labeled.
      patches: P.
      classes: K.

    Returns:
      (P,K) float32; 0 for a patch without a labeled pixel.
    """
    side = round(patches**0.5)
    p = labels.shape[0] // side
    cells = labels.reshape(side, p, side, p).swapaxes(1, 2).reshape(patches, p * p)
    counts = np.stack([np.bincount(cell[cell < classes], minlength=classes) for cell in cells]).astype(np.float32)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def fit(kind: str, tokens: np.ndarray, targets: np.ndarray, *, dense: bool, neighbours: int) -> Predict:
    """Fits a predictor with scikit-learn.

    Args:
      kind: "linear", logistic regression on standardised tokens, where a patch counts for each of its classes by its share; or "knn", the
        mean target of the nearest tokens, weighted by cosine distance.
      tokens: (N,D), see `Collector.compute`.
      targets: (N,K).
      dense: whether targets are shares of classes, not labels of a tile.
      neighbours: of "knn".

    Returns:
      A function from tokens (N,D) to scores (N,K).

    Raises:
      UserError: training tokens of one class only.
    """
    # scikit-learn takes a second to import, and most runs fit no probe.
    if kind == "knn":
        from sklearn.neighbors import KNeighborsRegressor

        count = min(neighbours, len(tokens))
        return KNeighborsRegressor(count, weights="distance", metric="cosine").fit(tokens, targets).predict
    return _fit_classes(tokens, targets) if dense else _fit_labels(tokens, targets)


def _fit_labels(tokens, targets) -> Predict:
    """One logistic regression per label; a label that all training tiles agree on is predicted as they have it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    varies = np.flatnonzero(targets.any(0) & ~targets.all(0))
    constant = targets.mean(0)
    if not len(varies):
        return lambda x: np.broadcast_to(constant, (len(x), len(constant)))
    model = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(max_iter=MAX_ITERATIONS)))
    model.fit(tokens, targets[:, varies])

    def predict(x: np.ndarray) -> np.ndarray:
        out = np.tile(constant, (len(x), 1))
        out[:, varies] = model.predict_proba(x).reshape(len(x), -1)[:, -len(varies) :]
        return out

    return predict


def _fit_classes(tokens, targets) -> Predict:
    """One multinomial logistic regression, each token weighted by the share of each of its classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    index, classes = np.nonzero(targets)
    if len(np.unique(classes)) < 2:
        raise UserError("a linear probe needs training patches of at least two classes, found one")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    model.fit(tokens[index], classes, logisticregression__sample_weight=targets[index, classes])

    def predict(x: np.ndarray) -> np.ndarray:
        out = np.zeros((len(x), targets.shape[1]))
        out[:, model.classes_] = model.predict_proba(x)
        return out

    return predict


class ProbeScores(PerSubset):
    """Scores of a fitted probe for each subset; a dense prediction is one class per patch.

    Attributes:
      predicted: (S,B,H,W) classes of the last batch that was added, of dense labels.
    """

    def __init__(self, predict: Predict, labels: LabelInfo, *, threshold: float, tile_names: Sequence[str] = ()):
        """No tile yet.

        Args:
          predict: of `fit`.
          labels: classes, and what is left out of scores.
          threshold: probability above which a label of a tile is predicted.
          tile_names: in the order of tile_index, for error messages.
        """
        super().__init__(self._make_scores_of_labels, self._predictions, tile_names)
        self._predict, self._labels, self._threshold, self._dense = predict, labels, threshold, False
        self.predicted = np.zeros((0, 0, 0, 0), int)

    def _make_scores_of_labels(self):
        if self._dense:
            return SegmentationScores(self._labels.classes, self._labels.unscored)
        return MultiLabelScores(self._labels.classes, self._threshold)

    def _predictions(self, result):
        """The arguments of `add` of the scores of each subset."""
        labels = np.asarray(result["labels"])
        self._dense = labels.ndim == 3
        weights = np.asarray(result["weight"]) * np.asarray(result["has_any"])
        # A probe cannot read tokens that are not finite; `compute` raises for their tiles.
        finite = np.asarray(result["finite"])[..., None, None]
        tokens = np.where(finite, np.asarray(result["tokens"], np.float32), 0)
        if not self._dense:
            return [(self._predict(of_subset.mean(1)), labels, weight) for of_subset, weight in zip(tokens, weights, strict=True)]
        self.predicted = np.stack([self._map(of_subset, labels.shape[1]) for of_subset in tokens])
        classes, ignore = len(self._labels.classes), self._labels.ignore
        maps = zip(self.predicted, weights, strict=True)
        return [(confusion_counts(predicted, labels, weight, classes=classes, ignore=ignore),) for predicted, weight in maps]

    def _map(self, tokens, length):
        """(B,H,W) classes of tokens (B,P,D), each repeated over its patch of a label image of `length` pixels per side."""
        b, p, d = tokens.shape
        side = round(p**0.5)
        cells = self._predict(tokens.reshape(b * p, d)).argmax(-1).reshape(b, side, side)
        return cells.repeat(length // side, axis=1).repeat(length // side, axis=2)
