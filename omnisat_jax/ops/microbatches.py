"""A batch computed one microbatch after another, in the memory of one. Letters: B tiles, N microbatches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from omnisat_jax.types import PyTree


def in_microbatches(
    function: Callable[[PyTree, jax.Array], PyTree], count: int, tiles: PyTree, *, batch_axes: PyTree = 0
) -> PyTree:
    """Applies `function` to `count` microbatches in turn; the backward pass computes each of them again.

    The activations need the memory of one microbatch, and the time is that of one more forward pass. Gradients are those of the whole batch,
    so a loss that compares all tiles, such as the contrastive one, may follow.

    Args:
      function: (tiles of a microbatch, its index int32) -> a pytree; what it computes for a tile must not depend on other tiles.
      count: N, dividing B; 1 calls `function` on the whole batch and computes nothing twice.
      tiles: pytree of (B,...).
      batch_axes: prefix of the tree of the result: the axis of the tiles, or -1 for what is the same for every microbatch.

    Returns:
      What function(tiles, 0) returns, with the tiles in the order of `tiles`.
    """
    if count == 1:
        return function(tiles, jnp.int32(0))

    # Microbatch i has rows i, N+i, 2N+i, ...: if devices hold blocks of the batch, every device has its share of each microbatch.
    def cut(x: jax.Array) -> jax.Array:
        return x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)

    def join(x: jax.Array, axis: int) -> jax.Array:
        if axis < 0:
            return x[0]
        x = jnp.moveaxis(x, 0, axis + 1)
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    one = jax.checkpoint(lambda arguments: function(*arguments), prevent_cse=False)
    results = jax.lax.map(one, (jax.tree.map(cut, tiles), jnp.arange(count)))
    axes = jax.tree.broadcast(batch_axes, results)
    return jax.tree.map(join, results, axes)
