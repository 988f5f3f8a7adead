"""Grain pipelines whose whole state is one integer, the step.

The order shuffle -> repeat -> random_map -> slice by process -> batch is the one that gives the same examples and the same
augmentation at every global step on any number of processes; threads, not worker processes, keep a resume exact.
"""

import grain
import numpy as np

from omnisat_jax.batch import BatchLayout
from omnisat_jax.input.records import TileSource
from omnisat_jax.input.transforms import Assemble


def training(source: TileSource, assemble: Assemble, *, seed, batch_size, process=0, processes=1, threads=2, buffer=4):
    """Endless batches of this process's share of `batch_size` samples.

    Args:
      source: the training tiles.
      assemble: the transform, with random=True.
      seed: order of tiles and augmentation.
      batch_size: samples a step over all processes.
      process, processes: which share to read.
      threads, buffer: reading threads and batches read ahead.

    Raises:
      ValueError: no tile, or a batch that the processes cannot share equally.
    """
    if not len(source):
        raise ValueError("the training parts hold no tile")
    if batch_size % processes:
        raise ValueError(f"batch_size {batch_size} must be a multiple of the number of processes, {processes}")
    dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(assemble)
    dataset = dataset[process::processes].batch(batch_size // processes, drop_remainder=True)
    # The buffer counts elements, and after batch() an element is a batch: Grain's default of 500 would fill the memory.
    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer))


def start_at(dataset, step):
    """An iterator over `dataset` whose next element is that of training step `step`."""
    iterator = iter(dataset)
    grain.experimental.set_next_index(iterator, step)
    return iterator


def evaluation(source, assemble: Assemble, layout: BatchLayout, *, batch_size, process=0, processes=1):
    """Every tile once, in order, as batches of equal size on every process; fillers have weight 0.

    Args:
      batch_size: samples a step over all processes; each yields batch_size // processes.
    """
    share = batch_size // processes
    steps = -(-len(source) // batch_size)
    for step in range(steps):
        # Each process takes a contiguous share of the global batch.
        start = step * batch_size + process * share
        indices = range(start, min(start + share, len(source)))
        elements = [assemble.random_map(source[i], np.random.default_rng(0)) for i in indices]
        empty = None
        while len(elements) < share:
            if empty is None:
                empty = {key: _zeros(value) for key, value in layout.abstract(1).items()}
            elements.append(empty)
        yield _stack(elements)


def _zeros(spec):
    if isinstance(spec, dict):
        return {key: _zeros(value) for key, value in spec.items()}
    return np.zeros(spec.shape[1:], spec.dtype)


def _stack(elements):
    first = elements[0]
    if isinstance(first, dict):
        return {key: _stack([element[key] for element in elements]) for key in first}
    return np.stack(elements)
