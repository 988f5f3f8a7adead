"""Grain pipelines whose whole state is one integer, the step.

The order shuffle -> repeat -> random_map -> this process's rows -> batch is the one that gives the same examples and the same
augmentation at every row of every global step on any number of processes; threads, not worker processes, keep a resume exact.
"""

import grain
import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.input.records import TileSource
from omnisat_jax.input.transforms import Assemble


class _Rows(grain.MapDataset):
    """Of every `batch_size` elements the given rows, so that a sample's place in the global batch does not depend on who reads it."""

    def __init__(self, parent, batch_size, rows):
        super().__init__(parent)
        self._batch_size, self._rows = batch_size, rows

    def __len__(self):
        return len(self._parent) // self._batch_size * len(self._rows)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        batch, row = divmod(index, len(self._rows))
        return self._parent[batch * self._batch_size + self._rows[row]]


def training(source: TileSource, assemble: Assemble, *, seed, batch_size, rows=None, threads=2, buffer=4):
    """Endless batches of this process's rows of `batch_size` samples.

    Args:
      source: the training tiles.
      assemble: the transform, with random=True.
      seed: order of tiles and augmentation.
      batch_size: samples a step over all processes.
      rows: which rows of the global batch to read, ascending; None = all.
      threads, buffer: reading threads and batches read ahead.

    Raises:
      UserError: no tile.
    """
    if not len(source):
        raise UserError("the training parts hold no tile")
    dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(assemble)
    rows = tuple(range(batch_size)) if rows is None else tuple(rows)
    dataset = _Rows(dataset, batch_size, rows).batch(len(rows), drop_remainder=True, batch_fn=assemble.batch)
    # The buffer counts elements, and after batch() an element is a batch: Grain's default of 500 would fill the memory.
    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer))


def start_at(dataset, step):
    """An iterator over `dataset` whose next element is that of training step `step`."""
    iterator = iter(dataset)
    grain.experimental.set_next_index(iterator, step)
    return iterator


def evaluation(source, assemble: Assemble, *, batch_size, rows=None):
    """Every tile once, in order, as batches of equal size on every process; fillers have weight 0.

    Args:
      batch_size: samples a step over all processes.
      rows: which rows of the global batch to read, ascending; None = all.
    """
    rows = range(batch_size) if rows is None else rows
    for start in range(0, len(source), batch_size):
        wanted = [start + row for row in rows]
        rng = np.random.default_rng(0)  # nothing is drawn
        yield assemble.batch([assemble.random_map(source[i], rng) if i < len(source) else None for i in wanted])
