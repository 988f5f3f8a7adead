"""How every command of the project ends: 0, or one sentence and an exit code, whatever a user, a file, a disk or a signal did.

    if __name__ == "__main__":
        sys.exit(run_command(main))
"""

import contextlib
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable

from omnisat_jax.errors import UserError, printable, reason, system_sentence

FAILED = 1
PREEMPTED = 75  # of a command that was told to end (SIGTERM): start it again and it goes on
INTERRUPTED = 130  # Ctrl-C
GRACE = 20.0  # s after a signal until the process ends even if a library does not let go
DEBUG = "OMNISAT_DEBUG"  # environment variable: show tracebacks


class Terminated(BaseException):
    """The process was told to end (SIGTERM). Like KeyboardInterrupt it is no Exception, so nothing takes it for an error."""


def run_command(main: Callable[..., int | None], *arguments) -> int:
    """Runs `main(*arguments)` and returns the exit code of the process.

    Every failure is one sentence on stderr: what a user can cause is a `UserError`, an error of the operating system, a signal or a
    shortage of memory; anything else is a fault of this program and says so, with the file that holds its traceback.
    """
    with _signals():
        try:
            return main(*arguments) or 0
        except SystemExit as error:
            if isinstance(error.code, str):
                return _say(error.code)
            return error.code or 0
        except BrokenPipeError:  # of `| head`
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except KeyboardInterrupt:
            return _say("interrupted; the same command goes on from what is saved", INTERRUPTED, "stopped")
        except Terminated:
            return _say("told to end (SIGTERM); the same command goes on from what is saved", PREEMPTED, "stopped")
        except BaseException as error:
            if os.environ.get(DEBUG):
                traceback.print_exc()
            return _say(sentence(error))


def sentence(error: BaseException) -> str:
    """What to tell a user of an error."""
    if isinstance(error, UserError):
        return printable(str(error), None)
    if isinstance(error, OSError) and (error.filename or error.errno):
        return system_sentence(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"not enough memory ({reason(error)}); use smaller batches, tiles or models, or a machine with more"
    for cause in (error.__cause__, error.__context__):
        if isinstance(cause, UserError | OSError):
            return sentence(cause)
    return f"{type(error).__name__}: {reason(error)}. This is a fault of the program; its traceback is in {_keep(error)}"


def _say(text, code=FAILED, word="error"):
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    print(f"{word}: {text}", file=sys.stderr, flush=True)
    return code


def _keep(error):
    """Writes a traceback where it can be found, and returns the place."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="omnisat_jax-", suffix=".txt", delete=False) as target:
            target.write(text)
        return target.name
    except OSError:
        return f"no file, as none can be written; {DEBUG}=1 shows it"


@contextlib.contextmanager
def _signals():
    """SIGTERM raises `Terminated` in the main thread, wherever it is; a library that does not return is not waited for long."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminated(number, frame):
        _end_later(PREEMPTED, "told to end (SIGTERM)")
        raise Terminated

    def interrupted(number, frame):
        _end_later(INTERRUPTED, "interrupted")
        raise KeyboardInterrupt

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, terminated), signal.SIGINT: signal.signal(signal.SIGINT, interrupted)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_later(code, why):
    def end():
        _say(f"{why}; what was not saved is done again by the same command", code, "stopped")
        os._exit(code)

    timer = threading.Timer(GRACE, end)
    timer.daemon = True
    timer.start()
