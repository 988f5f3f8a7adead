"""Contrast between the modalities of a place (OmniSat, ECCV 2024; InfoNCE, van den Oord et al. 2018).

Letters: V views (modalities, and the fused one), B tiles, P patches, E width.
"""

import jax
import jax.numpy as jnp

from omnisat_jax.errors import UserError

_NEVER = -1e30


def infonce_loss(z, present, temperature, *, group: int = 0):
    """Mean over rows of logsumexp(all others) - logsumexp(positives).

    A row is one patch of one tile in one view. Its positives are the same patch in the other views; its denominator is every
    row but those of the same view and tile, which are likely false negatives (neighbouring fields look alike).

    Args:
      z: (V,B,P,E) float32, unit length.
      present: (V,B) bool; absent rows are neither queries, positives nor negatives.
      temperature: scalar.
      group: tiles that are contrasted together, in order; 0 = all. The value does not depend on the number of devices.

    Returns:
      loss: scalar float32; 0 when no row has a positive.
      accuracy: share of rows whose most similar row is a positive.

    Raises:
      UserError: B is not a multiple of group.
    """
    v, b, p, e = z.shape
    size = group or b
    if b % size:
        raise UserError(f"a batch of {b} tiles cannot be cut into groups of {size}: change contrastive.group_size or the batch size")
    z = z.astype(jnp.float32).reshape(v, b // size, size, p, e).transpose(1, 0, 2, 3, 4)
    seen = present.reshape(v, b // size, size).transpose(1, 0, 2)
    sums = jax.vmap(lambda z, seen: _group_sums(z, seen, temperature))(z, seen)
    loss, correct, count = jax.tree.map(jnp.sum, sums)
    count = jnp.maximum(count, 1)
    return loss / count, correct / count


def _group_sums(z, present, temperature):
    """Sum of row losses, of correct rows, and number of rows with a positive, of one group (V,B,P,E)."""
    v, b, p, e = z.shape
    rows = z.reshape(v * b * p, e)
    view = jnp.repeat(jnp.arange(v), b * p)
    tile = jnp.tile(jnp.repeat(jnp.arange(b), p), v)
    patch = jnp.tile(jnp.arange(p), v * b)
    here = jnp.repeat(present.reshape(-1), p)
    same_tile = tile[:, None] == tile[None]
    same_view = view[:, None] == view[None]
    others = here[None] & ~(same_tile & same_view)
    positive = others & same_tile & (patch[:, None] == patch[None])
    logits = jnp.matmul(rows, rows.T, precision="highest") / temperature
    denominator = jnp.where(others, logits, _NEVER)
    numerator = jnp.where(positive, logits, _NEVER)
    counted = here & positive.any(1)
    loss = jax.nn.logsumexp(denominator, 1) - jax.nn.logsumexp(numerator, 1)
    correct = numerator.max(1) >= denominator.max(1)
    return jnp.where(counted, loss, 0).sum(), (counted & correct).sum(), counted.sum()
