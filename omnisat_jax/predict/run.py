"""Makes a map: plans it, computes the blocks that are missing, and stores each as soon as it is done."""

import concurrent.futures
import os
import pathlib
import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

from rich.console import Console

from omnisat_jax.cli.progress import progress_bar
from omnisat_jax.inference.model import Model
from omnisat_jax.predict.blocks import Strip, compute_block, prediction, strips
from omnisat_jax.predict.folder import MapFolder
from omnisat_jax.predict.grid import Block
from omnisat_jax.predict.memory import bounded_cache
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.plan import MapPlan, make_plan, need_unchanged
from omnisat_jax.predict.products.finishing import check, finish
from omnisat_jax.predict.products.options import ProductOptions
from omnisat_jax.predict.region import Region
from omnisat_jax.shards import Shard
from omnisat_jax.types import StrPath

READERS = min(8, os.cpu_count() or 1)  # threads that read files
T = TypeVar("T")


def make_map(
    model: Model,
    region: Region,
    out: StrPath,
    options: PredictOptions | None = None,
    shard: Shard | None = None,
    console: Console | None = None,
) -> MapFolder:
    """Makes the blocks of a map, or the missing ones of an unfinished map.

    Args:
      model: the trained model.
      region: its inputs.
      out: folder of the map.
      options: how it is made.
      shard: which blocks this process computes; None = all.
      console: for the progress bar.

    Returns:
      The folder, complete unless there are other shards.

    Raises:
      UserError: inputs that the model cannot use, a file that cannot be read, or a folder with something else.
    """
    options, shard, console = options or PredictOptions(), shard or Shard(), console or Console(quiet=True)
    with bounded_cache(), concurrent.futures.ThreadPoolExecutor(READERS, "read") as pool:
        plan = make_plan(model, region, options, pool)
        folder = MapFolder.start(out, plan.info)
        mine = shard.of(list(plan.grid.blocks()))
        todo = [block for block in mine if not folder.file(block).exists()]
        with progress_bar(console) as bar:
            task = bar.add_task("mapping", total=len(mine), completed=len(mine) - len(todo))
            for _ in write_blocks(folder, plan, todo, model, pool):
                bar.advance(task)
    return folder


def map_region(
    model: Model,
    region: Region,
    out: StrPath,
    options: PredictOptions | None = None,
    products: ProductOptions | None = None,
    console: Console | None = None,
) -> dict[str, pathlib.Path]:
    """Makes a map and its products: class.tif, confidence.tif and the others.

    Args:
      model, region, out, options, console: see `make_map`.
      products: what is made beside the rasters.

    Returns:
      {name: path} of the products.

    Raises:
      UserError: see `make_map` and `finish_map`.
    """
    console = console or Console(quiet=True)
    if products is not None:
        check(products)
    return finish_map(make_map(model, region, out, options, console=console), products, console)


def finish_map(folder: MapFolder, products: ProductOptions | None = None, console: Console | None = None) -> dict[str, pathlib.Path]:
    """Makes the products of a map whose blocks are done; see `finishing.finish`."""
    with progress_bar(console or Console(quiet=True)) as bar:
        task = bar.add_task("writing", total=None)
        return finish(folder, products or ProductOptions(), lambda done, total: bar.update(task, completed=done, total=total))


def write_blocks(
    folder: MapFolder, plan: MapPlan, blocks: list[Block], model: Model, pool: concurrent.futures.Executor | None = None
) -> Iterator[Block]:
    """Computes and stores blocks, and yields each once it is on the disk.

    Raises:
      UserError: a file that cannot be read or has changed, or a disk that cannot be written.
    """
    for block, arrays in compute_blocks(plan, blocks, model, plan.info.settings["batch"], pool):
        need_unchanged(plan)
        folder.write(block, arrays)
        yield block


def compute_blocks(
    plan: MapPlan, blocks: list[Block], model: Model, batch: int, pool: concurrent.futures.Executor | None = None
) -> Iterator[tuple[Block, dict]]:
    """Yields blocks and their arrays; the next strip is read while the model works on the present one."""

    def everything() -> Iterator[tuple[Block, Strip | None]]:
        for block in blocks:
            for strip in strips(plan, block, pool):
                yield block, strip
            yield block, None

    with Prefetched(everything()) as source:
        for block in blocks:
            parts = iter(lambda: next(source)[1], None)
            yield block, compute_block(plan, block, parts, prediction(plan, model), batch)


class Prefetched(Iterator[T]):
    """An iterator that a thread advances, one item ahead. Errors of the thread are raised where the item would have come.

    There are never more than two items in memory: the present one and the next.
    """

    def __init__(self, source: Iterator[T]):
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._wanted = threading.Semaphore(1)
        self._stopped = False
        self._thread = threading.Thread(target=self._fill, args=(source,), daemon=True, name="prefetch")

    def __enter__(self) -> "Prefetched[T]":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stopped = True
        self._wanted.release()
        self._thread.join()

    def __next__(self) -> T:
        item, error = self._queue.get()
        self._wanted.release()
        if error is not None:
            raise error
        return item

    def _fill(self, source: Iterator[T]) -> None:
        error: BaseException = StopIteration()
        try:
            while self._wanted.acquire() and not self._stopped:
                self._queue.put((next(source), None))
        except BaseException as raised:  # raised again in the other thread
            error = raised
        self._queue.put((None, error))
