"""Cross-entropy and Dice over the pixels that count. Letters: B batch, H W pixels, K classes."""

import jax
import jax.numpy as jnp


def segmentation_loss(logits, labels, weight, *, ignore: int, dice_weight: float):
    """Mean cross-entropy + dice_weight * (1 - mean soft Dice), void pixels and padding samples left out.

    Dice (Milletari et al., 3DV 2016, squared denominators) is taken over the whole batch for each class that has a pixel in it,
    so its value does not depend on how the batch is split over devices.

    Args:
      logits: (B,H,W,K) float32.
      labels: (B,H,W) integer; `ignore` or anything outside 0..K-1 does not count.
      weight: (B,) float32, 0 for padding samples.

    Returns:
      loss, {"cross_entropy", "dice"}: scalars; all 0 when no pixel counts.
    """
    classes = logits.shape[-1]
    labels = labels.astype(jnp.int32)
    counted = (labels != ignore) & (labels >= 0) & (labels < classes)
    counts = counted * weight[:, None, None]
    safe = jnp.where(counted, labels, 0)
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    picked = jnp.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    total = jnp.maximum(counts.sum(), 1)
    cross_entropy = -(picked * counts).sum() / total

    target = jax.nn.one_hot(safe, classes) * counts[..., None]
    probability = jnp.exp(log_p) * counts[..., None]
    axes = (0, 1, 2)
    overlap = (probability * target).sum(axes)
    sizes = (probability**2).sum(axes) + (target**2).sum(axes)
    exists = target.sum(axes) > 0
    dice = jnp.where(exists, 1 - 2 * overlap / jnp.maximum(sizes, 1e-6), 0).sum() / jnp.maximum(exists.sum(), 1)
    return cross_entropy + dice_weight * dice, {"cross_entropy": cross_entropy, "dice": dice}
