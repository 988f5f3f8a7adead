"""Label-free scores of a representation, from the views that the contrastive loss compares.

Letters: V views, B tiles, P patches, E width.
"""

import jax
import jax.numpy as jnp

SHORTCUT = 0.3  # position R^2 above which the contrastive loss is largely solved by recognizing where a patch lies
COLLAPSED = 2.0  # effective rank below which the embeddings of all patches are almost the same
_EPSILON = 1e-12  # against division by 0
_RIDGE = 1e-6  # on the diagonal of the normal equations
_EXACT = jax.lax.Precision.HIGHEST


def representation_scores(z: jax.Array, present: jax.Array) -> dict[str, jax.Array]:
    """Monitors of pre-training over the rows (patches) of present views.

    Args:
      z: (V,B,P,E) float32 or bfloat16, unit length.
      present: (V,B) bool.

    Returns:
      Scalars. "alignment": mean squared distance of the same patch in two views, 0 = equal. "uniformity": log of the mean of
      exp(-2 squared distance) between rows of a view, 0 = all the same, lower = spread over the sphere (both Wang & Isola, ICML 2020).
      "effective_rank": exp of the entropy of the covariance's normalized eigenvalues, 1 = one direction, at most E (Roy & Vetterli 2007).
      "retrieval": share of tiles whose mean embedding in one view is closest to that of the same tile in another, over all ordered pairs.
    """
    v, b, p, e = z.shape
    z = z.astype(jnp.float32)
    both = (present[:, None] & present[None]) & ~jnp.eye(v, dtype=bool)[:, :, None]  # (V,V,B)
    distance = 2 - 2 * jnp.einsum("vbpe,wbpe->vwb", z, z, precision=_EXACT) / p
    alignment = (distance * both).sum() / jnp.maximum(both.sum(), 1)

    rows = z.reshape(v, b * p, e)
    row_present = jnp.repeat(present, p, axis=1)
    pairs = (row_present[:, :, None] & row_present[:, None]) & ~jnp.eye(b * p, dtype=bool)
    kernel = jnp.exp(-2 * (2 - 2 * jnp.einsum("vie,vje->vij", rows, rows, precision=_EXACT)))
    uniformity = jnp.log((kernel * pairs).sum() / jnp.maximum(pairs.sum(), 1))

    weight = row_present.reshape(-1)[:, None] / jnp.maximum(row_present.sum(), 1)
    flat = rows.reshape(-1, e)
    centred = (flat - (flat * weight).sum(0)) * jnp.sqrt(weight)
    values = jnp.maximum(jnp.linalg.eigvalsh(jnp.matmul(centred.T, centred, precision=_EXACT)), 0)
    share = values / jnp.maximum(values.sum(), _EPSILON)
    rank = jnp.exp(-(share * jnp.log(jnp.maximum(share, _EPSILON))).sum())

    tiles = z.mean(2)
    tiles = tiles / jnp.maximum(jnp.linalg.norm(tiles, axis=-1, keepdims=True), _EPSILON)
    similar = jnp.einsum("vbe,wce->vwbc", tiles, tiles, precision=_EXACT)
    similar = jnp.where(present[None, :, None, :], similar, -jnp.inf)
    correct = similar.argmax(-1) == jnp.arange(b)
    retrieval = (correct & both).sum() / jnp.maximum(both.sum(), 1)
    return {"alignment": alignment, "uniformity": uniformity, "effective_rank": rank, "retrieval": retrieval}


def position_r2(z: jax.Array, present: jax.Array) -> jax.Array:
    """How well the position of a patch in its tile can be predicted from its embedding: 0 = not at all, 1 = exactly.

    An encoder that sees more than one patch can solve the contrastive loss by recognizing positions, which teaches nothing about the ground.

    Args:
      z: (V,B,P,E) float32 or bfloat16, of square grids of patches.
      present: (V,B) bool.

    Returns:
      Scalar: adjusted R^2 of a linear regression from embedding to row and column, mean over the views that are present in any tile; 0 of a
      single patch or of fewer patches than dimensions.
    """
    _, b, p, e = z.shape
    z = z.astype(jnp.float32)
    side = round(p**0.5)
    position = jnp.stack(jnp.meshgrid(jnp.arange(side), jnp.arange(side), indexing="ij"), -1).reshape(p, 2)
    target = jnp.tile(position - (side - 1) / 2, (b, 1)).astype(jnp.float32)

    def r2(z, seen):
        weight = jnp.repeat(seen, p)[:, None].astype(jnp.float32)
        count = weight.sum()
        x = jnp.where(weight > 0, z.reshape(b * p, e), 0.0)
        x = weight * (x - x.sum(0) / jnp.maximum(count, 1))
        y = weight * target
        ridge = _RIDGE * jnp.eye(e)
        solution = jnp.linalg.solve(jnp.matmul(x.T, x, precision=_EXACT) + ridge, jnp.matmul(x.T, y, precision=_EXACT))
        residual = ((y - jnp.matmul(x, solution, precision=_EXACT)) ** 2).sum()
        unexplained = residual / jnp.maximum((y**2).sum(), _EPSILON)
        score = 1 - unexplained * (count - 1) / jnp.maximum(count - e - 1, 1)
        return jnp.where((side > 1) & (count > e + 1), score, 0.0)

    some = present.any(1)
    return (jax.vmap(r2)(z, present) * some).sum() / jnp.maximum(some.sum(), 1)
