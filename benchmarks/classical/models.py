"""The two classifiers, and the matrix that they read. Letters: N pixels, F features, M modalities."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from omnisat_jax.errors import UserError

MODELS = ("extra_trees", "logistic")
CHOICES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # inverse strengths of regularisation that are tried
MAX_ITERATIONS = 500

Predict = Callable[[np.ndarray], np.ndarray]  # features (N,F) -> classes (N,)


@dataclasses.dataclass(frozen=True)
class Filling:
    """What stands for pixels of which nothing is known of a modality: the mean of the training pixels, and a column that says so.

    Attributes:
      means: {modality: (F,) of the training pixels}.
    """

    means: Mapping[str, np.ndarray]

    @classmethod
    def fit(cls, features: Mapping[str, np.ndarray]) -> "Filling":
        """The means of training pixels, {modality: (N,F)}.

        Raises:
          UserError: a modality of which no training pixel is known.
        """
        means = {}
        for name, columns in features.items():
            known = np.isfinite(columns).all(1)
            if not known.any():
                raise UserError(f"expected known values of {name} in the labeled training pixels, found none; leave it out of --modalities")
            means[name] = columns[known].mean(0, dtype=np.float64).astype(np.float32)
        return cls(means)

    def matrix(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """(N,F+M) float32 without nan: the columns of each modality, then whether it is known."""
        columns, known = [], []
        for name, means in self.means.items():
            some = np.asarray(np.isfinite(features[name]).all(1))
            columns.append(np.where(some[:, None], features[name], means))
            known.append(some)
        return np.concatenate([*columns, np.stack(known, 1).astype(np.float32)], 1)


def fit(kind: str, features: np.ndarray, labels: np.ndarray, *, seed: int, trees: int, strength: float) -> Predict:
    """Fits a classifier.

    Args:
      kind: "extra_trees" (Geurts et al., 2006) or "logistic", multinomial logistic regression on standardised features.
      features: (N,F).
      labels: (N,) classes.
      seed: of the trees; logistic regression draws nothing.
      trees: of "extra_trees".
      strength: C of "logistic", the inverse of the L2 penalty.

    Raises:
      UserError: training pixels of one class only.
    """
    if len(np.unique(labels)) < 2:
        raise UserError(f"expected training pixels of at least two classes, found {len(np.unique(labels))}; choose other folds")
    if kind == "extra_trees":
        return ExtraTreesClassifier(trees, n_jobs=-1, random_state=seed, min_samples_leaf=2).fit(features, labels).predict
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, tol=1e-3))
    with threadpool_limits(1, "blas"):  # the products are small, and on a busy machine threads that wait for each other take 20 times as long
        return model.fit(features, labels).predict
