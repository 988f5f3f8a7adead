"""What an embedding is like, from the views of a batch that the contrast aligns. Letters: V views, B tiles, P patches, E width."""

import jax
import jax.numpy as jnp

SHORTCUT = 0.3  # place score above which the contrast is largely satisfied by where a patch lies
COLLAPSED = 2.0  # effective rank below which an embedding says almost the same of every place


def representation_scores(z, present):
    """Monitors of pre-training over the rows (patches) of present views.

    Args:
      z: (V,B,P,E) float32, unit length.
      present: (V,B) bool.

    Returns:
      Scalars. "alignment": mean squared distance of the same patch in two views, 0 = equal. "uniformity": log of the mean of
      exp(-2 squared distance) between rows of a view, 0 = all the same, lower = spread over the sphere (both Wang & Isola, ICML 2020).
      "effective_rank": exp of the entropy of the covariance's normalised eigenvalues, 1 = one direction, at most E (Roy & Vetterli 2007).
      "retrieval": share of tiles whose mean embedding in one view is closest to that of the same tile in another, all ordered pairs.
    """
    v, b, p, e = z.shape
    both = (present[:, None] & present[None]) & ~jnp.eye(v, dtype=bool)[:, :, None]  # (V,V,B)
    distance = 2 - 2 * jnp.einsum("vbpe,wbpe->vwb", z, z, precision="highest") / p
    alignment = (distance * both).sum() / jnp.maximum(both.sum(), 1)

    rows = z.reshape(v, b * p, e)
    here = jnp.repeat(present, p, axis=1)
    pairs = (here[:, :, None] & here[:, None]) & ~jnp.eye(b * p, dtype=bool)
    kernel = jnp.exp(-2 * (2 - 2 * jnp.einsum("vie,vje->vij", rows, rows, precision="highest")))
    uniformity = jnp.log((kernel * pairs).sum() / jnp.maximum(pairs.sum(), 1))

    weight = here.reshape(-1)[:, None] / jnp.maximum(here.sum(), 1)
    flat = rows.reshape(-1, e)
    centred = (flat - (flat * weight).sum(0)) * jnp.sqrt(weight)
    values = jnp.maximum(jnp.linalg.eigvalsh(jnp.matmul(centred.T, centred, precision="highest")), 0)
    share = values / jnp.maximum(values.sum(), 1e-12)
    rank = jnp.exp(-(share * jnp.log(jnp.maximum(share, 1e-12))).sum())

    tiles = z.mean(2)
    tiles = tiles / jnp.maximum(jnp.linalg.norm(tiles, axis=-1, keepdims=True), 1e-12)
    similar = jnp.einsum("vbe,wce->vwbc", tiles, tiles, precision="highest")
    similar = jnp.where(present[None, :, None, :], similar, -jnp.inf)
    right = similar.argmax(-1) == jnp.arange(b)
    retrieval = (right & both).sum() / jnp.maximum(both.sum(), 1)
    return {"alignment": alignment, "uniformity": uniformity, "effective_rank": rank, "retrieval": retrieval}


def position_r2(z, present):
    """How well the place of a patch in its tile can be read from its embedding: 0 = not at all, 1 = exactly.

    Encoders that see more than a patch can satisfy a contrast of patches by telling where they are, which says nothing of the ground.

    Args:
      z: (V,B,P,E) float32, of square grids of patches.
      present: (V,B) bool.

    Returns:
      Scalar: adjusted R^2 of a linear regression from embedding to row and column, mean over the views that are present; 0 of a single
      patch or of fewer patches than dimensions.
    """
    v, b, p, e = z.shape
    side = round(p**0.5)
    place = jnp.stack(jnp.meshgrid(jnp.arange(side), jnp.arange(side), indexing="ij"), -1).reshape(p, 2)
    target = jnp.tile(place - (side - 1) / 2, (b, 1)).astype(jnp.float32)

    def one(z, seen):
        weight = jnp.repeat(seen, p)[:, None].astype(jnp.float32)
        count = weight.sum()
        x = jnp.where(weight > 0, z.reshape(b * p, e), 0.0)
        x = weight * (x - x.sum(0) / jnp.maximum(count, 1))
        y = weight * target
        precise = {"precision": "highest"}
        ridge = 1e-6 * jnp.eye(e)
        solution = jnp.linalg.solve(jnp.matmul(x.T, x, **precise) + ridge, jnp.matmul(x.T, y, **precise))
        left = ((y - jnp.matmul(x, solution, **precise)) ** 2).sum()
        unexplained = left / jnp.maximum((y**2).sum(), 1e-12)
        score = 1 - unexplained * (count - 1) / jnp.maximum(count - e - 1, 1)
        return jnp.where((side > 1) & (count > e + 1), score, 0.0)

    some = present.any(1)
    return (jax.vmap(one)(z, present) * some).sum() / jnp.maximum(some.sum(), 1)
