"""Cross-entropy and Dice over the pixels that count. Letters: B batch, H W pixels, K classes."""

import jax
import jax.numpy as jnp

_EPSILON = 1e-6  # against division by 0


def segmentation_loss(
    logits: jax.Array, labels: jax.Array, weight: jax.Array, *, ignore: int, dice_weight: float, smoothing: float = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean cross-entropy + dice_weight * (1 - mean soft Dice); void pixels and padding samples are left out.

    Dice (Milletari et al., 3DV 2016, squared denominators) is computed over the whole batch for each class that occurs in it, so its value
    does not depend on how the batch is split over devices.

    Args:
      logits: (B,H,W,K).
      labels: (B,H,W) integer; `ignore` and values outside 0..K-1 do not count.
      weight: (B,) float32, 0 for padding samples.
      ignore: label value of void pixels.
      dice_weight: weight of the Dice loss.
      smoothing: share of the cross-entropy that is spread evenly over all classes (Szegedy et al., CVPR 2016, section 7); Dice has whole labels.

    Returns:
      loss: scalar float32; 0 when no pixel counts.
      metrics: "cross_entropy" and "dice", its two parts.
    """
    classes = logits.shape[-1]
    labels = labels.astype(jnp.int32)
    counted = (labels != ignore) & (labels >= 0) & (labels < classes)
    counts = counted * weight[:, None, None]
    safe = jnp.where(counted, labels, 0)
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    picked = jnp.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    if smoothing:
        picked = (1 - smoothing) * picked + smoothing * log_p.mean(-1)
    total = jnp.maximum(counts.sum(), 1)
    cross_entropy = -(picked * counts).sum() / total

    target = jax.nn.one_hot(safe, classes) * counts[..., None]
    probability = jnp.exp(log_p) * counts[..., None]
    axes = (0, 1, 2)
    overlap = (probability * target).sum(axes)
    sizes = (probability**2).sum(axes) + (target**2).sum(axes)
    exists = target.sum(axes) > 0
    dice = jnp.where(exists, 1 - 2 * overlap / jnp.maximum(sizes, _EPSILON), 0).sum() / jnp.maximum(exists.sum(), 1)
    return cross_entropy + dice_weight * dice, {"cross_entropy": cross_entropy, "dice": dice}
