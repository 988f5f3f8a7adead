"""Grain pipelines whose whole state is one integer, the step.

The order shuffle -> repeat -> random_map -> this process's rows -> batch is the one that gives the same examples and the same
augmentation at every row of every global step on any number of processes; threads, not worker processes, keep a resume exact.
"""

import os

import grain
import jax
import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.records.reader import TileSource


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


def need_memory(make_batch: MakeBatch, rows: int, batches: int = 1) -> None:
    """Refuses what cannot fit: without this the system ends the process, with no word of why.

    Args:
      make_batch: the transform that makes the batches.
      rows: samples a batch that this process reads.
      batches: held at a time.

    Raises:
      UserError: the batches are larger than the memory of the machine.
    """
    size = batches * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(make_batch.layout.abstract(rows)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise UserError(
            f"{batches} batches of {rows} samples: expected at most the {memory / 1e9:.3g} GB of memory of this machine, found "
            f"{size / 1e9:.3g} GB. Lower data.buffer, the batch size of the stage or eval.batch_size."
        )


def training(source: TileSource, make_batch: MakeBatch, *, seed, batch_size, rows=None, threads=2, buffer=4):
    """Endless batches of this process's rows of `batch_size` samples.

    Args:
      source: the training tiles.
      make_batch: the transform, with random=True.
      seed: order of tiles and augmentation.
      batch_size: samples a step over all processes.
      rows: which rows of the global batch to read, ascending; None = all.
      threads, buffer: reading threads and batches read ahead.

    Raises:
      UserError: no tile, or more batches than memory.
    """
    if not len(source):
        raise UserError("the training parts hold no tile")
    dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(make_batch)
    rows = tuple(range(batch_size)) if rows is None else tuple(rows)
    need_memory(make_batch, len(rows), buffer)
    dataset = _Rows(dataset, batch_size, rows).batch(len(rows), drop_remainder=True, batch_fn=make_batch.batch)
    # The buffer counts elements, and after batch() an element is a batch: Grain's default of 500 would fill the memory.
    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer))


def start_at(dataset, step):
    """An iterator over `dataset` whose next element is that of training step `step`."""
    iterator = iter(dataset)
    grain.experimental.set_next_index(iterator, step)
    return iterator


def evaluation(source, make_batch: MakeBatch, *, batch_size, rows=None):
    """Every tile once, in order, as batches of equal size on every process; fillers have weight 0.

    Args:
      batch_size: samples a step over all processes.
      rows: which rows of the global batch to read, ascending; None = all.

    Raises:
      UserError: a batch larger than the memory.
    """
    rows = range(batch_size) if rows is None else rows
    need_memory(make_batch, len(rows))
    for start in range(0, len(source), batch_size):
        wanted = [start + row for row in rows]
        rng = np.random.default_rng(0)  # nothing is drawn
        yield make_batch.batch([make_batch.random_map(source[i], rng) if i < len(source) else None for i in wanted])
