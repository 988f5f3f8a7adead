"""Transfer of host batches to the devices of a mesh, one batch ahead of the training step."""

from collections.abc import Iterable, Iterator

import jax

from omnisat_jax.types import Batch, PyTree


def put(batch: Batch, sharding: jax.sharding.Sharding) -> PyTree:
    """Transfers the rows of this process to its devices.

    Args:
      batch: this process's rows of a batch, host arrays.
      sharding: of the global batch.

    Returns:
      The batch as global arrays.
    """
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def prefetch(iterator: Iterable[Batch], sharding: jax.sharding.Sharding) -> Iterator[tuple[Batch, PyTree]]:
    """Yields (host batch, device batch), and starts the transfer of the next batch before the current one is used."""
    following = None
    for batch in iterator:
        current, following = following, (batch, put(batch, sharding))
        if current is not None:
            yield current
    if following is not None:
        yield following
