"""Maps a function over many items with several processes; results come in order, and only those in progress are in memory."""

import collections
import contextlib
import copy
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from omnisat_jax.errors import UserError, printable

ITEMS_PER_JOB = 10  # fewer than this are done before another process has started
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_SIGNALS = {signal.SIGINT, signal.SIGTERM}
Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


def usual_jobs(items: int) -> int:
    """The number of processes that work off so many items fastest: one per core, fewer for few items."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, items // ITEMS_PER_JOB))


def in_order(function: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yields function(shared, item) for every item, in order.

    Args:
      function: defined at the top level of a module, so that other processes can import it.
      shared: needed by all calls; sent to each process once.
      items: tile ids, paths, ...
      jobs: number of processes; 1 = only this one.

    Raises:
      UserError: a process was killed; names its item.
      Exception: whatever `function` raises, for the first item for which it raises.
    """
    if jobs == 1:
        yield from (function(shared, item) for item in items)
        return
    pool = _Pool(function, shared, jobs)
    try:
        waiting = collections.deque()
        for item in items:
            waiting.append(pool.submit(item))
            if len(waiting) > 2 * jobs:
                yield pool.result(waiting.popleft())
        while waiting:
            yield pool.result(waiting.popleft())
    finally:
        pool.close()


class _Pool:
    """Worker processes, each with a pipe. Unlike the pools of the standard library, it knows which process has which item, and uses no threads."""

    def __init__(self, function, shared, jobs):
        self._arguments, self._jobs = (function, shared), jobs
        self._workers: dict[Any, SpawnProcess] = {}  # pipe -> process
        self._busy: dict[Any, tuple[int, Any]] = {}  # pipe -> (number, item)
        self._idle: list[Any] = []  # pipes
        self._queue, self._results, self._count = collections.deque(), {}, 0

    def submit(self, item: Any) -> int:
        """Queues an item; returns its number."""
        self._queue.append((self._count, item))
        self._count += 1
        self._receive(0)
        return self._count - 1

    def result(self, number: int) -> Any:
        """Waits for the result of an item; raises the exception that the function raised."""
        while number not in self._results:
            self._receive(None)
        value, error = self._results.pop(number)
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Kills all workers; unfinished work is discarded."""
        for pipe, process in self._workers.items():
            process.kill()
            process.join()
            pipe.close()

    def _receive(self, timeout):
        """Collects finished results and hands out queued items."""
        pipe: Any
        for pipe in multiprocessing.connection.wait(list(self._busy), timeout):
            number, item = self._busy.pop(pipe)
            try:
                self._results[number] = pipe.recv()
            except (EOFError, OSError):
                raise UserError(self._death(pipe, item)) from None
            self._idle.append(pipe)
        while self._queue and (self._idle or len(self._workers) < self._jobs):
            pipe = self._idle.pop() if self._idle else self._start()
            self._busy[pipe] = number, item = self._queue.popleft()
            try:
                pipe.send(item)
            except OSError:
                raise UserError(self._death(pipe, item)) from None

    def _start(self):
        # Fresh interpreters: a fork of a process with threads (of jax or TFDS) may hang.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, *self._arguments), daemon=True)
        # Workers inherit blocked signals: Ctrl-C reaches every process of a terminal, and only this one should react.
        multiprocessing.resource_tracker.ensure_running()  # it would unblock the signals when it starts
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            with _one_thread():
                process.start()
        finally:
            there.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._workers[here] = process
        return here

    def _death(self, pipe, item):
        process = self._workers[pipe]
        process.join(10)
        code = process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        advice = " It may have run out of memory: use fewer --jobs." if code == -signal.SIGKILL else ""
        return f"the process that was working on {printable(str(item))} {how}.{advice} The same command continues from what is saved."


@contextlib.contextmanager
def _one_thread():
    """Processes that start inside use one thread for linear algebra, unless the user chose: threads of several processes would share the same cores."""
    chosen = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(chosen, "1"))
    try:
        yield
    finally:
        for name in chosen:
            del os.environ[name]


def _work(pipe, function, shared):
    """The main loop of a worker."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    # Without this, a worker whose parent is killed would wait for work forever.
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(shared, item), None
        except Exception as error:
            answer = None, _portable(error)
        pipe.send(answer)


def _portable(error):
    """An error that can be pickled, with its traceback as a note; a UserError needs no traceback."""
    try:
        sent = copy.copy(error)  # rebuilt from its arguments, as unpickling does
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, UserError):
        sent.add_note("In the process that raised it:\n" + "".join(traceback.format_exception(error)))
    return sent


def _end_with(sentinel):
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
