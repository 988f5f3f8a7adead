"""Whether a model is as often right as it says: expected calibration error (Guo et al., ICML 2017)."""

import jax
import jax.numpy as jnp
import numpy as np

BINS = 15


def calibration_counts(logits, labels, weight, *, ignore: int):
    """Pixels by how sure the prediction is.

    Args:
      logits: (B,H,W,K).
      labels: (B,H,W) integer; `ignore` and what is no class is left out.
      weight: (B,), samples with 0 are left out.

    Returns:
      (BINS, 3) float32: pixels, sum of the probability of the predicted class, pixels predicted rightly.
    """
    labels = labels.astype(jnp.int32)
    sure = jax.nn.softmax(logits.astype(jnp.float32)).max(-1)
    right = logits.argmax(-1) == labels
    counted = (labels != ignore) & (labels >= 0) & (labels < logits.shape[-1]) & (weight[:, None, None] > 0)
    bin_of = jnp.where(counted, jnp.minimum((sure * BINS).astype(jnp.int32), BINS - 1), BINS).reshape(-1)
    columns = [jnp.ones_like(sure), sure, right.astype(jnp.float32)]
    return jnp.stack([jnp.bincount(bin_of, column.reshape(-1), length=BINS + 1)[:BINS] for column in columns], 1)


def expected_calibration_error(counts) -> float:
    """Mean distance of probability and share of right predictions over the bins of counts (BINS,3), weighted by pixels, in %."""
    pixels, sure, right = np.asarray(counts, np.float64).T
    return float(100 * np.abs(sure - right).sum() / pixels.sum()) if pixels.sum() else float("nan")
