"""What an embedding is like, from the views of a batch that the contrast aligns. Letters: V views, B tiles, P patches, E width."""

import jax.numpy as jnp

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
