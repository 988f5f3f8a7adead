"""InfoNCE between views of the same patches (van den Oord et al. 2018; OmniSat, ECCV 2024), with all logits in memory at once.

Letters: V views (modalities, and the fused one), B tiles, P patches, E width.
"""

import jax
import jax.numpy as jnp

from omnisat_jax.errors import UserError
from omnisat_jax.words import number_of

NOT_COMPARED = -1e30  # logit of a pair of rows that is left out; finite, so that differences of such logits are no NaN


def resolve_group_size(tiles: int, group: int) -> int:
    """Tiles that are contrasted together.

    Args:
      tiles: B.
      group: contrastive.group_size; 0 = all tiles.

    Raises:
      UserError: B is not a multiple of group.
    """
    if tiles % (group or tiles):
        raise UserError(f"a batch of {number_of(tiles, 'tile')} cannot be cut into groups of {group}: change contrastive.group_size or the batch size")
    return group or tiles


def infonce_loss(z: jax.Array, present: jax.Array, temperature: jax.typing.ArrayLike, *, group: int = 0) -> tuple[jax.Array, jax.Array]:
    """Mean over rows of logsumexp(all others) - logsumexp(positives).

    A row is one patch of one tile in one view. Its positives are the same patch in the other views. Its denominator is every row except
    those of the same view and tile, which are likely false negatives (neighbouring fields look alike).

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
    size = resolve_group_size(b, group)
    z = z.astype(jnp.float32).reshape(v, b // size, size, p, e).transpose(1, 0, 2, 3, 4)
    seen = present.reshape(v, b // size, size).transpose(1, 0, 2)
    sums = jax.vmap(lambda z, seen: _group_sums(z, seen, temperature))(z, seen)
    loss, correct, count = jax.tree.map(jnp.sum, sums)
    count = jnp.maximum(count, 1)
    return loss / count, correct / count


def _group_sums(z, present, temperature):
    """Sum of row losses, number of correct rows, and number of rows with a positive, of one group (V,B,P,E)."""
    v, b, p, e = z.shape
    rows = z.reshape(v * b * p, e)
    view = jnp.repeat(jnp.arange(v), b * p)
    tile = jnp.tile(jnp.repeat(jnp.arange(b), p), v)
    patch = jnp.tile(jnp.arange(p), v * b)
    row_present = jnp.repeat(present.reshape(-1), p)
    same_tile = tile[:, None] == tile[None]
    same_view = view[:, None] == view[None]
    others = row_present[None] & ~(same_tile & same_view)
    positive = others & same_tile & (patch[:, None] == patch[None])
    logits = jnp.matmul(rows, rows.T, precision="highest") / temperature
    denominator = jnp.where(others, logits, NOT_COMPARED)
    numerator = jnp.where(positive, logits, NOT_COMPARED)
    counted = row_present & positive.any(1)
    loss = jax.nn.logsumexp(denominator, 1) - jax.nn.logsumexp(numerator, 1)
    correct = numerator.max(1) >= denominator.max(1)
    return jnp.where(counted, loss, 0).sum(), (counted & correct).sum(), counted.sum()
