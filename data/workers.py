"""Work on many tiles in several processes, results in order, with no more of them in memory than are being worked on."""

import collections
import concurrent.futures.process
import multiprocessing.connection
import os
import threading

from omnisat_jax.errors import UserError

_shared = None


def _start(shared):
    global _shared
    _shared = shared
    # A worker whose parent is killed would wait for work for ever.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()


def _end_with(sentinel):
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _call(function, item):
    return function(_shared, item)


def in_order(function, shared, items, jobs: int):
    """Yields function(shared, item) of every item, in order.

    Args:
      function: a module's function, so that other processes find it.
      shared: what all calls need; sent to each process once.
      items: tile names, paths, ...
      jobs: processes; 1 = this one.

    Raises:
      What `function` raises, for the first item that does.
      UserError: a process was ended from outside.
    """
    if jobs == 1:
        yield from (function(shared, item) for item in items)
        return
    # Fresh interpreters: a fork of a process with threads (of jax, of TFDS) may never return.
    context = multiprocessing.get_context("spawn")
    items = iter(items)
    with concurrent.futures.ProcessPoolExecutor(jobs, context, _start, (shared,)) as pool:
        waiting = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(_call, function, item))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError(
                "a reading process was ended from outside, perhaps as the memory was used up; start again with fewer of them (--jobs)"
            ) from error
        finally:
            for future in waiting:
                future.cancel()
