"""Grain pipelines whose whole state is one integer, the step.

The order of operations is shuffle, repeat, random_map, selection of this process's rows, batch. It gives the same examples with the same
augmentation in every row of every global batch on any number of processes. Reading uses threads instead of worker processes, so that a run
resumes exactly.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import jax
import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.records.reader import TileSource

# After batch() the buffer counts batches: Grain's default of 500 would fill the memory.
READ_OPTIONS = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)


class _Rows(grain.MapDataset):
    """Selects rows of every global batch, so that the position of a sample does not depend on the process that reads it."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, rows: Sequence[int]):
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
    """Refuses batches that do not fit into memory, as the system would end the process without a message.

    Args:
      make_batch: the transform that makes the batches.
      rows: samples per batch that this process reads.
      batches: how many are held at a time.

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


def training(
    source: TileSource,
    make_batch: MakeBatch,
    *,
    seed: int,
    batch_size: int,
    rows: Sequence[int] | None = None,
    options: grain.ReadOptions = READ_OPTIONS,
) -> grain.IterDataset:
    """Returns endless training batches with this process's rows.

    Args:
      source: the training tiles.
      make_batch: the transform, with random=True.
      seed: of the order of tiles and the augmentation.
      batch_size: samples per step over all processes.
      rows: the rows of the global batch that this process reads, ascending; None reads all.
      options: reading threads, and batches to read ahead.

    Raises:
      UserError: there are no tiles, or the batches do not fit into memory.
    """
    if not len(source):
        raise UserError("the training parts have no tiles")
    dataset = grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(make_batch)
    return _batches(dataset, make_batch, batch_size, rows, options)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Tiles of one folder of records, and how they become examples.

    Attributes:
      source: random access to stored examples.
      make_batch: the transform, with random=True; its layout is that of all folders, its grid that of this one.
    """

    source: Any
    make_batch: MakeBatch


class _OfFolder(grain.transforms.Map):
    """Notes which folder a stored example is of."""

    def __init__(self, folder: int):
        self._folder = folder

    def map(self, element: Any) -> Any:
        return self._folder, element


class _OfEachFolder(grain.transforms.RandomMap):
    """Draws a sample by the transform of its own folder."""

    def __init__(self, transforms: Sequence[MakeBatch]):
        self._transforms = transforms

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        folder, example = element
        return self._transforms[folder].random_map(example, rng)


def mixture(
    folders: Sequence[Examples],
    weights: Sequence[float],
    *,
    seed: int,
    batch_size: int,
    rows: Sequence[int] | None = None,
    options: grain.ReadOptions = READ_OPTIONS,
) -> grain.IterDataset:
    """Returns endless training batches of the tiles of several folders.

    The state is the step, as that of `training`: whether a folder comes next depends on the position of the sample alone.

    Args:
      folders: the main data first.
      weights: shares of the examples, one per folder, of which every stretch of samples keeps the proportions; () = every tile is drawn
        equally often.
      seed: of the order of tiles and the augmentation.
      batch_size, rows, options: see `training`.

    Raises:
      UserError: a folder has no tiles, or the batches do not fit into memory.
    """
    if not all(len(folder.source) for folder in folders):
        raise UserError("a folder of records for pre-training has no tiles")
    sources = [grain.MapDataset.source(folder.source).map(_OfFolder(index)) for index, folder in enumerate(folders)]
    if weights:
        # Each folder is shuffled by a seed of its own, so that folders of one size are not in step.
        shuffled = [source.seed((seed + index) % 2**32).shuffle().repeat() for index, source in enumerate(sources)]
        dataset = grain.MapDataset.mix(shuffled, weights).seed(seed)
    else:
        dataset = grain.MapDataset.concatenate(sources).seed(seed).shuffle().repeat()
    dataset = dataset.random_map(_OfEachFolder([folder.make_batch for folder in folders]))
    return _batches(dataset, folders[0].make_batch, batch_size, rows, options)


def _batches(dataset: Any, make_batch: MakeBatch, batch_size: int, rows: Sequence[int] | None, options: grain.ReadOptions) -> grain.IterDataset:
    """Endless batches with this process's rows, of an endless dataset of drawn samples."""
    rows = tuple(range(batch_size)) if rows is None else tuple(rows)
    buffer = options.prefetch_buffer_size
    need_memory(make_batch, len(rows), buffer if isinstance(buffer, int) else 1)
    dataset = _Rows(dataset, batch_size, rows).batch(len(rows), drop_remainder=True, batch_fn=make_batch.batch)
    return dataset.to_iter_dataset(options)


def start_at(dataset: grain.IterDataset, step: int) -> Iterator[Any]:
    """Returns an iterator over training batches that begins with the batch of `step`."""
    iterator = iter(dataset)
    grain.experimental.set_next_index(iterator, step)
    return iterator


def evaluation(
    source: TileSource, make_batch: MakeBatch, *, batch_size: int, rows: Sequence[int] | None = None
) -> Iterator[dict[str, Any]]:
    """Yields every tile once, in order, in batches of equal size on every process. Fillers have weight 0.

    Args:
      source: the tiles.
      make_batch: the transform, with random=False.
      batch_size: samples per step over all processes.
      rows: the rows of the global batch that this process reads, ascending; None reads all.

    Raises:
      UserError: a batch does not fit into memory.
    """
    wanted = tuple(range(batch_size)) if rows is None else tuple(rows)
    need_memory(make_batch, len(wanted))
    for start in range(0, len(source), batch_size):
        positions = [start + row for row in wanted]
        rng = np.random.default_rng(0)  # not used, as random=False draws nothing
        yield make_batch.batch([make_batch.random_map(source[i], rng) if i < len(source) else None for i in positions])
