"""InfoNCE between views of the same patches (van den Oord et al. 2018; OmniSat, ECCV 2024), with all logits in memory at once.

Several positives enter as the mean of their log-probabilities or as the logarithm of their summed probability (equations 2 and 3 of Khosla et al.,
"Supervised Contrastive Learning", NeurIPS 2020; OmniSat has the sum). With the sum, one positive that is easy to find satisfies the loss for all.

Letters: V views (modalities, and the fused one), B tiles, P patches, E width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from omnisat_jax.errors import UserError
from omnisat_jax.words import number_of


class Comparison(NamedTuple):
    """What the loss of a row is made of.

    Attributes:
      group: tiles that are contrasted together, in order; 0 = all. The value does not depend on the number of devices.
      positives: how several enter, "mean" or "sum", see above.
    """

    group: int = 0
    positives: str = "mean"


ALL_TILES = Comparison()
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


def infonce_loss(
    z: jax.Array,
    present: jax.Array,
    temperature: jax.typing.ArrayLike,
    how: Comparison = ALL_TILES,
    *,
    copies: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Mean over rows of logsumexp(all others) - mean(positives), or logsumexp(positives).

    A row is one patch of one tile in one view. Its positives are the same patch in the other views. Its denominator is every row except
    those of the same view and tile, which are likely false negatives (neighboring fields look alike).

    Args:
      z: (V,B,P,E) float32, unit length.
      present: (V,B) bool; absent rows are neither queries, positives nor negatives.
      temperature: scalar.
      how: groups and positives.
      copies: (V,V,B) bool, symmetric in V: pairs of views that are not compared within a tile, because one was computed from the other; None =
        no pair.

    Returns:
      loss: scalar float32; 0 when no row has a positive.
      accuracy: share of rows whose most similar row is a positive.

    Raises:
      UserError: B is not a multiple of group.
    """
    v, b, p, e = z.shape
    size = resolve_group_size(b, how.group)
    z = z.astype(jnp.float32).reshape(v, b // size, size, p, e).transpose(1, 0, 2, 3, 4)
    seen = present.reshape(v, b // size, size).transpose(1, 0, 2)
    apart = separate(v, b, copies).reshape(v, v, b // size, size).transpose(2, 0, 1, 3)
    sums = jax.vmap(lambda z, seen, apart: _group_sums(z, seen, apart, temperature, how.positives))(z, seen, apart)
    loss, correct, count = jax.tree.map(jnp.sum, sums)
    count = jnp.maximum(count, 1)
    return loss / count, correct / count


def separate(views: int, tiles: int, copies: jax.Array | None) -> jax.Array:
    """(V,V,B) bool: pairs of views that are not compared within a tile, which are each view with itself and `copies`."""
    own = jnp.broadcast_to(jnp.eye(views, dtype=bool)[:, :, None], (views, views, tiles))
    return own if copies is None else own | copies


def combine_positives(logits: jax.Array, positive: jax.Array, kind: str) -> jax.Array:
    """(R,) what the loss of each row subtracts.

    Args:
      logits: (R,N).
      positive: (R,N) bool, which of them are of positives.
      kind: "mean" of their logits, or "sum" of their exponentials, as a logarithm.
    """
    if kind == "sum":
        return jax.nn.logsumexp(jnp.where(positive, logits, NOT_COMPARED), 1)
    return jnp.where(positive, logits, 0).sum(1) / jnp.maximum(positive.sum(1), 1)


def _group_sums(z, present, apart, temperature, positives):
    """Sum of row losses, number of correct rows, and number of rows with a positive, of one group (V,B,P,E); apart: (V,V,B) of `separate`."""
    v, b, p, e = z.shape
    rows = z.reshape(v * b * p, e)
    view = jnp.repeat(jnp.arange(v), b * p)
    tile = jnp.tile(jnp.repeat(jnp.arange(b), p), v)
    patch = jnp.tile(jnp.arange(p), v * b)
    row_present = jnp.repeat(present.reshape(-1), p)
    same_tile = tile[:, None] == tile[None]
    others = row_present[None] & ~(same_tile & apart[view[:, None], view[None], tile[:, None]])
    positive = others & same_tile & (patch[:, None] == patch[None])
    logits = jnp.matmul(rows, rows.T, precision="highest") / temperature
    denominator = jnp.where(others, logits, NOT_COMPARED)
    counted = row_present & positive.any(1)
    loss = jax.nn.logsumexp(denominator, 1) - combine_positives(logits, positive, positives)
    correct = jnp.where(positive, logits, NOT_COMPARED).max(1) >= denominator.max(1)
    return jnp.where(counted, loss, 0).sum(), (counted & correct).sum(), counted.sum()
