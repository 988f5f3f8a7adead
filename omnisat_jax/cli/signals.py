"""Ctrl-C and SIGTERM: one sentence and an exit code, also while a library does not return, and the end of a process whose parent is gone.

A handler of Python runs between two of its instructions, so not during a call that compiles for minutes. What is written to the wakeup descriptor
arrives at once: a thread reads it, and ends the process if the main thread has not reacted after a few seconds.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

PREEMPTED = 75  # exit code of a command that was told to end (SIGTERM): start it again and it goes on
INTERRUPTED = 130  # of one that was ended by Ctrl-C
UNHEARD = 5.0  # s after which a process is ended whose main thread does not react
GRACE = 20.0  # s that the main thread may take to tidy up once it has
AGAIN = 0.5  # s within which the same signal twice is one: `timeout` and shells send it to a process and to its group
DEBUG = "OMNISAT_DEBUG"  # environment variable: show tracebacks
LIFELINE = "OMNISAT_LIFELINE"  # environment variable: descriptor of a pipe that the parent holds open as long as it lives

SENTENCES = {
    INTERRUPTED: "interrupted; the same command goes on from what is saved",
    PREEMPTED: "told to end (SIGTERM); the same command goes on from what is saved",
}
_CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: PREEMPTED}
_ending = threading.Lock()
_said = threading.Event()  # the sentence with which the process ends


class Terminated(BaseException):
    """The process was told to end (SIGTERM). Like KeyboardInterrupt it is no Exception, so nothing takes it for an error."""

    def __init__(self, message: str = SENTENCES[PREEMPTED]):
        super().__init__(message)


class Listener:
    """Hears the signals of a process.

    Attributes:
      received: the first signal that ends it, or None.
      farewell: what a process of several does before it ends, or None; it then ends without waiting for anything else.
      permanent: whether it listens until the process is gone, and not just during a call of `run_command`.
    """

    def __init__(self, permanent: bool):
        self.received, self.farewell, self.permanent = None, None, permanent
        self._raising, self._instead, self._since = False, None, 0.0
        self._heard = threading.Event()
        read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = {number: signal.signal(number, self._handle) for number in _CODES}
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read,), daemon=True, name="signals").start()
        if LIFELINE in os.environ:
            descriptor = int(os.environ.pop(LIFELINE))
            threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True, name="lifeline").start()

    def close(self):
        """Puts everything back as it was."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._write)

    @contextlib.contextmanager
    def raising(self):
        """Signals raise KeyboardInterrupt or Terminated in the main thread while the body runs; otherwise they end the process at once."""
        self._raising = True
        try:
            yield self
        finally:
            self._raising = False

    @contextlib.contextmanager
    def instead(self, action: Callable[[], None]):
        """SIGTERM calls `action` while the body runs; the body ends in its own time."""
        before, self._instead = self._instead, action
        try:
            yield
        finally:
            self._instead = before

    def end(self, text: str | None = None):
        """Ends the process as its signal wants it, with one sentence."""
        code = _CODES[self.received]
        if _ending.acquire(blocking=False):
            say(text or SENTENCES[code], "stopped")
            self.leave(code)
        time.sleep(GRACE)  # another thread is at it
        os._exit(code)

    def leave(self, code: int):
        """Ends the process without waiting for threads, libraries or other processes, after the farewell."""
        with contextlib.suppress(Exception):
            if self.farewell:
                self.farewell()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)

    def _handle(self, number, frame):
        if number == signal.SIGTERM and self._instead:
            self._instead()
            return
        self.received = self.received or number
        self._heard.set()
        if not self._raising:
            self.end()
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def _watch(self, descriptor):
        """Runs in a thread of its own until the other end of the pipe is closed."""
        while numbers := os.read(descriptor, 64):
            for number in numbers:
                if number not in _CODES or (number == signal.SIGTERM and self._instead):
                    continue
                now, first = time.monotonic(), not self._since
                if first:
                    self._since = now
                    self.received = self.received or number
                    threading.Thread(target=self._end_later, daemon=True, name="last resort").start()
                elif now - self._since > AGAIN:
                    self.end()
        os.close(descriptor)

    def _end_later(self):
        if self._heard.wait(UNHEARD):
            time.sleep(GRACE)
        self.end()


def _end_with_parent(descriptor):
    with contextlib.suppress(OSError):
        while os.read(descriptor, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)


_listener = None


def listen() -> None:
    """Listens from now on until the process is gone: for programs, which are ended by a sentence even while they import."""
    global _listener
    if _listener is None and threading.current_thread() is threading.main_thread():
        _listener = Listener(permanent=True)


@contextlib.contextmanager
def listening():
    """Yields the `Listener`; signals raise while the body runs."""
    global _listener
    if threading.current_thread() is not threading.main_thread():
        yield _Deaf()
        return
    own = _listener is None
    listener = _listener = _listener or Listener(permanent=False)
    try:
        with listener.raising():
            yield listener
    finally:
        if own:
            _listener = None
            listener.close()


class _Deaf:
    """The listener of a thread that no signal reaches."""

    received = farewell = None
    permanent = False


@contextlib.contextmanager
def on_termination(action: Callable[[], None]):
    """SIGTERM calls `action` while the body runs, which then ends in its own time; in the main thread, which alone hears signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
    elif _listener is not None:
        with _listener.instead(action):
            yield
    else:  # no command, but a program of somebody else
        before = signal.signal(signal.SIGTERM, lambda *_: action())
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def leave_at_once(farewell: Callable[[], None]) -> None:
    """From now on a failure ends this process, one of several, after `farewell`: an orderly exit would wait for others, which may be dead."""
    if _listener is not None:
        _listener.farewell = farewell


def say(text: str, word: str) -> None:
    """The one sentence on stderr with which the process ends; nothing where it was said."""
    if _said.is_set():
        return
    if word != "warning" and _listener is not None and _listener.permanent:
        _said.set()
    _say(text, word)


def _say(text, word):
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[?25h")  # a progress bar may have hidden the cursor
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        print(f"{word}: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def handler_kept(number: int):
    """Keeps our handler of a signal although a library sets one of its own in the body, beyond Python's sight; in the main thread.

    Yields a function that calls the library's afterwards, or does nothing where it set none.
    """
    library = ctypes.CDLL(None)
    library.signal.restype, library.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    ours = _current(library, number)
    theirs = []
    try:
        yield lambda: theirs and ctypes.CFUNCTYPE(None, ctypes.c_int)(theirs[0])(number)
    finally:
        found = _current(library, number)
        if found not in (ours, None, 0, 1):  # 0 and 1: the default, and ignored
            theirs.append(found)
        if theirs and callable(handler := signal.getsignal(number)):
            signal.signal(number, handler)


def _current(library, number):
    """The address of a signal's handler in C."""
    found = library.signal(number, 1)
    library.signal(number, found)
    return found
