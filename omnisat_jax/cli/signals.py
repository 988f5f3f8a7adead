"""Handling of Ctrl-C and SIGTERM: one sentence and an exit code, even while a library call does not return.

Python runs signal handlers between bytecode instructions, so not during a call that compiles for minutes. The wakeup file descriptor, however, is
written at once. A thread reads it, and ends the process if the main thread does not react within a few seconds. A second thread ends the process
when its parent is gone.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

PREEMPTED = 75  # exit code after SIGTERM: run the command again to resume
INTERRUPTED = 130  # exit code after Ctrl-C
UNRESPONSIVE = 5.0  # s after which the process is ended if its main thread does not react
GRACE = 20.0  # s that the main thread has to clean up once it has reacted
REPEAT = 0.5  # s within which two equal signals count as one: `timeout` and shells signal a process and its group
DEBUG = "OMNISAT_DEBUG"  # environment variable: show tracebacks
LIFELINE = "OMNISAT_LIFELINE"  # environment variable: file descriptor of a pipe that the parent holds open while it lives

SENTENCES = {
    INTERRUPTED: "interrupted; run the same command again to resume",
    PREEMPTED: "terminated (SIGTERM); run the same command again to resume",
}
_CODES = {int(signal.SIGINT): INTERRUPTED, int(signal.SIGTERM): PREEMPTED}
_ending = threading.Lock()
_said = threading.Event()  # set once the final sentence was printed


class Terminated(BaseException):
    """The process received SIGTERM. Like KeyboardInterrupt not an Exception, so that nothing handles it as an error."""

    def __init__(self, message: str = SENTENCES[PREEMPTED]):
        super().__init__(message)


class Listener:
    """Handles the signals of a process.

    Attributes:
      received: the first signal that ends the process, or None.
      before_exit: called before the process ends, or None. If set, the process ends without waiting for anything else, as the others of a
        distributed run may be dead.
      permanent: whether signals are handled until the process ends, and not only during a call of `run_command`.
    """

    def __init__(self, permanent: bool):
        self.received: int | None = None
        self.before_exit: Callable[[], None] | None = None
        self.permanent = permanent
        self._raising, self._since = False, 0.0
        self._instead: Callable[[], None] | None = None
        self._handled = threading.Event()
        read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = {number: signal.signal(number, self._handle) for number in _CODES}
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read,), daemon=True, name="signals").start()
        if LIFELINE in os.environ:
            descriptor = int(os.environ.pop(LIFELINE))
            threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True, name="lifeline").start()

    def close(self) -> None:
        """Restores the previous handlers."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._write)

    @contextlib.contextmanager
    def raising(self) -> Iterator["Listener"]:
        """Raises KeyboardInterrupt or Terminated in the main thread while the body runs. Otherwise signals end the process at once."""
        self._raising = True
        try:
            yield self
        finally:
            self._raising = False

    @contextlib.contextmanager
    def instead(self, action: Callable[[], None]) -> Iterator[None]:
        """Calls `action` on SIGTERM while the body runs, which then ends in its own time."""
        before, self._instead = self._instead, action
        try:
            yield
        finally:
            self._instead = before

    def end(self, text: str | None = None) -> NoReturn:
        """Ends the process with the exit code of the received signal, and one sentence."""
        code = _CODES[self.received or signal.SIGTERM]
        if _ending.acquire(blocking=False):
            say(text or SENTENCES[code], "stopped")
            self.exit(code)
        time.sleep(GRACE)  # another thread is already ending the process
        os._exit(code)

    def exit(self, code: int) -> NoReturn:
        """Calls `before_exit` and ends the process, without waiting for threads, libraries or other processes."""
        with contextlib.suppress(Exception):
            if self.before_exit:
                self.before_exit()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM and self._instead:
            self._instead()
            return
        self.received = self.received or number
        self._handled.set()
        if not self._raising:
            self.end()
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def _watch(self, descriptor: int) -> None:
        """Runs in a separate thread until the other end of the pipe is closed."""
        while numbers := os.read(descriptor, 64):
            for number in numbers:
                if number not in _CODES or (number == signal.SIGTERM and self._instead):
                    continue
                now, first = time.monotonic(), not self._since
                if first:
                    self._since = now
                    self.received = self.received or number
                    threading.Thread(target=self._end_later, daemon=True, name="last resort").start()
                elif now - self._since > REPEAT:
                    self.end()
        os.close(descriptor)

    def _end_later(self) -> None:
        if self._handled.wait(UNRESPONSIVE):
            time.sleep(GRACE)
        self.end()


def _end_with_parent(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(descriptor, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)


class _NoListener:
    """Stands for a `Listener` in a thread other than the main thread, which receives no signals."""

    received = before_exit = None
    permanent = False

    def end(self, text: str | None = None) -> None:
        """Does nothing."""

    def exit(self, code: int) -> None:
        """Does nothing."""


_listener: Listener | None = None


def listen() -> None:
    """Handles signals from now on until the process ends. Programs call it first, so that signals during imports are handled as well."""
    global _listener
    if _listener is None and threading.current_thread() is threading.main_thread():
        _listener = Listener(permanent=True)


@contextlib.contextmanager
def listening() -> Iterator[Listener | _NoListener]:
    """Yields the `Listener`. Signals raise exceptions while the body runs."""
    global _listener
    if threading.current_thread() is not threading.main_thread():
        yield _NoListener()
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


@contextlib.contextmanager
def on_termination(action: Callable[[], None]) -> Iterator[None]:
    """Calls `action` on SIGTERM while the body runs, which then ends in its own time. Only the main thread receives signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
    elif _listener is not None:
        with _listener.instead(action):
            yield
    else:  # used as a library, outside `run_command`
        before = signal.signal(signal.SIGTERM, lambda *_: action())
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def exit_at_once(before_exit: Callable[[], None]) -> None:
    """From now on a failure calls `before_exit` and ends this process at once.

    For distributed runs: an orderly exit would wait for the other processes, which may be dead.
    """
    if _listener is not None:
        _listener.before_exit = before_exit


def say(text: str, word: str) -> None:
    """Prints the final sentence of the process to stderr, once.

    Args:
      text: the sentence.
      word: precedes it: "error", "stopped" or "warning".
    """
    if _said.is_set():
        return
    if word != "warning" and _listener is not None and _listener.permanent:
        _said.set()
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[?25h")  # show the cursor, which a progress bar may have hidden
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        print(f"{word}: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def keep_handler(number: int) -> Iterator[Callable[[], None]]:
    """Keeps our handler of a signal although a library sets its own in C while the body runs. For the main thread.

    Yields:
      A function that calls the handler of the library, or does nothing if the library has set none.
    """
    library = ctypes.CDLL(None)
    library.signal.restype, library.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    ours = _current(library, number)
    theirs: list[int] = []

    def call_theirs():
        for address in theirs:
            ctypes.CFUNCTYPE(None, ctypes.c_int)(address)(number)

    try:
        yield call_theirs
    finally:
        found = _current(library, number)
        if found not in (ours, None, 0, 1):  # 0 and 1 are SIG_DFL and SIG_IGN
            theirs.append(found)
        if theirs and callable(handler := signal.getsignal(number)):
            signal.signal(number, handler)


def _current(library: ctypes.CDLL, number: int):
    """The address of the C handler of a signal."""
    found = library.signal(number, 1)
    library.signal(number, found)
    return found
