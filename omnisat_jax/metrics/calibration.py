"""Expected calibration error: whether predictions are as often correct as their probability states (Guo et al., ICML 2017).

Letters: B batch, H W pixels, K classes.
"""

import jax
import jax.numpy as jnp
import numpy as np

BINS = 15  # equal intervals of probability


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
    counted = (labels != ignore) & (labels >= 0) & (labels < logits.shape[-1]) & (weight[:, None, None] > 0)
    index = jnp.where(counted, jnp.minimum((confidence * BINS).astype(jnp.int32), BINS - 1), BINS).reshape(-1)
    columns = [jnp.ones_like(confidence), confidence, correct.astype(jnp.float32)]
    return jnp.stack([jnp.bincount(index, column.reshape(-1), length=BINS + 1)[:BINS] for column in columns], 1)


def expected_calibration_error(counts: jax.typing.ArrayLike) -> float:
    """The mean distance between probability and accuracy over the bins, weighted by their pixels.

    Args:
      counts: (BINS,3), sums of `calibration_counts`.

    Returns:
      In %; nan without a pixel.
    """
    pixels, confidence, correct = np.asarray(counts, np.float64).T
    return float(100 * np.abs(confidence - correct).sum() / pixels.sum()) if pixels.sum() else float("nan")
