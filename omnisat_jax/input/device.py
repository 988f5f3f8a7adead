"""Host batches onto the mesh, one ahead of the step that uses them."""

import jax


def put(batch, sharding):
    """This process's share of a batch as global arrays split by `sharding`."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def prefetch(iterator, sharding):
    """Yields (host batch, device batch), starting the next transfer before the current one is used."""
    ahead = None
    for batch in iterator:
        current, ahead = ahead, (batch, put(batch, sharding))
        if current is not None:
            yield current
    if ahead is not None:
        yield ahead
