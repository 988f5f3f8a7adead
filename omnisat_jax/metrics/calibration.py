"""Calibration: whether predictions are as often correct as their probability states, and the temperature that corrects it.

Dividing logits by a temperature (Guo et al., ICML 2017) changes probabilities, but not which class is the most probable one. Every sum is
over predictions, so that sums of batches, devices and hosts can be added.

Letters: B batch, H W pixels, K classes, T temperatures.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

BINS = 15  # equal intervals of probability
# Those that are tried, 0.25 to 4 in equal steps of their logarithm; exactly 1 is among them.
TEMPERATURES = 2.0 ** np.linspace(-2, 2, 33)


def calibration_counts(logits: jax.Array, labels: jax.Array, weight: jax.Array, *, ignore: int) -> jax.Array:
    """Counts pixels by the probability of the predicted class.

    Args:
      logits: (B,H,W,K).
      labels: (B,H,W) integer; `ignore` and values outside 0..K-1 are left out.
      weight: (B,), samples with 0 are left out.
      ignore: label value of void pixels.

    Returns:
      (BINS,3) float32: pixels, sum of the probabilities of the predicted class, correct pixels.
    """
    labels = labels.astype(jnp.int32)
    confidence = jax.nn.softmax(logits.astype(jnp.float32)).max(-1)
    correct = logits.argmax(-1) == labels
    return _binned(confidence, correct, _labelled(labels, logits.shape[-1], weight, ignore))


def multilabel_calibration_counts(logits: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    """Counts pairs of tile and label by the probability that the tile has the label.

    Args:
      logits: (B,K).
      labels: (B,K) in {0, 1}.
      weight: (B,), samples with 0 are left out.

    Returns:
      (BINS,3) float32: pairs, sum of their probabilities, pairs whose tile has the label.
    """
    counted = jnp.broadcast_to(weight[:, None] > 0, labels.shape)
    return _binned(jax.nn.sigmoid(logits.astype(jnp.float32)), labels, counted)


def negative_log_likelihood(
    logits: jax.Array, labels: jax.Array, weight: jax.Array, temperatures: jax.typing.ArrayLike, *, ignore: int
) -> jax.Array:
    """Sums the cross-entropy of the labeled pixels of each sample at several temperatures.

    Args:
      logits: (B,H,W,K).
      labels: (B,H,W) integer; `ignore` and values outside 0..K-1 are left out.
      weight: (B,), samples with 0 sum to 0.
      temperatures: (T,), above 0.
      ignore: label value of void pixels.

    Returns:
      (B,T) float32, in nats.
    """
    labels = labels.astype(jnp.int32)
    counted = _labelled(labels, logits.shape[-1], weight, ignore)
    safe = jnp.where(counted, labels, 0)[..., None]

    def at(temperature):
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
        return -jnp.where(counted, jnp.take_along_axis(log_p, safe, -1)[..., 0], 0).sum((1, 2))

    return jax.lax.map(at, jnp.asarray(temperatures, jnp.float32)).T  # one after another, as each needs the memory of the logits


def multilabel_negative_log_likelihood(
    logits: jax.Array, labels: jax.Array, weight: jax.Array, temperatures: jax.typing.ArrayLike
) -> jax.Array:
    """Sums the binary cross-entropy of the labels of each sample at several temperatures.

    Args:
      logits: (B,K).
      labels: (B,K) in {0, 1}.
      weight: (B,), samples with 0 sum to 0.
      temperatures: (T,), above 0.

    Returns:
      (B,T) float32, in nats.
    """
    scaled = logits.astype(jnp.float32)[:, None] / jnp.asarray(temperatures, jnp.float32)[:, None]
    losses = optax.sigmoid_binary_cross_entropy(scaled, labels.astype(jnp.float32)[:, None]).sum(-1)
    return jnp.where(weight[:, None] > 0, losses, 0)


def expected_calibration_error(counts: jax.typing.ArrayLike) -> float:
    """The mean distance between probability and accuracy over the bins, weighted by their pixels.

    Args:
      counts: (BINS,3), sums of `calibration_counts` or `multilabel_calibration_counts`.

    Returns:
      In %; nan without a pixel.
    """
    pixels, confidence, correct = np.asarray(counts, np.float64).T
    return float(100 * np.abs(confidence - correct).sum() / pixels.sum()) if pixels.sum() else float("nan")


@dataclasses.dataclass(frozen=True)
class Temperature:
    """What logits are divided by.

    Attributes:
      value: the temperature; 1 leaves probabilities as they are.
      remark: what a reader must know about it, as a sentence without its full stop; "" if nothing.
    """

    value: float = 1.0
    remark: str = ""


def fit_temperature(sums: jax.typing.ArrayLike) -> Temperature:
    """The temperature of the highest likelihood: the lowest point of the parabola, over log T, through the best of `TEMPERATURES` and its neighbors.

    Nothing is extrapolated: where the first or the last of `TEMPERATURES` is the best one, it is returned with a remark. Where the sums do
    not determine a temperature, it is 1 with a remark.

    Args:
      sums: (len(TEMPERATURES),), negative log-likelihood at each of them.
    """
    sums, places = np.asarray(sums, np.float64), np.log(TEMPERATURES)
    if not np.isfinite(sums).all():
        return Temperature(remark="The likelihood of the validation labels is not finite, so no temperature is fitted")
    lowest = np.flatnonzero(sums == sums.min())
    if len(lowest) == len(sums):
        return Temperature(remark="All temperatures explain the validation labels equally well, so none is fitted")
    best = int(lowest[np.abs(places[lowest]).argmin()])
    if best in (0, len(sums) - 1):
        tried = f"{TEMPERATURES[0]:g} to {TEMPERATURES[-1]:g}"
        return Temperature(float(TEMPERATURES[best]), f"It lies at the end of the temperatures that are tried, {tried}; a better one may lie outside")
    before, here, after = sums[best - 1 : best + 2]
    curvature = before - 2 * here + after  # 0 where three temperatures are equally good
    shift = (before - after) / (2 * curvature) if curvature > 0 else 0.0  # of the vertex, in steps, between -1/2 and 1/2
    return Temperature(math.exp(places[best] + shift * (places[1] - places[0])))


class LikelihoodSums:
    """Adds up the negative log-likelihood at each temperature; make a new one for each evaluation."""

    def __init__(self):
        """No sample yet."""
        self._sums = np.zeros(len(TEMPERATURES))

    def add(self, likelihood: jax.typing.ArrayLike) -> None:
        """Adds a batch: (B,len(TEMPERATURES)), see `negative_log_likelihood`."""
        self._sums = self._sums + np.asarray(likelihood, np.float64).sum(0)

    def compute(self) -> np.ndarray:
        """(len(TEMPERATURES),) float64."""
        return self._sums


class ScalingScores:
    """Adds up likelihood and calibration before and after a temperature; make a new one for each evaluation."""

    def __init__(self):
        """No sample yet."""
        self._likelihood, self._counts = np.zeros(2), np.zeros((2, BINS, 3))

    def add(self, result: Mapping[str, Any]) -> None:
        """Adds a batch: "likelihood" (B,2) and "counts" (2,BINS,3), each before and after."""
        self._likelihood = self._likelihood + np.asarray(result["likelihood"], np.float64).sum(0)
        self._counts = self._counts + np.asarray(result["counts"], np.float64)

    def compute(self) -> dict[str, Any]:
        """What results.json keeps.

        Returns:
          "predictions": labeled pixels, or pairs of tile and label; "before" and "after": {"nll": mean negative log-likelihood in nats,
          "ece": in %, "counts": (BINS,3) as lists}. "nll" and "ece" are None without a prediction, or where they are not finite.
        """
        predictions = int(self._counts[0, :, 0].sum())
        sides = [scaling_entry(total / predictions if predictions else math.nan, counts) for total, counts in zip(self._likelihood, self._counts)]
        return {"predictions": predictions, "before": sides[0], "after": sides[1]}


def scaling_entry(likelihood: float, counts: np.ndarray) -> dict[str, Any]:
    """One side of `ScalingScores.compute`, from the mean negative log-likelihood and calibration counts (BINS,3)."""
    values = {"nll": float(likelihood), "ece": expected_calibration_error(counts)}
    return {name: value if math.isfinite(value) else None for name, value in values.items()} | {"counts": counts.tolist()}


def _labelled(labels, classes, weight, ignore):
    """(B,H,W) bool: the pixels that count."""
    return (labels != ignore) & (labels >= 0) & (labels < classes) & (weight[:, None, None] > 0)


def _binned(confidence, correct, counted):
    """(BINS,3): counted predictions, their summed confidence, and the correct ones, by confidence."""
    index = jnp.where(counted, jnp.minimum((confidence * BINS).astype(jnp.int32), BINS - 1), BINS)
    columns = [jnp.ones_like(confidence), confidence, correct.astype(jnp.float32)]

    # Row by row: a bin of a million numbers, added one by one in float32, would round 0.99 to 1.
    def add_up(index: jax.Array, column: jax.Array) -> jax.Array:
        return jnp.bincount(index, column, length=BINS + 1)[:BINS]

    rows = [index.reshape(-1, index.shape[-1]), *(column.reshape(-1, index.shape[-1]) for column in columns)]
    return jnp.stack([jax.vmap(add_up)(rows[0], row).sum(0) for row in rows[1:]], 1)
