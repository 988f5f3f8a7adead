"""A batch computed one part after another, in the memory of one part. Letters: B tiles, N parts."""

import jax
import jax.numpy as jnp


def in_microbatches(function, count: int, tiles, *, batch_axes=0):
    """`function` of all tiles, computed on `count` parts of them in turn; the backward pass computes each part again.

    The memory of activations is that of one part, whatever the batch; the time is that of one more forward pass. Gradients are those
    of the whole batch, so a loss that compares all tiles (the contrast) may follow.

    Args:
      function: (part of tiles, index of the part) -> a pytree; no tile of it may depend on another.
      count: N; 1 calls `function` on everything, with nothing computed again.
      tiles: pytree of (B,...), N dividing B.
      batch_axes: of the result, a prefix of its tree: the axis of the tiles, or -1 for what every part gives alike.

    Returns:
      What function(tiles, 0) would, its leaves with their tiles in the order of `tiles`.
    """
    if count == 1:
        return function(tiles, jnp.int32(0))

    # Part i has rows i, N+i, 2N+i, ...: of a batch that devices hold in blocks, every device then has its share of each part.
    def cut(x):
        return x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)

    def join(x, axis):
        if axis < 0:
            return x[0]
        x = jnp.moveaxis(x, 0, axis + 1)
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    part = jax.checkpoint(lambda arguments: function(*arguments), prevent_cse=False)
    results = jax.lax.map(part, (jax.tree.map(cut, tiles), jnp.arange(count)))
    axes = jax.tree.broadcast(batch_axes, results)
    return jax.tree.map(join, results, axes)
