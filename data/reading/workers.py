"""Work on many tiles in several processes, results in order, with no more of them in memory than are being worked on."""

import collections
import copy
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import threading
import traceback

from omnisat_jax.errors import UserError, printable

_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def in_order(function, shared, items, jobs: int):
    """Yields function(shared, item) of every item, in order.

    Args:
      function: a module's function, so that other processes find it.
      shared: what all calls need; sent to each process once.
      items: tile names, paths, ...
      jobs: processes; 1 = this one.

    Raises:
      UserError: a process was killed; names the item that it was working on.
      What `function` raises, for the first item that does.
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
    """Worker processes, each with a pipe; unlike the pools of the standard library it knows who works on what, and has no threads."""

    def __init__(self, function, shared, jobs):
        self._arguments, self._jobs = (function, shared), jobs
        self._workers, self._busy, self._idle = {}, {}, []  # pipe -> process, pipe -> (number, item), pipes
        self._queue, self._results, self._count = collections.deque(), {}, 0

    def submit(self, item) -> int:
        """Takes an item; returns its number."""
        self._queue.append((self._count, item))
        self._count += 1
        self._receive(0)
        return self._count - 1

    def result(self, number):
        """What the function returned for an item, once it has; raises what it raised."""
        while number not in self._results:
            self._receive(None)
        value, error = self._results.pop(number)
        if error is not None:
            raise error
        return value

    def close(self):
        """Ends all workers at once; what they were doing is of no use to anybody."""
        for pipe, process in self._workers.items():
            process.kill()
            process.join()
            pipe.close()

    def _receive(self, timeout):
        """Takes what workers have finished, and deals out what waits."""
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
        # Fresh interpreters: a fork of a process with threads (of jax, of TFDS) may never return.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, *self._arguments), daemon=True)
        # Workers inherit what is blocked: Ctrl-C goes to every process of a terminal, and this one alone decides what becomes of it.
        multiprocessing.resource_tracker.ensure_running()  # which unblocks them when it starts
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
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
        advice = " Maybe the memory was used up: fewer --jobs need less." if code == -signal.SIGKILL else ""
        return f"the process that was working on {printable(str(item))} {how}.{advice} The same command goes on from what is saved."


def _work(pipe, function, shared):
    """A worker's life."""
    # One whose parent is killed would wait for work for ever.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()
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
    """An error that can be sent, with the place where it was raised; a finding needs none."""
    try:
        sent = copy.copy(error)  # made anew from its arguments, as on the other side
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, UserError):
        sent.add_note("In the process that raised it:\n" + "".join(traceback.format_exception(error)))
    return sent


def _end_with(sentinel):
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
