"""A classifier on one fold: trained, chosen and tested as a run is. Letters: H W label pixels, N pixels, K classes."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.classical import models
from benchmarks.classical.features import FeatureConfig, TileFeatures
from benchmarks.classical.models import CHOICES, Filling
from omnisat_jax.errors import UserError
from omnisat_jax.metrics.segmentation import SegmentationScores, confusion_counts
from omnisat_jax.records.reader import Records
from omnisat_jax.records.splits import Split

CACHED = 2 * 2**30  # bytes of features that are kept for the next fold

Cache = dict[tuple[int, tuple], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class ClassicalConfig:
    """What is fitted.

    Attributes:
      features: how features are made.
      model: "extra_trees" or "logistic".
      void_test_parcels: leave out training pixels of parcels that test tiles contain.
      trees: of extra trees.
      strength: C of logistic regression; 0 = the best of CHOICES in validation.
      max_pixels: training pixels, drawn evenly from the tiles; 0 = all.
      label_share: of the labeled training tiles that labels are learned from, as `data.label_share` of a run: with the same seed the same tiles.
    """

    features: FeatureConfig
    model: str
    void_test_parcels: bool = False
    trees: int = 300
    strength: float = 0.0
    max_pixels: int = 200_000
    label_share: float = 1.0


@dataclasses.dataclass(frozen=True)
class Tested:
    """The prediction of a test tile.

    Attributes:
      tile_index: of the tile.
      has_any, has_all: whether it holds some and all of the modalities.
      labels, predicted: (H,W); the prediction counts only with has_any.
    """

    tile_index: int
    has_any: bool
    has_all: bool
    labels: np.ndarray
    predicted: np.ndarray


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained classifier with what a reader must know of its training.

    Attributes:
      predict: features (N,F) -> classes (N,).
      filling: of unknown features.
      pixels: that it is trained on.
      filled: {modality: training pixels of which it is unknown, and which have its mean}.
      strength: C of logistic regression; 0 for trees.
      chosen_on: parts on which it was chosen; () where it was given.
      seconds: of the fit, without features.
    """

    predict: models.Predict
    filling: Filling
    pixels: int
    filled: Mapping[str, int]
    strength: float
    chosen_on: tuple[str, ...]
    seconds: float


class Fold:
    """One fold of a protocol.

    Attributes:
      split, config, seed: as given.
      void: parts whose parcels are left out of training.
    """

    def __init__(self, records: Records, split: Split, config: ClassicalConfig, seed: int, cache: Cache):
        """
        Args:
          records: with dense labels.
          split: which parts train, validate and test.
          config: what is fitted.
          seed: of the classifier and of the choice of pixels, and with `label_share` below 1 of the choice of tiles.
          cache: features by tile_index and days of the columns; filled here, for further folds and seeds.
        """
        self.split, self.config, self.seed, self._records, self._cache = split, config, seed, records, cache
        self._features = TileFeatures(records, config.features, split.train)
        self.void = split.test if config.void_test_parcels else ()

    @property
    def roles(self) -> dict[str, str]:
        """{modality: what its features are those of}."""
        return self._features.roles

    def fit(self) -> Fitted:
        """Trains on the training parts."""
        strength, chosen_on = self.config.strength, ()
        if self.config.model == "logistic" and not strength:
            strength, chosen_on = self._choose()
        features, labels = self._pixels(self.split.train, self.void)
        filling, start = Filling.fit(features), time.monotonic()
        predict = self._fit(filling.matrix(features), labels, strength)
        seconds = time.monotonic() - start
        filled = {name: int((~np.isfinite(columns).all(1)).sum()) for name, columns in features.items()}
        return Fitted(predict, filling, len(labels), filled, strength, chosen_on, seconds)

    def _fit(self, matrix, labels, strength):
        return models.fit(self.config.model, matrix, labels, seed=self.seed, trees=self.config.trees, strength=strength)

    def test(self, fitted: Fitted) -> Iterator[Tested]:
        """Predicts every test tile. One without any of the modalities has no prediction, and is not scored."""
        yield from self._predict(fitted.filling, fitted.predict, self.split.test)

    def _predict(self, filling, predict, parts):
        source = self._records.source(parts)
        for position in range(len(source)):
            example = source[position]
            features = self._of(example)
            known = [bool(np.isfinite(columns).all(1).any()) for columns in features.values()]
            labels = example["labels"]
            predicted = predict(filling.matrix(features)).reshape(labels.shape) if any(known) else np.zeros(labels.shape, int)
            yield Tested(int(example["tile_index"]), any(known), all(known), labels, predicted)

    def _choose(self) -> tuple[float, tuple[str, ...]]:
        """The C with the highest mIoU on the validation part or, without one, on each training part in turn, with the others for training."""
        split = self.split
        turns = [(split.train, split.validation)] if split.validation else [
            (tuple(part for part in split.train if part != held), (held,)) for held in split.train
        ]
        if not turns[0][0]:
            raise UserError(f"--C: expected a value, as {split.protocol} has no validation part and one training part only; --C 0.003 is a fair one")
        scores = {strength: SegmentationScores(self._records.classes, self._records.unscored) for strength in CHOICES}
        for train, held in turns:
            features, labels = self._pixels(train, (*self.void, *(held if self.config.void_test_parcels else ())))
            filling = Filling.fit(features)
            matrix = filling.matrix(features)
            for strength in CHOICES:
                predict = self._fit(matrix, labels, strength)
                for tile in self._predict(filling, predict, held):
                    scores[strength].add(count(self._records, tile))
        best = max(CHOICES, key=lambda strength: scores[strength].compute()["miou"])
        return best, tuple(part for _, held in turns for part in held)

    def _pixels(self, parts: Sequence[str], void: Sequence[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Features {modality: (N,F)} and labels (N,) of training pixels, without those of the parcels of `void` parts."""
        source, rng = self._records.source(parts, self.config.label_share, self.seed), np.random.default_rng(self.seed)
        gone = self._records.parcels(void)
        share = -(-self.config.max_pixels // max(len(source), 1))
        rows, labels = [], []
        for position in range(len(source)):
            example = source[position]
            keep = (example["labels"] != self._records.ignore) & (example["labels"] < len(self._records.classes)) & ~np.isin(example["parcels"], gone)
            chosen = np.flatnonzero(keep)
            if self.config.max_pixels and len(chosen) > share:
                chosen = np.sort(rng.choice(chosen, share, replace=False))
            features = self._of(example)
            if len(chosen) and any(np.isfinite(columns).all(1).any() for columns in features.values()):
                rows.append({name: columns[chosen] for name, columns in features.items()})
                labels.append(example["labels"].reshape(-1)[chosen])
        if not rows:
            some = f" ({100 * self.config.label_share:g} % of the tiles)" if self.config.label_share < 1 else ""
            raise UserError(f"{self._records.root}: expected labeled pixels in the training parts {', '.join(parts)}{some}, found none; choose other folds")
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}, np.concatenate(labels)

    def _of(self, example: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The features of a tile, kept while memory for them is left."""
        key = int(example["tile_index"]), self._features.spans
        if key in self._cache:
            return self._cache[key]
        found = self._features(example)
        if sum(columns.nbytes for columns in found.values()) * (len(self._cache) + 1) <= CACHED:
            self._cache[key] = found
        return found


def count(records: Records, tile: Tested) -> np.ndarray:
    """(K,K+1) confusion counts of a tile; 0 for one that is not scored."""
    weight = np.array([float(tile.has_any)])
    return np.asarray(
        confusion_counts(tile.predicted[None], tile.labels[None], weight, classes=len(records.classes), ignore=records.ignore)
    )
